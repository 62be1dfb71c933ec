"""One call over a frame, a Series or a list: checked, planned, run, and written back."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeAlias

import pandas as pd

from llmframe._columns.plan import Plan, make
from llmframe._columns.prompts import Asking, Prompt, is_messages
from llmframe._columns.write_back import (
    Overwrite,
    Target,
    located,
    mask,
    occurrences,
    put,
    spelt,
    text_series,
)
from llmframe._run.run import Run
from llmframe._run.start import aconclude, carry_out, start
from llmframe._verbs.arguments import Call, resolve

if TYPE_CHECKING:
    import numpy.typing as npt

    from llmframe._run.results import Score


def _plan(
    frame: pd.DataFrame,
    call: Call,
    asking: Asking,
    selected: npt.NDArray[Any] | None,
) -> Plan:
    cells = {column: frame[column].copy(deep=False) for column in asking.reads}
    return make(call.recipe, asking, cells, frame.index, selected, dedupe=call.dedupe)


def _names(columns: Iterable[Hashable]) -> dict[str, Hashable]:
    """Map what a template calls the columns to their labels; of `1` and `"1"`, the text is exact."""
    labels = sorted(columns, key=lambda label: isinstance(label, str))
    return {spelt(label): label for label in labels}


def _check_readable(frame: pd.DataFrame, asking: Asking) -> None:
    for column in asking.reads:
        count = occurrences(frame, column)
        if count == 0:
            raise KeyError(_no_column(frame, column))
        if count > 1:
            raise ValueError(f"column: there are several columns named {column!r}; rename them first")


def _no_column(frame: pd.DataFrame, column: Hashable) -> str:
    names = {str(name): name for name in frame.columns}
    close = get_close_matches(str(column), names, n=1, cutoff=0.0)
    hint = f"the nearest is {names[close[0]]!r}" if close else "the frame has none"
    if isinstance(column, str) and ("{" in column or " " in column):
        hint += "; a template or an instruction is the second argument, prompt="
    return f"column: there is no column {column!r}; {hint}"


class FrameJob:
    """One completion over a frame: checked, planned, and ready to be run and written back."""

    def __init__(  # noqa: PLR0917 (the verb's own arguments)
        self,
        frame: pd.DataFrame,
        column: Hashable | None,
        prompt: Prompt,
        into: Hashable | None,
        where: Any,
        overwrite: Overwrite,
        error_into: Hashable | None,
        settings: Mapping[str, Any],
    ) -> None:
        self._frame = frame
        self._call = resolve("complete", settings)
        into = located(frame, _target_name(column, into), "into")
        error_into = located(frame, error_into, "error_into") if error_into is not None else None
        column = located(frame, column, "column") if column is not None else None
        readable = (
            [name for name in frame.columns if name not in {into, error_into}]
            if callable(prompt)
            else frame.columns
        )
        self._asking = Asking.of(column, prompt, self._call.system, _names(readable))
        _check_readable(frame, self._asking)
        for name, argument in ((into, "into"), (error_into, "error_into")):
            if name in self._asking.reads:
                raise ValueError(
                    f"{argument}: {name!r} is read for the prompts, and a verb never overwrites what it reads; write elsewhere with {argument}="
                )
        written_by = {"verb": self._call.verb, "model": self._call.model}
        self._target = Target.of(frame, into, overwrite, where, written_by)
        self._reasons = None
        if error_into is not None:
            self._reasons = Target.of_reasons(frame, error_into, self._target, written_by)
        self._planned = _plan(frame, self._call, self._asking, self._target.selected)
        self.run = Run(self._call, self._planned, _title(column, into, self._call.model), self._deliver)

    def _deliver(self, score: Score, record: dict[str, Any], ending: str) -> pd.DataFrame:
        frame, target = self._frame, self._target
        self._check_unchanged()
        if not record["complete"] and not (target.open_to_partial and score.answered):
            return frame
        put(frame, target.column(score.by_row(), frame.index), record)
        if self._reasons is not None:
            reasons = self._reasons.column(score.explanations(ending), frame.index)
            put(frame, reasons, {**record, "verb": "reasons"})
        return frame

    def _check_unchanged(self) -> None:
        frame, plan = self._frame, self._planned
        readable = all(occurrences(frame, column) == 1 for column in self._asking.reads)
        there = readable and len(frame) == plan.rows
        if not there or not plan.same_inputs({column: frame[column] for column in self._asking.reads}):
            raise ValueError(
                "the rows that were asked have changed since the call, so its answers are not written into the frame; "
                "they are in run.values and in the journal: run the call again on the frame as it is now"
            )
        into, existing = self._target.into, self._target.existing
        now = frame[into] if occurrences(frame, into) else None
        if (now is None) != (existing is None) or (
            now is not None and existing is not None and not now.equals(existing)
        ):
            raise ValueError(
                f"into: the column {into!r} has changed since the call; the answers are in run.values and in the journal"
            )


def _target_name(column: Hashable | None, into: Hashable | None) -> Hashable:
    if into is not None:
        return into
    if isinstance(column, tuple):
        raise ValueError("into: name the new column; none can be made from a multi-level column's name")  # noqa: TRY004 (the column is fine, the other name is missing)
    return "completion" if column is None else f"{column}_completion"


def _title(column: Hashable | None, into: Hashable, model: str) -> str:
    return f"{'prompt' if column is None else spelt(column)} → {spelt(into)} · {model}"


class SeriesJob:
    """One completion over a Series: its answers come back as another Series."""

    def __init__(self, series: pd.Series, prompt: Prompt, where: Any, settings: Mapping[str, Any]) -> None:
        call = resolve("complete", settings)
        name = "text" if series.name is None else series.name
        frame = series.to_frame(name)
        fields = {"": name} if series.name is None else {"": name, spelt(name): name}
        asking = Asking.of(name, prompt, call.system, fields)
        self._series = series
        self._name = "completion" if series.name is None else f"{series.name}_completion"
        plan = _plan(frame, call, asking, mask(where, series.index))
        self.run = Run(call, plan, _title(series.name, self._name, call.model), self._deliver)

    def _deliver(self, score: Score, record: dict[str, Any], ending: str) -> pd.Series:  # noqa: ARG002
        return text_series(score.by_row(), self._series.index, self._name)


class ListJob:
    """One completion over plain prompts: a list of texts, one for each."""

    def __init__(self, prompts: Iterable[Any], settings: Mapping[str, Any]) -> None:
        call = resolve("complete", settings)
        cells = pd.Series(_prompt_list(prompts), dtype=object, name="prompt")
        asking = Asking.of("prompt", None, call.system, {"prompt": "prompt"})
        plan = _plan(cells.to_frame(), call, asking, None)
        self.run = Run(call, plan, _title("prompts", "list", call.model), _listed)


def _listed(score: Score, record: dict[str, Any], ending: str) -> list[str | None]:  # noqa: ARG001
    return score.by_row()


def _prompt_list(prompts: Iterable[Any]) -> list[Any]:
    if isinstance(prompts, str):
        raise TypeError(
            f"prompts must be a list of texts or message arrays; write complete([{prompts[:40]!r}])"
        )
    if isinstance(prompts, bytes | pd.DataFrame) or not isinstance(prompts, Iterable):
        raise TypeError(f"prompts must be a list of texts or message arrays; got a {type(prompts).__name__}")
    if isinstance(prompts, Mapping):
        raise TypeError(
            "prompts must be a list of message arrays; for a single message write complete([[message]])"
        )
    several = list(prompts)
    if is_messages(several):
        raise TypeError(
            "prompts must be a list of message arrays, and this is a single one; write complete([messages])"
        )
    return several


Job: TypeAlias = FrameJob | SeriesJob | ListJob


def run_or_return(job: Job, *, wait: bool) -> Any:
    """Wait for the job's result, or return its run, which works on in the background."""
    if not isinstance(wait, bool):
        raise TypeError(f"wait must be True or False; got {wait!r}")
    return carry_out(job.run) if wait else start(job.run, background=True)


async def awaited(job: Job) -> Any:
    """Await the job's result on the caller's loop."""
    return await aconclude(start(job.run, awaiting=True))
