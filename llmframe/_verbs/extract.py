"""The verb `extract`: one typed column for each field of a schema."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from llmframe._addresses import is_openai
from llmframe._api import CHAT_COMPLETIONS
from llmframe._columns import Context, TypedAnswers, read_schema, response_format
from llmframe._loop import ShortTraceback
from llmframe._run import Verb, say
from llmframe._verbs.arguments import resolve
from llmframe._verbs.calls import FrameCall, ListCall, SeriesCall
from llmframe._verbs.rungs import asking_for

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

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
) -> FrameCall:
    settings, kind = _settings(schema, reask, arguments)
    return FrameCall(
        frame,
        settings,
        column=column,
        prompt=prompt,
        names=[f"{prefix or ''}{name}" for name in kind.names],
        argument="prefix",
        where=where,
        overwrite=overwrite,
        error_into=error_into,
    )


@ShortTraceback()
def extract_series(
    series: pd.Series, arguments: Mapping[str, Any], *, schema: Any, prompt: Prompt, reask: int, where: Any
) -> SeriesCall:
    settings, kind = _settings(schema, reask, arguments)
    return SeriesCall(series, settings, prompt=prompt, where=where, names=kind.names, made=_side_by_side)


def _side_by_side(columns: list[pd.Series]) -> pd.DataFrame:
    return pd.concat(columns, axis="columns")


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
    effort = _LOWEST_EFFORTS.get(settings.model) if is_openai(settings.account.base_url) else None
    effort_params = {} if effort is None else {"reasoning_effort": effort}
    settings = replace(settings, params={**effort_params, **settings.params}, reask=reask)
    _say_what_may_be_invented(read, settings)
    return asking_for([response_format(read.root)], settings, Context(_INSTRUCTION)), kind


def _say_what_may_be_invented(schema: Schema, settings: RunSettings) -> None:
    names = schema.may_be_invented
    if names and settings.progress:
        say(
            f"llmframe: {', '.join(names)} may not be null in this schema, so that a text that does not say gets an invented value; "
            "for a missing one declare `… | None`"
        )
