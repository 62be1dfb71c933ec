"""The verb `extract`: one typed column for each field of a schema."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmframe._addresses import is_openai
from llmframe._api import CHAT_COMPLETIONS
from llmframe._columns import TypedAnswers, read_schema, response_format
from llmframe._loop import ShortTraceback
from llmframe._run import Verb, say
from llmframe._verbs.arguments import resolve
from llmframe._verbs.calls import FrameCall, ListCall, SeriesCall, side_by_side, with_response

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    import pandas as pd

    from llmframe._columns import Overwrite, Prompt, Schema
    from llmframe._run import RunSettings

_INSTRUCTION = (
    "Extract the fields that are asked for from the user's text, as JSON. Take each value from the text alone; where the "
    "text does not say, the value is null."
)


_LOWEST_EFFORTS = {"gpt-6-luna": "none"}
"""The lowest `reasoning_effort` of models on OpenAI's own address, as of 2026-11: a row never changes, since it is a part of
identities. Reasoning billed 1.5 times as much for the same answers."""


@ShortTraceback()
def extract_frame(
    frame: pd.DataFrame,
    arguments: Mapping[str, Any],
    *,
    column: Hashable | None,
    schema: Any,
    prompt: Prompt,
    prefix: str | None,
    reask: int,
    where: Any,
    overwrite: Overwrite,
    error_into: Hashable | None,
    raw: bool = False,
) -> FrameCall:
    settings, kind = _settings(schema, reask, arguments)
    before = prefix or ""
    stem = f"{before}{'' if column is None else _stem(column)}"
    settings, names = with_response(
        settings, [f"{before}{name}" for name in kind.names], raw=raw, stem=stem, argument="prefix"
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
    )


def _stem(column: Hashable) -> str:
    return "_".join(map(str, filter(None, column))) if isinstance(column, tuple) else str(column)


@ShortTraceback()
def extract_series(
    series: pd.Series,
    arguments: Mapping[str, Any],
    *,
    schema: Any,
    prompt: Prompt,
    reask: int,
    where: Any,
    raw: bool = False,
) -> SeriesCall:
    settings, kind = _settings(schema, reask, arguments)
    stem = "" if series.name is None else _stem(series.name)
    settings, names = with_response(settings, kind.names, raw=raw, stem=stem, argument="schema")
    return SeriesCall(series, settings, prompt=prompt, where=where, names=names, made=side_by_side)


@ShortTraceback()
def extract_list(
    texts: Iterable[Any], arguments: Mapping[str, Any], *, schema: Any, prompt: Prompt, reask: int
) -> ListCall:
    settings, _ = _settings(schema, reask, arguments)
    return ListCall(texts, settings, prompt)


def _settings(schema: Any, reask: int, arguments: Mapping[str, Any]) -> tuple[RunSettings, TypedAnswers]:
    for name in ("response_format", "tools", "tool_choice", "functions", "function_call"):
        if arguments.get(name) is not None:
            raise TypeError(f"{name}: extract asks for its schema itself; leave it out, or use complete")
    if not isinstance(reask, int) or isinstance(reask, bool) or reask < 0:
        raise ValueError(f"reask must be a whole number of at least 0; got {reask!r}")
    read = read_schema(schema)
    kind = TypedAnswers(read)
    settings = resolve(Verb("extract", CHAT_COMPLETIONS, kind), arguments)
    system = _INSTRUCTION if settings.system is None else f"{_INSTRUCTION}\n\n{settings.system}"
    effort = _LOWEST_EFFORTS.get(settings.model) if is_openai(settings.account.base_url) else None
    effort_params = {} if effort is None else {"reasoning_effort": effort}
    params = {**effort_params, **settings.params, "response_format": response_format(read.root)}
    _say_what_may_be_invented(read, settings)
    return replace(settings, system=system, params=params, reask=reask), kind


def _say_what_may_be_invented(schema: Schema, settings: RunSettings) -> None:
    names = schema.may_be_invented
    if names and settings.progress:
        say(
            f"llmframe: {', '.join(names)} may not be null in this schema, so that a text that does not say gets an invented value; "
            "for a missing one declare `… | None`"
        )
