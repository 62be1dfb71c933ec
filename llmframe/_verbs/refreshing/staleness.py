"""Which rows of a column are stale, and which hold what its call did not answer."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from llmframe._columns import comparable, recorded, row_digest
from llmframe._errors import plain_repr
from llmframe._journal import open_journal
from llmframe._json import load
from llmframe._loop import submit
from llmframe._run import Run, look_up

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    import numpy.typing as npt

    from llmframe._columns import Plan
    from llmframe._run import Results
    from llmframe._verbs.calls import FrameCall
    from llmframe._verbs.refreshing.calls_again import CallAgain

    Rows = npt.NDArray[np.bool_]
    Cells = tuple[Any, ...]
    """A row's comparable cells, one for each value column."""

_OFFLINE = {"mode": "offline", "progress": False}
MOST_DIGESTS = 2_000
"""A record lists edited rows by at most this many digests, two for each."""


@dataclass(frozen=True)
class LookedUp:
    """What the journal has for a call's rows.

    Attributes
    ----------
    answered
        The rows whose request is there, also those whose answer gave no value.
    columns
        The values, by column.
    """

    call: FrameCall
    answered: Rows
    columns: Mapping[Hashable, pd.Series]

    @property
    def sendable(self) -> Rows:
        """The rows that have a request."""
        return self.call.plan.codes >= 0

    def holds(self, rows: Sequence[Cells], names: Sequence[Hashable]) -> Rows:
        """Return the rows whose cells hold what their request was answered; of equal rows with a draw each, any of these."""
        found = rows_of([self.columns[name] for name in names])
        plan = self.call.plan
        if plan.dedupe:
            return np.fromiter(map(_equal, rows, found), dtype=bool, count=len(rows))
        alike = replace(plan, dedupe=True).of_rows(plan.selected).codes.tolist()
        drawn = {(code, cells) for code, cells in zip(alike, found, strict=True)}
        return np.array([each in drawn for each in zip(alike, rows, strict=True)], dtype=bool)


def _equal(cells: Cells, found: Cells) -> bool:
    return cells == found


def rows_of(columns: Sequence[pd.Series]) -> list[Cells]:
    return list(zip(*map(comparable, columns), strict=True))


def looked_up(again: CallAgain, arguments: Mapping[str, Any], how: Mapping[str, Any]) -> LookedUp:
    """Look a call's rows up in the journal as it was when the column was written: what came later is in no cell."""
    call = again.made(arguments, {**how, **_OFFLINE})
    until = again.again.get("written", math.inf)
    run = Run(replace(call.settings, answers_until=until, max_cost=None), call.plan, call.title, _unwritten)
    results = look_up(run)
    plan = call.plan
    missing = np.isin(plan.codes, results.failed_by("not_in_journal"))
    columns = results.columns(again.frame.index, call.names)
    return LookedUp(call, (plan.codes >= 0) & ~missing, dict(zip(call.names, columns, strict=True)))


def _unwritten(results: Results, record: dict[str, Any], ending: str) -> Results:  # noqa: ARG001
    return results


