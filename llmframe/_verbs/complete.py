"""The verb `complete` over a frame, a Series or a list: checked, planned, run, and written back."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeAlias

import pandas as pd

from llmframe._api import CHAT_COMPLETIONS
from llmframe._columns import (
    TEXT,
    Overwrite,
    Plan,
    Prompt,
    PromptSpec,
    TargetColumn,
    full_label,
    is_messages,
    label_text,
    listed,
    make_plan,
    occurrences,
    put_column,
    row_mask,
    text_series,
)
from llmframe._errors import plain_repr
from llmframe._loop import ShortTraceback
from llmframe._run import Run, Verb, await_run, run_to_end, start
from llmframe._verbs.arguments import resolve

if TYPE_CHECKING:
    import numpy.typing as npt

    from llmframe._run import Results, RunSettings

COMPLETE = Verb("complete", CHAT_COMPLETIONS, TEXT)


def _plan(
    frame: pd.DataFrame,
    settings: RunSettings,
    spec: PromptSpec,
    selected: npt.NDArray[Any] | None,
) -> Plan:
    cells = {column: frame[column].copy(deep=False) for column in spec.reads}
    return make_plan(
        settings.recipe,
        spec,
        cells,
        frame.index,
        selected,
        dedupe=settings.dedupe,
        chunk_rows=settings.tuning.chunk_rows,
    )


def _names(columns: Iterable[Hashable]) -> dict[str, Hashable]:
    """Map the names in a template to the columns' labels; of `1` and `"1"`, the text takes precedence."""
    labels = sorted(columns, key=lambda label: isinstance(label, str))
    return {label_text(label): label for label in labels}


def _check_readable(frame: pd.DataFrame, spec: PromptSpec) -> None:
    counts = occurrences(frame)
    for column in spec.reads:
        if not counts[column]:
            raise KeyError(_unknown_column_message(frame, column))
        if counts[column] > 1:
            raise ValueError(
                f"column: there are several columns named {plain_repr(column)}; rename them first"
            )


def _unknown_column_message(frame: pd.DataFrame, column: Hashable) -> str:
    names = {str(name): name for name in frame.columns}
    close = get_close_matches(str(column), names, n=1, cutoff=0.0)
    hint = f"the nearest is {plain_repr(names[close[0]])}" if close else "the frame has none"
    if isinstance(column, str) and ("{" in column or " " in column):
        hint += "; a template or an instruction is the second argument, prompt="
    return f"column: there is no column {plain_repr(column)}; {hint}"


class FrameCompletion:
    """One completion over a frame: checked, planned, and ready to run and to be written back."""

    @ShortTraceback()
    def __init__(  # noqa: PLR0917 (the verb's own arguments)
        self,
        frame: pd.DataFrame,
        column: Hashable | None,
        prompt: Prompt,
        into: Hashable | None,
        where: Any,
        overwrite: Overwrite,
        error_into: Hashable | None,
        arguments: Mapping[str, Any],
    ) -> None:
        self._frame = frame
        settings = resolve(COMPLETE, arguments)
        into = full_label(frame, _target_name(column, into), "into")
        error_into = full_label(frame, error_into, "error_into") if error_into is not None else None
        column = full_label(frame, column, "column") if column is not None else None
        readable = (
            [name for name in frame.columns if name not in {into, error_into}]
            if callable(prompt)
            else frame.columns
        )
        self._spec = PromptSpec.parse(column, prompt, settings.system, _names(readable))
        _check_readable(frame, self._spec)
        for name, argument in ((into, "into"), (error_into, "error_into")):
            if name in self._spec.reads:
                raise ValueError(
                    f"{argument}: {plain_repr(name)} is read for the prompts, and a verb never overwrites what it reads; write elsewhere with {argument}="
                )
        written_by = {"verb": settings.verb.name, "model": settings.model}
        self._kind = settings.verb.kind
        self._targets = [TargetColumn.of(frame, into, overwrite, where, written_by)]
        self._reasons = None
        if error_into is not None:
            self._reasons = TargetColumn.of_reasons(frame, error_into, self._targets[0], written_by)
        self._run_plan = _plan(frame, settings, self._spec, self._targets[0].selected)
        self.run = Run(settings, self._run_plan, _columns(column, into), self._write_back)

    def _write_back(self, results: Results, record: dict[str, Any], ending: str) -> pd.DataFrame:
        frame, targets = self._frame, self._targets
        self._check_unchanged()
        partial = results.answered and all(target.open_to_partial for target in targets)
        if not record["complete"] and not partial:
            return frame
        names = [target.into for target in targets]
        made = self._kind.columns(results.by_row(), frame.index, names)
        for target, column in zip(targets, made, strict=True):
            put_column(frame, target.merged(column, self._kind), record)
        if self._reasons is not None:
            reasons = text_series(results.reasons_by_row(ending), frame.index, self._reasons.into)
            put_column(frame, self._reasons.merged(reasons, TEXT), {**record, "verb": "reasons"})
        return frame

    def _check_unchanged(self) -> None:
        frame, plan, reads = self._frame, self._run_plan, self._spec.reads
        counts = occurrences(frame)
        readable = all(counts[column] == 1 for column in reads)
        same_rows = readable and len(frame) == plan.rows
        if not same_rows or not plan.same_inputs({column: frame[column] for column in reads}):
            raise ValueError(
                "the rows that were asked have changed since the call, so its answers are not written into the frame; "
                "they are in run.values and in the journal: run the call again on the frame as it is now"
            )
        for target in self._targets:
            if target.changed(frame):
                raise ValueError(
                    f"into: the column {plain_repr(target.into)} has changed since the call; the answers are in run.values and in the journal"
                )


