"""A verb's call over a frame, a Series or a list: checked, planned, run, and written back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeAlias

import pandas as pd

from llmframe._columns import (
    USAGE_COLUMNS,
    Overwrite,
    Plan,
    Prompt,
    PromptSpec,
    RawAnswers,
    TargetColumns,
    UsageAnswers,
    full_label,
    is_messages,
    label_text,
    listed,
    make_plan,
    occurrences,
    put_columns,
    recorded,
    row_mask,
    text_series,
)
from llmframe._errors import plain_repr
from llmframe._loop import ShortTraceback
from llmframe._run import (
    Run,
    await_estimate,
    await_run,
    check_dry_run,
    estimate,
    recipe_of,
    result_without_rows,
    run_to_end,
    start,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from llmframe._columns import Together
    from llmframe._run import Results, RunSettings, SharedByChunks

    Finish: TypeAlias = Callable[[RunSettings, PromptSpec], tuple[RunSettings, PromptSpec]]
    """Settles what depends on how the rows' prompts are made."""


def as_it_is(settings: RunSettings, spec: PromptSpec) -> tuple[RunSettings, PromptSpec]:
    return settings, spec


def _plan(
    frame: pd.DataFrame,
    settings: RunSettings,
    spec: PromptSpec,
    selected: npt.NDArray[Any] | None,
    together: Together | None = None,
) -> Plan:
    cells = {column: frame[column].copy(deep=False) for column in spec.reads}
    context = settings.context
    if settings.examples is not None:
        context = settings.examples.added_to(context, spec)
    return make_plan(
        settings.recipes,
        spec,
        cells,
        frame.index,
        selected,
        dedupe=settings.dedupe,
        chunk_rows=settings.tuning.chunk_rows,
        context=context,
        together=together,
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


def _refuse_other_engine(frame: pd.DataFrame, names: Sequence[Hashable], engine: str) -> None:
    for name in names:
        before = recorded(frame, name).get("engine", engine)
        if before != engine and name in frame.columns:  # pandas hands records on to frames without the column
            raise ValueError(
                f"engine: {before} wrote {plain_repr(name)}, and this call would ask {engine}: one column never mixes two "
                f"engines; pass engine={before!r} to go on with it, or engine={engine!r} with overwrite=True and without where= to ask all rows anew"
            )


@dataclass(frozen=True)
class Refreshing:
    """What is different where a call is made again for some rows of its columns.

    Parameters
    ----------
    columns
        The columns that are written, of those that the verb has.
    record
        What the call's record says instead, since its rows are not all rows.
    """

    columns: frozenset[Hashable]
    record: Mapping[str, Any] = field(default_factory=dict)


class FrameCall:
    """One call over a frame: checked, planned, and ready to run and to be written back.

    Parameters
    ----------
    names
        The columns that it writes.
    argument
        The verb's argument that names them.
    kept
        Its arguments as its record keeps them.
    shared
        What it has in common with the calls over a file's other chunks.

    Attributes
    ----------
    reads, writes : sequence of labels
        The columns that it reads, and those that it writes.
    title : str
        What is shown of it.
    recipe
        What is asked of each row, as the journal identifies it.
    """

    refreshing: Refreshing | None = None

    def __init__(
        self,
        frame: pd.DataFrame,
        settings: RunSettings,
        *,
        column: Hashable | None,
        prompt: Prompt,
        names: Sequence[Hashable],
        argument: str,
        where: Any,
        overwrite: Overwrite,
        error_into: Hashable | None,
        kept: Mapping[str, Any],
        finish: Finish = as_it_is,
        shared: SharedByChunks | None = None,
    ) -> None:
        self._frame = frame
        self._kept = kept
        self._limited = where is not None
        self._argument = argument
        names = [full_label(frame, name, argument) for name in names]
        refuse_equal_names(names, argument)
        error_into = full_label(frame, error_into, "error_into") if error_into is not None else None
        column = full_label(frame, column, "column") if column is not None else None
        readable = (
            [name for name in frame.columns if name not in {*names, error_into}]
            if callable(prompt)
            else frame.columns
        )
        self._spec = PromptSpec.parse(column, prompt, settings.system, _names(readable))
        _check_readable(frame, self._spec)
        settings, self._spec = finish(settings, self._spec)
        self.settings = settings
        for name, place in (*((name, argument) for name in names), (error_into, "error_into")):
            if name in self._spec.reads:
                raise ValueError(
                    f"{place}: {plain_repr(name)} is read for the prompts, and a verb never overwrites what it reads; write elsewhere with {place}="
                )
        written_by = {"verb": settings.verb.name, "model": settings.model}
        if overwrite is not True or where is not None:
            _refuse_other_engine(frame, names, settings.engine)
        self._targets = TargetColumns.of(
            frame, names, overwrite, where, written_by, argument=argument, kind=settings.verb.kind
        )
        if settings.rival is not None and self._spec.function is None:  # which other rows may not suit
            unknown = any("engine" not in recorded(frame, name) for name in names)
            rows = self._targets.kept_rows if unknown else None
            settings = replace(settings, rival=replace(settings.rival, kept_rows=rows))
        self._reasons = None
        if error_into is not None:
            self._reasons = self._targets.reasons(frame, error_into, written_by, argument)
        self.settings = settings
        self.names = names
        self.title = title(column, names)
        self.reads = self._spec.reads
        self.writes = [*names, *([] if error_into is None else [error_into])]
        self._shared = shared
        plans = None if shared is None else shared.plans
        self.ask(_plan(frame, settings, self._spec, self._targets.selected, plans))

    def ask(self, plan: Plan) -> None:
        """Ask the requests of this plan."""
        self.plan = plan
        self.recipe = recipe_of(plan)
        self.run = Run(self.settings, plan, self.title, self._write_back, self._shared)

    @property
    def value_columns(self) -> list[Hashable]:
        """The columns that belong to no other one."""
        companions = self.settings.verb.kind.companions
        return [name for number, name in enumerate(self.names) if number not in companions]

    def _write_back(self, results: Results, record: dict[str, Any], ending: str) -> pd.DataFrame:
        frame, targets = self._frame, self._targets.columns
        self._check_unchanged()
        written = self._open(complete=record["complete"])
        answered = results.answered or results.partly
        if not record["complete"] and not (answered and any(written)):
            return frame
        made = results.columns(frame.index, [target.into for target in targets])
        columns = [
            target.merged(column)
            for target, column, is_written in zip(targets, made, written, strict=True)
            if is_written
        ]
        unanswered = [] if self.refreshing is None else self._unanswered(results)
        if unanswered:
            columns = [self._with_old(column, unanswered) for column in columns]
        reasons = None
        if self._reasons is not None:
            by_row = text_series(results.reasons_by_row(ending), frame.index, self._reasons.into)
            reasons = self._reasons.merged(by_row)
        put_columns(
            frame, columns, {**record, "again": self._again(as_planned=not unanswered)}, reasons=reasons
        )
        return frame

    def _open(self, *, complete: bool) -> list[bool]:
        """Return which columns are written; where rows are asked again their answers stay until all are there."""
        if self.refreshing is None:
            return self._targets.open(complete=complete)
        return [complete and name in self.refreshing.columns for name in self.names]

    def _unanswered(self, results: Results) -> list[int]:
        """Return the rows that got no answer at all, such as by a timeout."""
        codes = self.plan.codes
        return [at for at, reason in results.reasons().items() if not reason.paid and codes[at] >= 0]

    def _with_old(self, column: pd.Series, rows: list[int]) -> pd.Series:
        """Return a column with what it held in these rows, if that fits its dtype."""
        if column.name in self._frame.columns:
            with suppress(TypeError, ValueError):  # such as a label that is none of the new ones
                column.iloc[rows] = self._frame[column.name].iloc[rows].array
        return column

    def _again(self, *, as_planned: bool) -> dict[str, Any]:
        """Return what makes the call again, and tells its own answers from others.

        Parameters
        ----------
        as_planned
            Whether every row that is asked has what its request was answered, or nothing.
        """
        again = {
            **self._kept,
            "server": self.settings.server,
            "recipes": [self.plan.recipe_digest.hex()],
            "requests": self.plan.requests_digest.hex(),
            "written": time.time(),
            **({"limited": True} if self._limited else {}),
            **({"mixed": True} if any(target.kept is not None for target in self._targets.columns) else {}),
        }
        again |= {} if self.refreshing is None else self.refreshing.record
        return again if as_planned else {**again, "requests": ""}

    def _check_unchanged(self) -> None:
        frame, plan, reads = self._frame, self.plan, self._spec.reads
        counts = occurrences(frame)
        readable = all(counts[column] == 1 for column in reads)
        same_rows = readable and len(frame) == plan.rows
        if not same_rows or not plan.same_inputs({column: frame[column] for column in reads}):
            raise ValueError(
                "the rows that were asked have changed since the call, so its answers are not written into the frame; "
                "they are in run.values and in the journal: run the call again on the frame as it is now"
            )
        for target in self._targets.columns:
            if target.changed(frame):
                raise ValueError(
                    f"{self._argument}: the column {plain_repr(target.into)} has changed since the call; the answers are in run.values and in the journal"
                )


def with_response(
    settings: RunSettings,
    names: Sequence[Hashable],
    *,
    raw: bool,
    usage: bool = False,
    stem: Hashable,
    argument: str,
) -> tuple[RunSettings, Sequence[Hashable]]:
    """Return a call's settings and columns, also those that `raw` and `usage` add: `{stem}_raw`, `{stem}_cost`, ….

    Parameters
    ----------
    names
        The other columns that it writes.
    argument
        The verb's argument that names the columns.
    """
    for name, value in (("raw", raw), ("usage", usage)):
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False; got {value!r}")
    kind, draws = settings.verb.kind, len(settings.recipes)
    if raw:
        names = _with_companions(names, ["raw"], stem, taken="raw: the responses'", argument=argument)
        kind = RawAnswers(kind, names, draws)
    if usage:
        names = _with_companions(names, USAGE_COLUMNS, stem, taken="usage: one", argument=argument)
        kind = UsageAnswers(kind, names, draws)
    return replace(settings, verb=replace(settings.verb, kind=kind)), names


def _with_companions(
    names: Sequence[Hashable], suffixes: Sequence[str], stem: Hashable, *, taken: str, argument: str
) -> Sequence[Hashable]:
    companions = [companion_name(stem, suffix) for suffix in suffixes]
    for name in companions:
        if name in names:
            raise ValueError(
                f"{taken} column would be {plain_repr(name)}, which is another one's name; name them otherwise with {argument}="
            )
    return [*names, *companions]


def companion_name(stem: Hashable, suffix: str) -> Hashable:
    """Return the name of a column beside another: `{stem}_{suffix}`, in its last level that is not empty.

    Examples
    --------
    >>> companion_name("label", "raw"), companion_name(("x", "label", ""), "raw"), companion_name("", "raw")
    ('label_raw', ('x', 'label_raw', ''), 'raw')
    """
    if isinstance(stem, tuple):
        last = max((level for level, part in enumerate(stem) if part != ""), default=0)
        return (*stem[:last], companion_name(stem[last], suffix), *stem[last + 1 :])
    return suffix if stem == "" else f"{stem}_{suffix}"


def stem_of(column: Hashable | None) -> str:
    """Return what the names of a column's companions begin with: its name, with the levels of one that has several joined."""
    if isinstance(column, tuple):
        return "_".join(map(str, filter(None, column)))
    return "" if column is None else str(column)


def refuse_equal_names(names: Sequence[Hashable], argument: str) -> None:
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise ValueError(
            f"{argument}: two of the columns would be named {plain_repr(twice)}; name one of them otherwise"
        )


def side_by_side(columns: list[pd.Series]) -> pd.DataFrame:
    """Return what a Series verb with several columns does."""
    return pd.concat(columns, axis="columns")


def title(column: Hashable | None, names: Iterable[Hashable]) -> str:
    """Return what is shown of a call: the column that is read, and those that are written."""
    return f"{'prompt' if column is None else label_text(column)} → {', '.join(map(label_text, names))}"


class SeriesCall:
    """One call over a Series: its answers are returned as `made` makes them of the columns."""

    def __init__(
        self,
        series: pd.Series,
        settings: RunSettings,
        *,
        prompt: Prompt,
        where: Any,
        names: Sequence[Hashable],
        made: Callable[[list[pd.Series]], Any],
        finish: Finish = as_it_is,
    ) -> None:
        name = "text" if series.name is None else series.name
        frame = series.to_frame(name)
        fields = {"": name} if series.name is None else {"": name, label_text(name): name}
        settings, spec = finish(settings, PromptSpec.parse(name, prompt, settings.system, fields))
        self.settings = settings
        self._series = series
        self._names = names
        self._made = made
        plan = _plan(frame, settings, spec, row_mask(where, series.index))
        self.run = Run(settings, plan, title(series.name, names), self._write_back)

    def _write_back(self, results: Results, record: dict[str, Any], ending: str) -> Any:  # noqa: ARG002
        return self._made(results.columns(self._series.index, self._names))


class ListCall:
    """One call over a list of prompts: its answers are returned as `Run.values` has them."""

    def __init__(
        self,
        prompts: Iterable[Any],
        settings: RunSettings,
        prompt: Prompt = None,
        finish: Finish = as_it_is,
    ) -> None:
        cells = pd.Series(_prompt_list(prompts, settings.verb.name), dtype=object, name="prompt")
        spec = PromptSpec.parse("prompt", prompt, settings.system, {"prompt": "prompt"})
        settings, spec = finish(settings, spec)
        plan = _plan(cells.to_frame(), settings, spec, None)
        self.run = Run(settings, plan, "prompts → list", _by_row)


def _by_row(results: Results, record: dict[str, Any], ending: str) -> Any:  # noqa: ARG001
    return results.by_row()


def _prompt_list(prompts: Iterable[Any], verb: str) -> list[Any]:
    if isinstance(prompts, str):
        raise TypeError(
            f"prompts must be a list of texts or message arrays; write {verb}([{prompts[:40]!r}])"
        )
    if isinstance(prompts, Mapping):
        given = "[[message]]" if "role" in prompts else "list(prompts.values())"
        raise TypeError(
            f"prompts must be a list of texts or message arrays, and this is a dict; write {verb}({given})"
        )
    prompt_list = listed(prompts, "prompts must be a list of texts or message arrays")
    if is_messages(prompt_list):
        raise TypeError(
            f"prompts must be a list of message arrays, and this is a single one; write {verb}([messages])"
        )
    if prompt_list and all(isinstance(prompt, Mapping) for prompt in prompt_list):
        raise TypeError(
            f"prompts must be a list of texts or message arrays, and these are rows; write pd.DataFrame(prompts).llm.{verb}('text')"
        )
    return prompt_list


Call: TypeAlias = FrameCall | SeriesCall | ListCall


def without_rows(call: FrameCall | SeriesCall) -> Any:
    """Return what a call over data without rows gives, in its dtypes; nothing is started."""
    return result_without_rows(call.run)


@ShortTraceback()
def run_or_return(call: Call, *, wait: bool, dry_run: bool | int = False) -> Any:
    """Wait for the result, or return the run, which continues in the background; with `dry_run` an estimate instead."""
    if not isinstance(wait, bool):
        raise TypeError(f"wait must be True or False; got {wait!r}")
    check_dry_run(call.run, dry_run, wait=wait)
    if dry_run:
        return estimate(call.run, dry_run)
    return run_to_end(call.run) if wait else start(call.run, background=True)


async def awaited(call: Call, *, dry_run: bool | int = False) -> Any:
    """Await the result on the caller's loop; with `dry_run` an estimate instead."""
    with ShortTraceback():
        check_dry_run(call.run, dry_run)
        if dry_run:
            return await await_estimate(call.run, dry_run)
        return await await_run(start(call.run, awaiting=True))
