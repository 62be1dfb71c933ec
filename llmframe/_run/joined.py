"""The runs of a file's chunks, told as one run."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pandas as pd

from llmframe._errors import (
    FAILURE_COLUMNS,
    CompletionError,
    CompletionWarning,
    CostLimitReached,
    StoppedError,
)
from llmframe._loop import submit, wait_until_shown
from llmframe._pacing import OVER_BUDGET
from llmframe._run import advice, report
from llmframe._run.card import Details
from llmframe._run.chunks import leave
from llmframe._run.money import cost_limit
from llmframe._run.progress_bar import Progress, progress_bar, say
from llmframe._run.run import DetachedRun, Run, say_without_price
from llmframe._values import Saved, Stop, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from llmframe._run.advice import Cause
    from llmframe._run.chunks import SharedByChunks
    from llmframe._run.settings import RunSettings

_SUMMED = (
    "distinct", "answered", "failed", "truncated", "partly", "unsure", "from_journal", "sent", "retries", "limited",
    "uncertain", "unpriced", "waited_seconds",
)  # fmt: skip
_SUMMED_DETAILS = ("rows_from_journal", "asked", "duplicates", "rows_reasked")
_MOST_LATENCIES = 1 << 20
"""Of more answers every second one tells of the latencies."""
_TICK_SECONDS = 0.25

_ELSEWHERE = Stop("stopped", "another chunk of the file ended the run", "")


class JoinedRun(DetachedRun):
    """The runs of a file's chunks as one: counts, tokens and cost; the values are in the file."""