def _target_name(column: Hashable | None, into: Hashable | None) -> Hashable:
    if into is not None:
        return into
    if isinstance(column, tuple):
        raise ValueError("into: name the new column; none can be made from a multi-level column's name")  # noqa: TRY004 (the column is fine, the other name is missing)
    return "completion" if column is None else f"{column}_completion"


def _columns(column: Hashable | None, into: Hashable) -> str:
    return f"{'prompt' if column is None else label_text(column)} → {label_text(into)}"


class SeriesCompletion:
    """One completion over a Series: its answers are returned as another Series."""

    @ShortTraceback()
    def __init__(self, series: pd.Series, prompt: Prompt, where: Any, arguments: Mapping[str, Any]) -> None:
        settings = resolve(COMPLETE, arguments)
        name = "text" if series.name is None else series.name
        frame = series.to_frame(name)
        fields = {"": name} if series.name is None else {"": name, label_text(name): name}
        spec = PromptSpec.parse(name, prompt, settings.system, fields)
        self._series = series
        self._name = "completion" if series.name is None else f"{series.name}_completion"
        self._kind = settings.verb.kind
        plan = _plan(frame, settings, spec, row_mask(where, series.index))
        self.run = Run(settings, plan, _columns(series.name, self._name), self._write_back)

    def _write_back(self, results: Results, record: dict[str, Any], ending: str) -> pd.Series:  # noqa: ARG002
        (series,) = self._kind.columns(results.by_row(), self._series.index, [self._name])
        return series


class ListCompletion:
    """One completion over a list of prompts: its answers are returned as a list."""

    @ShortTraceback()
    def __init__(self, prompts: Iterable[Any], arguments: Mapping[str, Any]) -> None:
        settings = resolve(COMPLETE, arguments)
        cells = pd.Series(_prompt_list(prompts), dtype=object, name="prompt")
        spec = PromptSpec.parse("prompt", None, settings.system, {"prompt": "prompt"})
        plan = _plan(cells.to_frame(), settings, spec, None)
        self.run = Run(settings, plan, _columns("prompts", "list"), _as_list)


def _as_list(results: Results, record: dict[str, Any], ending: str) -> list[Any]:  # noqa: ARG001
    return results.by_row()


def _prompt_list(prompts: Iterable[Any]) -> list[Any]:
    if isinstance(prompts, str):
        raise TypeError(
            f"prompts must be a list of texts or message arrays; write complete([{prompts[:40]!r}])"
        )
    if isinstance(prompts, Mapping):
        given = "[[message]]" if "role" in prompts else "list(prompts.values())"
        raise TypeError(
            f"prompts must be a list of texts or message arrays, and this is a dict; write complete({given})"
        )
    prompt_list = listed(prompts, "prompts must be a list of texts or message arrays")
    if is_messages(prompt_list):
        raise TypeError(
            "prompts must be a list of message arrays, and this is a single one; write complete([messages])"
        )
    if prompt_list and all(isinstance(prompt, Mapping) for prompt in prompt_list):
        raise TypeError(
            "prompts must be a list of texts or message arrays, and these are rows; write pd.DataFrame(prompts).llm.complete('text')"
        )
    return prompt_list


Completion: TypeAlias = FrameCompletion | SeriesCompletion | ListCompletion


@ShortTraceback()
def run_or_return(completion: Completion, *, wait: bool) -> Any:
    """Wait for the result, or return the run, which continues in the background."""
    if not isinstance(wait, bool):
        raise TypeError(f"wait must be True or False; got {wait!r}")
    return run_to_end(completion.run) if wait else start(completion.run, background=True)


async def awaited(completion: Completion) -> Any:
    """Await the result on the caller's loop."""
    with ShortTraceback():
        return await await_run(start(completion.run, awaiting=True))
