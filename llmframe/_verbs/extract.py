"""The verb `extract`: one typed column for each field of a schema."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from llmframe._api import CHAT_COMPLETIONS
from llmframe._columns import Context, Examples, TypedAnswers, read_schema
from llmframe._loop import ShortTraceback
from llmframe._run import Verb, say
from llmframe._verbs.arguments import resolve
from llmframe._verbs.calls import FrameCall, ListCall, SeriesCall, side_by_side, stem_of, with_response
from llmframe._verbs.kept_arguments import kept_arguments
from llmframe._verbs.structured import asking_for, checked_prefix, refuse_own_schemas

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    import pandas as pd

    from llmframe._columns import Overwrite, Prompt, Schema
    from llmframe._run import RunSettings, SharedByChunks

_INSTRUCTION = (
    "Extract the fields that are asked for from the user's text, as JSON. Take each value from the text alone; where the "
    "text does not say, the value is null."
)
_QUOTES = " Before each value, copy the words of the text that show it, character by character."


@ShortTraceback()
def extract_frame(
    frame: pd.DataFrame,
    arguments: Mapping[str, Any],
    *,
    column: Hashable | None,
    schema: Any,
    prompt: Prompt,
    prefix: str | None,
    quotes: bool,
    examples: Any,
    reask: int,
    where: Any,
    overwrite: Overwrite,
    error_into: Hashable | None,
    raw: bool = False,
    usage: bool = False,
    shared: SharedByChunks | None = None,
) -> FrameCall:
    before = checked_prefix(prefix)
    settings, kind = _settings(
        schema, arguments, quotes=quotes, examples=examples, reask=reask, prefix=before
    )
    stem = f"{before}{stem_of(column)}"
    settings, names = with_response(
        settings,
        [f"{before}{name}" for name in kind.names],
        raw=raw,
        usage=usage,
        stem=stem,
        argument="prefix",
    )
    return FrameCall(
        frame,
        settings,
        column=column,
        prompt=prompt,
        names=names,
        argument="prefix",
        where=where,
        overwrite=overwrite,
        error_into=error_into,
        kept=kept_arguments(
            arguments,
            column=column,
            schema=schema,
            prompt=prompt,
            prefix=prefix,
            quotes=quotes,
            examples=examples,
            reask=reask,
            raw=raw,
            usage=usage,
        ),
        shared=shared,
    )


@ShortTraceback()
def extract_series(
    series: pd.Series,
    arguments: Mapping[str, Any],
    *,
    schema: Any,
    prompt: Prompt,
    quotes: bool,
    examples: Any,
    reask: int,
    where: Any,
    raw: bool = False,
    usage: bool = False,
) -> SeriesCall:
    settings, kind = _settings(schema, arguments, quotes=quotes, examples=examples, reask=reask)
    settings, names = with_response(
        settings, kind.names, raw=raw, usage=usage, stem=stem_of(series.name), argument="schema"
    )
    return SeriesCall(series, settings, prompt=prompt, where=where, names=names, made=side_by_side)


@ShortTraceback()
def extract_list(
    texts: Iterable[Any],
    arguments: Mapping[str, Any],
    *,
    schema: Any,
    prompt: Prompt,
    quotes: bool,
    examples: Any,
    reask: int,
) -> ListCall:
    settings, _ = _settings(schema, arguments, quotes=quotes, examples=examples, reask=reask)
    return ListCall(texts, settings, prompt)


def _settings(
    schema: Any, arguments: Mapping[str, Any], *, quotes: bool, examples: Any, reask: int, prefix: str = ""
) -> tuple[RunSettings, TypedAnswers]:
    refuse_own_schemas("extract", arguments)
    if not isinstance(reask, int) or isinstance(reask, bool) or reask < 0:
        raise ValueError(f"reask must be a whole number of at least 0; got {reask!r}")
    if not isinstance(quotes, bool):
        raise TypeError(f"quotes must be True or False; got {quotes!r}")
    read = read_schema(schema)
    kind = TypedAnswers(read, quotes=quotes)
    settings = resolve(Verb("extract", CHAT_COMPLETIONS, kind), arguments)
    settings = replace(
        settings,
        examples=None if examples is None else Examples(examples, partial(kind.write, prefix=prefix)),
        reask=reask,
    )
    _say_what_may_be_invented(read, settings)
    return asking_for([kind.root], settings, Context(_INSTRUCTION + _QUOTES * quotes)), kind


def _say_what_may_be_invented(schema: Schema, settings: RunSettings) -> None:
    names = schema.may_be_invented
    if names and settings.progress:
        say(
            f"llmframe: {', '.join(names)} may not be null in this schema, so that a text that does not say gets an invented value; "
            "for a missing one declare `… | None`"
        )