class Staleness:
    """The state of a column's rows.

    Attributes
    ----------
    written : frozenset
        The columns that a refreshing call writes.
    stale : bool array
        The rows whose answer no longer matches.
    edited : bool array
        The rows that hold what the call did not answer.
    """

    def __init__(self, again: CallAgain, *, limited: bool) -> None:
        self._again = again
        self._before = looked_up(again, again.before, again.how_before)
        self.now = self._before
        if again.changed:
            self.now = looked_up(again, again.now, again.how_now)
        self._ours = self._compared()
        self.written, added = self._to_write()
        self._rows = rows_of([again.frame[name] for name in self._ours])
        self._empty = np.array([cells.count(None) == len(cells) for cells in self._rows], dtype=bool)
        unmatched = ~self._fresh(added=bool(added), limited=limited)
        self.edited = self._edited(unmatched & ~self._empty)
        self.stale = unmatched & ~self.edited

    def _compared(self) -> list[Hashable]:
        """Return the value columns that tell whether a row is as it was answered."""
        again, call = self._again, self._before.call
        own = again.recorded.columns if again.recorded.record else list(again.frame.columns)
        ours = [name for name in call.value_columns if name in own and name in again.frame.columns]
        if not ours or again.column not in {*call.names, *again.recorded.columns, again.recorded.reasons}:
            raise ValueError(
                f"column: this call would write {', '.join(map(plain_repr, call.names))}, and not {plain_repr(again.column)}; pass what "
                "its own call was given, prefix= too"
            )
        if lost := [
            name for name in again.recorded.columns if again.recorded.record and name not in call.names
        ]:
            raise ValueError(
                f"column: {', '.join(map(plain_repr, lost))} would not be written, as its own call did; pass what that was given, and "
                "give the column that was read its name back"
            )
        return ours

    def _to_write(self) -> tuple[frozenset[Hashable], list[Hashable]]:
        """Return the columns to write, and which of them are new; what another call has written since, or the user dropped, stays so."""
        frame, recorded_call, names = self._again.frame, self._again.recorded, self.now.call.names
        there = set(frame.columns)
        if not recorded_call.record:
            return frozenset(there.intersection(names)), []
        own = set(recorded_call.columns)
        if taken := [name for name in names if name in there - own and not recorded(frame, name)]:
            raise ValueError(
                f"column: {', '.join(map(plain_repr, taken))} is already there and would be overwritten; rename it first"
            )
        before = {name for name in self._before.call.names if recorded(frame, name)}
        added = [name for name in names if name not in there | before]
        return frozenset([*own.intersection(names), *added]), added

    def _fresh(self, *, added: bool, limited: bool) -> Rows:
        """Return the rows that a refresh has nothing to do for.

        Parameters
        ----------
        limited
            Whether the call was made for some rows only, which are not known any more: an empty row may not be its own.
        """
        now = self.now
        sendable = now.sendable
        if added:
            return np.asarray(~sendable & self._empty, dtype=bool)
        names = [name for name in self._ours if name in now.columns]
        rows = self._rows if names == self._ours else rows_of([self._again.frame[name] for name in names])
        matching: Rows = now.answered & now.holds(rows, names)
        fresh = np.where(sendable, matching, self._empty)
        if limited:
            fresh |= sendable & self._empty & ~now.answered
        if not self._again.changed and self._written_as_planned:
            fresh |= ~self._empty
        return np.asarray(fresh, dtype=bool)

    @cached_property
    def _listed(self) -> Rows:
        """The rows that an earlier refresh found edited."""
        listed, found = set(self._again.again.get("edited", ())), np.zeros(len(self._rows), dtype=bool)
        if listed:
            found[[at for at, digests in enumerate(self._digests()) if not listed.isdisjoint(digests)]] = True
        return found

    def _digests(self) -> list[tuple[str, str]]:
        """Return for each row what it is known again by: by its label, and by its inputs where labels were made anew."""
        frame, plan = self._again.frame, self._before.call.plan
        inputs = rows_of([frame[name] for name in plan.spec.reads])
        return [
            (row_digest(label, cells), row_digest(read, cells))
            for label, read, cells in zip(frame.index.tolist(), inputs, self._rows, strict=True)
        ]

    @cached_property
    def _as_written(self) -> bool:
        """Whether the columns are exactly as llmframe wrote them, so that nothing but the listed rows is edited."""
        again = self._again.again
        all_listed = 2 * self._listed.sum() >= len(again.get("edited", ()))
        return bool(again) and self._again.recorded.unchanged and not again.get("mixed") and bool(all_listed)

    @property
    def _written_as_planned(self) -> bool:
        """Whether neither the columns nor what they were asked by have changed, which needs no journal."""
        requests = self._again.again.get("requests")
        return self._as_written and requests == self._before.call.plan.requests_digest.hex()

    def _edited(self, doubtful: Rows) -> Rows:
        """Return which of these rows, that have a value, hold none of the call's."""
        edited: Rows = self._listed & ~self._empty
        doubtful = doubtful & ~edited
        before = self._before
        known = before.answered
        if not known.any() and not (self._as_written and self._asks_anew) and doubtful.any():
            self._refuse_without_answers()
        if self._as_written or not doubtful.any():
            return edited
        own = known & before.holds(self._rows, self._ours)
        edited |= doubtful & known & ~own
        unknown = doubtful & ~known
        if unknown.any():
            others = np.array([cells not in self._answers for cells in self._rows], dtype=bool)
            edited |= unknown & others
        return edited

    @property
    def _asks_anew(self) -> bool:
        """Whether something else is asked than the record says, or than it lacks and was passed again."""
        recipes = self._again.again.get("recipes", ())
        return self._again.changed or self._before.call.plan.recipe_digest.hex() not in recipes[:1]

    def _refuse_without_answers(self) -> None:
        if not self._answers:
            raise ValueError(
                f"journal: it has none of the answers of {plain_repr(self._again.column)}, so that it cannot be told which rows are "
                "stale; pass the journal= that has them, or what the column's own call was given; version='v2' asks all rows anew"
            )

    @cached_property
    def _answers(self) -> set[Cells]:
        """Return the values of all answers that the journal has for the column's calls, whichever rows they were for."""
        again, call = self._again.again, self._before.call
        recipes = [bytes.fromhex(digest) for digest in again.get("recipes", ())] or [call.plan.recipe_digest]
        bodies = _bodies(call, recipes, again.get("written", math.inf))
        kind, draws = call.settings.verb.kind, call.plan.draws
        values = [value for body in bodies if (value := kind.judge(load(body)).value) is not None]
        stored = kind.storage(len(values) * draws, lambda numbers: ("" for _ in numbers))
        for number, value in enumerate(values):
            for draw in range(draws):  # as if all draws had agreed
                stored[number * draws + draw] = value
        codes = np.arange(len(values), dtype=np.int32)
        made = dict(
            zip(call.names, kind.columns(stored, codes, pd.RangeIndex(len(values)), call.names), strict=True)
        )
        return set(rows_of([made[name] for name in self._ours]))

    def edited_digests(self) -> list[str]:
        """Return the digests of the edited rows, for the record."""
        if not self.edited.any():
            return []
        digests = self._digests()
        return [digest for at in np.flatnonzero(self.edited).tolist() for digest in digests[at]]

    def plan_of(self, rows: Rows) -> Plan:
        return self.now.call.plan.limited(rows)


def _bodies(call: FrameCall, recipes: Sequence[bytes], until: float) -> list[bytes]:
    async def read() -> list[bytes]:
        async with open_journal(call.settings.journal, call.settings.tuning) as journal:
            return [body for recipe in recipes async for body in journal.answers_of(recipe, until)]

    task = submit(read)
    task.wait()
    return task.future.result()
