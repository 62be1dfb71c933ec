"""The verb `complete`: one text for each row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmframe._api import CHAT_COMPLETIONS
from llmframe._columns import TEXT
from llmframe._loop import ShortTraceback
from llmframe._run import Verb
from llmframe._verbs.arguments import resolve
from llmframe._verbs.calls import FrameCall, ListCall, SeriesCall, side_by_side, with_response
from llmframe._verbs.kept_arguments import kept_arguments

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    import pandas as pd

    from llmframe._columns import Overwrite, Prompt
    from llmframe._run import SharedByChunks

COMPLETE = Verb("complete", CHAT_COMPLETIONS, TEXT)


@ShortTraceback()
def complete_frame(
    frame: pd.DataFrame,
    arguments: Mapping[str, Any],
    *,
    column: Hashable | None,
    prompt: Prompt,
    into: Hashable | None,
    where: Any,
    overwrite: Overwrite,
    error_into: Hashable | None,
    raw: bool = False,
    usage: bool = False,
    shared: SharedByChunks | None = None,
) -> FrameCall:
    name = _target_name(column, into)
    settings, names = with_response(
        resolve(COMPLETE, arguments), [name], raw=raw, usage=usage, stem=name, argument="into"
    )
    return FrameCall(
        frame,
        settings,
        column=column,
        prompt=prompt,
        names=names,
        argument="into",
        where=where,
        overwrite=overwrite,
        error_into=error_into,
        kept=kept_arguments(arguments, column=column, prompt=prompt, into=into, raw=raw, usage=usage),
        shared=shared,
    )


def _target_name(column: Hashable | None, into: Hashable | None) -> Hashable:
    if into is not None:
        return into
    if isinstance(column, tuple):
        raise ValueError("into: name the new column; none can be made from a multi-level column's name")  # noqa: TRY004 (the column is fine, the other name is missing)
    return "completion" if column is None else f"{column}_completion"


@ShortTraceback()
def complete_series(
    series: pd.Series,
    arguments: Mapping[str, Any],
    *,
    prompt: Prompt,
    where: Any,
    raw: bool = False,
    usage: bool = False,
) -> SeriesCall:
    name = "completion" if series.name is None else f"{series.name}_completion"
    settings, names = with_response(
        resolve(COMPLETE, arguments), [name], raw=raw, usage=usage, stem=name, argument="raw"
    )
    made = side_by_side if len(names) > 1 else _only
    return SeriesCall(series, settings, prompt=prompt, where=where, names=names, made=made)


def _only(columns: list[pd.Series]) -> pd.Series:
    (column,) = columns
    return column


@ShortTraceback()
def complete_list(prompts: Iterable[Any], arguments: Mapping[str, Any]) -> ListCall:
    return ListCall(prompts, resolve(COMPLETE, arguments))