class FileRun:
    """Adds up the runs of a file's chunks.

    Parameters
    ----------
    settings
        Of the whole call, with the bar and the journal that the user chose.
    columns
        What is written where, for display.
    rows
        The rows that are selected.
    """

    def __init__(self, settings: RunSettings, shared: SharedByChunks, columns: str, rows: int) -> None:
        self._settings = settings
        self._shared = shared
        self._columns = columns
        self._rows = rows
        self._began = time.monotonic()
        self._counts: Counter[str] = Counter()
        self._details: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()
        self._unsent: dict[str, str] = {}
        self._engine = ""
        self._tokens = Usage()
        self._cost: float | None = None
        self._failures: list[pd.DataFrame] = []
        self._reasked: list[pd.DataFrame] = []
        self._causes: dict[str, Cause] = {}
        self._arrivals, self._latencies, self._costs = array("f"), array("f"), array("f")
        self._saved = Saved()
        self._under_way: list[Run] = []
        self._stop: Stop | None = None

    def begin(self, run: Run) -> None:
        """Count a run as under way."""
        self._under_way = [*self._under_way, run]

    def end(self, run: Run, start: int) -> None:
        """Add a run that has ended, and whose rows begin at this one of the file."""
        details = run._details
        self._counts.update({name: getattr(run, name) for name in _SUMMED})
        self._details.update({name: getattr(details, name) for name in _SUMMED_DETAILS})
        self._skipped.update(run.skipped)
        self._unsent = {**details.unsent, **self._unsent}
        self._engine = details.engine
        self._tokens = Usage(*map(sum, zip(self._tokens, run.tokens, strict=True)))
        self._saved = Saved(*map(sum, zip(self._saved, run.saved, strict=True)))
        if run.cost is not None and (run.tokens.total or self._cost is not None or not run.unpriced):
            self._cost = (self._cost or 0.0) + run.cost
        self._failures += _placed(run.failures, start)
        self._reasked += _placed(run.reasked, start)
        self._add_causes(run)
        began = run._started - self._began
        self._arrivals.extend(began + seconds for seconds in details.arrivals)
        self._latencies.extend(details.latencies)
        self._costs.extend(details.costs)
        if len(self._latencies) > _MOST_LATENCIES:
            self._arrivals, self._latencies = self._arrivals[1::2], self._latencies[1::2]
            pairs = zip(self._costs[::2], self._costs[1::2], strict=False)
            self._costs = array("f", map(sum, pairs))
        self._under_way = [other for other in self._under_way if other is not run]

    def _add_causes(self, run: Run) -> None:
        for found in advice.causes(run._results.reasons(), run._plan, run._settings):
            # Chunks number their rows in the file, so that these numbers are labels.
            cause = found._replace(example=found.example.replace("label ", "row ", 1))
            known = self._causes.get(cause.code)
            self._causes[cause.code] = (
                cause if known is None else known._replace(rows=known.rows + cause.rows)
            )

    def progress(self) -> Progress:
        """Return the progress of all runs together."""
        runs = self._under_way
        each = [run._execution.progress() for run in runs]
        counts = self._counts
        done = counts["answered"] + counts["partly"] + counts["failed"] + sum(self._skipped.values())
        budget = self._shared.budget
        costs = [self._cost, *(one._results.cost for one in runs)]
        cost = sum(filter(None, costs)) if budget is None or not budget.capped else budget.spent
        return Progress(
            done + sum(one.done for one in each),
            counts["failed"] + sum(one.failed for one in each),
            sum(one.in_flight for one in each),
            cost,
            next((one.waiting for one in each if one.waiting), ""),
            counts["unpriced"] + sum(one.unpriced for one in each),
            *([] if budget is None else [budget.cap]),
        )

    @contextmanager
    def bar(self) -> Iterator[None]:
        """Show one bar of all rows during a block."""
        if not self._settings.progress or not self._rows:
            yield
            return
        title = f"{self._columns} · {self._settings.model}"

        async def show() -> None:
            async with progress_bar(title, self._rows, self.progress):
                await asyncio.Event().wait()

        task = submit(show)
        try:
            yield
        finally:
            task.cancel()
            wait([task.future])

    def told(self, status: str) -> JoinedRun:
        """Return all runs as one."""
        counts, details = dict.fromkeys(_SUMMED, 0) | self._counts, self._details
        causes = sorted(self._causes.values(), key=lambda cause: -cause.rows)
        if self._stop is not None:
            remedy = advice.stop_remedy(self._stop, self._settings)
            causes = [advice.Cause(self._stop.code, 0, "", self._stop.message, remedy, paid=False), *causes]
        return JoinedRun(
            {
                "_unfinished": False,
                **counts,
                "status": status,
                "rows": self._rows,
                "skipped": dict(self._skipped),
                "tokens": self._tokens,
                "saved": self._saved,
                "cost": None if self._cost is None and counts["unpriced"] else self._cost or 0.0,
                "seconds": time.monotonic() - self._began,
                "waiting": None,
                "values": [],
                "failures": _all(self._failures),
                "reasked": _all(self._reasked),
                "latency": report.percentiles(self._latencies),
                "_causes": causes,
                "_details": self._told_details(details),
            }
        )

    def _told_details(self, details: Mapping[str, int]) -> Details:
        return Details(
            verb=self._settings.verb.name,
            model=self._settings.model,
            title=f"{self._columns} · {self._settings.model}",
            engine=self._engine,
            unsent=self._unsent,
            arrivals=self._arrivals,
            latencies=self._latencies,
            costs=self._costs,
            cap=self._settings.max_cost,
            **{name: details[name] for name in _SUMMED_DETAILS},
        )

    def say_ending(self, run: JoinedRun) -> None:
        """Print how the runs ended."""
        line = f"llmframe: {run._closing_line()}"
        if run.status == "interrupted":
            kept = self._settings.journal is not False
            say(
                f"{line}; interrupted: {'run the cell again to continue' if kept else 'journal=False kept nothing'}"
            )
        elif self._settings.progress and run.status != "error":
            say(line)
            say_without_price(run, self._settings.model)
        wait_until_shown()

    def stopped(self, runs: Sequence[Run]) -> tuple[str, BaseException | None]:
        """Return how the runs ended if one ended early, and the error of that one, if it has one."""
        for run in runs:
            if run.done() and run._error is not None:
                cancelled = isinstance(run._error, asyncio.CancelledError)
                return ("interrupted", None) if cancelled else ("error", run._error)
        stops = [run._execution.stop for run in runs if run.done() and run._execution.stop]
        first = next((stop for stop in stops if stop is not _ELSEWHERE), None)
        if first is None:
            return "", None
        self._stop = first
        if first.code == OVER_BUDGET.code and self._shared.budget is not None:
            self._stop = cost_limit(self._shared.budget, self._left)
        return "stopped", None

    @property
    def _left(self) -> int:
        counts = self._counts
        done = counts["answered"] + counts["partly"] + counts["failed"] + sum(self._skipped.values())
        return max(0, self._rows - done)

    def error_of_stop(self, run: JoinedRun) -> StoppedError:
        """Return the error of a run that stopped early."""
        stop = self._stop or _ELSEWHERE
        message = (
            f"{stop.message}\n{run._closing_line()}\nTo go on: {advice.stop_remedy(stop, self._settings)}."
        )
        if stop.code == OVER_BUDGET.code and self._shared.budget is not None:
            spent = self._shared.budget.of_cap(self._left)
            return CostLimitReached(message, code=stop.code, **spent, run=run, result=None)
        return StoppedError(message, code=stop.code, run=run, result=None)

    def raise_or_warn(self, run: JoinedRun) -> None:
        """Raise or warn as the rows of a run that tried all of them ended."""
        failed = run.failed or run.partly
        error = CompletionError(self._failure_message(run), run=run, result=None) if failed else None
        raises = self._settings.errors == "raise"
        try:
            if run.truncated:
                report.warn(advice.truncation_message(run.truncated, self._settings.params))
        except CompletionWarning:  # the user's filter makes it an error, which does not hide failed rows
            if error is not None and raises:
                raise error from None
            raise
        if error is not None and raises:
            raise error
        if error is not None:
            report.warn(str(error))

    def _failure_message(self, run: JoinedRun) -> str:
        causes = sorted(self._causes.values(), key=lambda cause: -cause.rows)
        return advice.failure_message(
            causes, run.rows, partly=run.partly, any_written=run.answered > 0, settings=self._settings
        )

    def finish(self) -> None:
        """Let the journal know that the file is complete: the same call asks afresh again."""
        if self._shared.recipe is not None and self._settings.fresh:
            leave(self._settings, self._shared.recipe, self._shared.identity, is_open=False)


def _placed(table: pd.DataFrame, start: int) -> list[pd.DataFrame]:
    """Return a table of rows whose positions are those in the file; none where it is empty."""
    return [table.assign(position=table["position"] + start)] if len(table) else []


def _all(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(FAILURE_COLUMNS))


def ended_early(run: Run) -> bool:
    """Return whether a run has ended, and was stopped, cancelled or failed."""
    return run.done() and (run._error is not None or run._execution.stop is not None)


def wait_for_one(runs: Sequence[Run]) -> None:
    """Wait until one of these runs has ended, and no longer than a moment."""
    futures = [run._task.future for run in runs if run._task is not None and not run.done()]
    if futures:
        wait(futures, _TICK_SECONDS, FIRST_COMPLETED)


def stop_run(run: Run) -> None:
    """Let a run send nothing more, because another chunk's was stopped; what is in flight is awaited, because it is paid."""
    if run._task is not None and not run.done():
        run._task.call(lambda: run._execution.stop_run(_ELSEWHERE))
