"""A run: one call, and its state during and after its work."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Protocol

from llmframe._errors import CompletionError, CompletionWarning, CostLimitReached, StoppedError
from llmframe._loop import LoopTask, ShortTraceback, log_next_failure, uninterrupted, wait_until_shown
from llmframe._pacing import OVER_BUDGET, RungPolicy
from llmframe._run import advice, card, report
from llmframe._run.execution import Execution
from llmframe._run.money import Prices
from llmframe._run.progress_bar import say
from llmframe._run.results import Results

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from llmframe._columns import Plan
    from llmframe._loop import Interrupts
    from llmframe._run.chunks import SharedByChunks
    from llmframe._run.settings import RunSettings
    from llmframe._values import LimitWait, Saved, Usage


def new_results(settings: RunSettings, plan: Plan) -> Results:
    """Make the results of a call, empty."""
    return Results(
        plan,
        settings.verb.kind,
        Prices(settings.prices, settings.verb.endpoint.price_list),
        settings.model,
        settings.reask,
        RungPolicy([rung.name for rung in settings.rungs]),
    )


class WriteBack(Protocol):
    """Writes a run's answers to the call's target, in the caller's thread."""

    def __call__(self, results: Results, record: dict[str, Any], ending: str) -> Any:
        """Return the call's result; `ending` is the run's status, or the code of its stop."""


class Run:
    """One call, during and after its work.

    A verb with `wait=False` and `llmframe.last_run()` return it, and errors carry it.

    A copy (`pickle`, `copy`) is a finished run, detached from its frame and client: it keeps the attributes below and
    can be shown and plotted; `result()` raises. A copy of a run that still works has the status `"interrupted"` and
    what was there by then; the run itself continues.

    Attributes
    ----------
    status : {"running", "done", "stopped", "interrupted", "error"}
        `"done"` when every row was tried, also when some failed.
    values : list of str or None, or DataFrame
        Each row's answer so far, by position; of a verb with several columns a DataFrame.
    failures : DataFrame
        Columns `position`, `label`, `code`, `message`, `attempts`: one line per row without an answer; of `extract` also
        `raw`, what the model wrote.
    reasked : DataFrame
        The same columns and `raw`: one line per row whose answer did not fit and was asked again, with what was wrong
        with the first one and what the model wrote there, whatever became of the row.
    rows, answered, failed, truncated, partly, unsure : int
        Selected rows; rows answered, failed, answered with a text that was cut off; of `ask`, answered except for
        questions that the model refused; and answered, but with a value below the threshold, or a tie of votes.
    skipped : dict
        Rows that were not sent because a cell is missing or blank, by column.
    distinct, from_journal, sent, retries, limited, uncertain : int
        Different requests; those answered from the journal; those sent; further attempts; attempts
        answered 429; and attempts that may have been billed without an answer.
    tokens : Usage
        Tokens of the answers that this run paid, each in one class: `uncached`, `cached` (read from the provider's cache)
        and `written` (into it) are those of the prompts, `output` and `reasoning` those of the completions. They sum to
        `total`; `prompt` and `completion` are the sums of either side.
    cost : float or None
        US dollars of these answers, as far as they are known; `None` where none of them is.
    saved : Saved
        US dollars that were not to be paid, as far as prices are known: by the `journal` (what its answers had cost), by
        `duplicates` (their answer's cost for each copy), by the provider's `cache` (below 0 where writing into it cost more
        than reading from it saved) and by `batch` (against the live price); and their `total`.
    unpriced : int
        Answers whose cost is unknown, because their model has no price or they do not state their tokens;
        totals then say "at least".
    seconds, waited_seconds : float
        Wall time, and the time for which a rate limit held requests back.
    waiting : LimitWait or None
        While a limit holds requests back: the server's `words`, and `until` when (aware, UTC, or `None`).
    latency : dict
        Seconds at the percentiles `p50`, `p90` and `p99`.

    Examples
    --------
    >>> import llmframe
    >>> from llmframe.testing import LocalServer
    >>> with LocalServer() as server:
    ...     run = llmframe.complete(
    ...         ["Hello", None], wait=False, base_url=server.base_url, api_key="any", model="gpt-6-luna",
    ...         journal=False, progress=False,
    ...     )
    ...     answers = run.result(timeout=60)
    >>> run.status, run.answered, run.skipped
    ('done', 1, {'prompt': 1})
    """

    def __init__(
        self,
        settings: RunSettings,
        plan: Plan,
        columns: str,
        write_back: WriteBack,
        shared: SharedByChunks | None = None,
    ) -> None:
        self._settings = settings
        self._shared = shared
        self._plan = plan
        self._results = new_results(settings, plan)
        self._execution = Execution(settings, plan, self._results, columns, shared)
        self._write_back = write_back
        self._written: tuple[Any] | None = None
        self._task: LoopTask[None] | None = None
        self._started = time.monotonic()
        self._ended: float | None = None
        self._abandoned = False

    @property
    def status(self) -> str:
        if not self.done():
            return "interrupted" if self._abandoned else "running"
        if isinstance(self._error, asyncio.CancelledError):
            return "interrupted"
        if self._error is not None:
            return "error"
        return "stopped" if self._execution.stop is not None else "done"

    @property
    def _error(self) -> BaseException | None:
        return self._task.future.exception() if self._task is not None and self._task.future.done() else None

    def done(self) -> bool:
        """Return whether the work has ended in any way."""
        return self._task is not None and self._task.future.done()

    def cancel(self) -> None:
        """Send nothing more and end the run; its answers stay in the journal and in `values`.

        Open batches are cancelled; their finished answers are billed, and are collected by the next call.
        (Ctrl-C does not cancel them: they continue.)
        """
        self._execution.cancel_batches()
        if self._task is not None:
            self._task.cancel()

    @ShortTraceback()
    def result(self, timeout: float | None = None) -> Any:
        """Wait for the run, write its column, and return what the call without `wait=False` returns.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait; `None` waits until the run ends.

        Raises
        ------
        TimeoutError
            When the run still works; it continues.
        CompletionError
            As the call without `wait=False`.
        ValueError
            When the inputs have changed since the call; the answers are in `values`.
        """
        with uninterrupted() as interrupts:
            result = written(self, timeout, interrupts)
        return concluded(self, result)

    @property
    def values(self) -> Any:
        return self._results.by_row()

    @property
    def failures(self) -> pd.DataFrame:
        return self._results.failures()

    @property
    def reasked(self) -> pd.DataFrame:
        return self._results.reasked()

    @property
    def rows(self) -> int:
        return self._results.rows

    @property
    def skipped(self) -> dict[str, int]:
        return dict(self._plan.skipped)

    @property
    def distinct(self) -> int:
        return len(self._plan.keys)

    @property
    def answered(self) -> int:
        return self._results.answered

    @property
    def failed(self) -> int:
        return self._results.failed

    @property
    def truncated(self) -> int:
        return self._results.truncated

    @property
    def partly(self) -> int:
        return self._results.partly

    @property
    def unsure(self) -> int:
        return self._results.unsure

    @property
    def from_journal(self) -> int:
        return self._results.from_journal

    @property
    def sent(self) -> int:
        return self._execution.traffic.sent

    @property
    def retries(self) -> int:
        return self._execution.traffic.retries

    @property
    def limited(self) -> int:
        return self._execution.traffic.limited

    @property
    def uncertain(self) -> int:
        return self._execution.inherited + self._execution.traffic.uncertain

    @property
    def tokens(self) -> Usage:
        return self._results.tokens

    @property
    def cost(self) -> float | None:
        return self._results.cost

    @property
    def saved(self) -> Saved:
        return self._results.account.saved

    @property
    def unpriced(self) -> int:
        return self._results.unpriced

    @property
    def seconds(self) -> float:
        return (self._ended if self._ended is not None else time.monotonic()) - self._started

    @property
    def waited_seconds(self) -> float:
        return self._execution.waited_seconds

    @property
    def waiting(self) -> LimitWait | None:
        return None if self.done() else self._execution.limit_wait

    @property
    def latency(self) -> dict[str, float]:
        return report.percentiles(self._results.latencies)

    def plot(self) -> Any:
        """Draw answers per second, latencies, and dollars over time as a matplotlib figure (matplotlib comes with the extra `plot`)."""
        return report.plot(self, self._details)

    def __repr__(self) -> str:
        return f"<Run {self.status}: {self._closing_line()}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return DetachedRun, ({name: getattr(self, name) for name in TOLD},)

    def _repr_html_(self) -> str:
        return card.html(self, self._details, self._causes)

    @property
    def _unfinished(self) -> bool:
        return not self.done()

    @property
    def _details(self) -> card.Details:
        settings, results = self._settings, self._results
        return card.Details(
            verb=settings.verb.name,
            model=settings.model,
            title=f"{self._execution.columns} · {settings.model}",
            engine=settings.engine and f"{settings.engine} ({settings.engine_reason})",
            unsent=results.unsent(),
            rows_from_journal=results.rows_from_journal,
            asked=results.asked,
            duplicates=results.duplicates,
            rows_reasked=results.rows_reasked,
            arrivals=results.arrivals,
            latencies=results.latencies,
            costs=results.costs,
            cap=settings.max_cost,
        )

    @property
    def _causes(self) -> list[advice.Cause]:
        """Why the run stopped, and why rows failed."""
        stop, settings = self._execution.stop, self._settings
        causes = advice.causes(self._results.reasons(), self._plan, settings)
        if stop is None:
            return causes
        remedy = advice.stop_remedy(stop, settings)
        return [advice.Cause(stop.code, 0, "", stop.message, remedy, paid=False), *causes]

    def _closing_line(self) -> str:
        return report.closing_line(self, self._details)

    def _begin(self, start_task: Callable[[Callable[[], Any]], LoopTask[None]]) -> LoopTask[None]:
        """Start the work on the loop that `start_task` chooses."""
        log_next_failure()
        self._task = start_task(self._carry_out)
        return self._task

    async def _carry_out(self) -> None:
        try:
            await self._execution.carry_out(lambda: report.numbers(self))
        finally:
            self._ended = time.monotonic()

    def _wait(self, timeout: float | None, interrupts: Interrupts | None = None) -> None:
        if self._task is not None:
            self._task.wait(timeout, interrupts)

    def _write_once(self) -> Any:
        """Write the answers once, in the caller's thread, and print how the run ended."""
        self._abandoned = not self.done()
        if self._written is None:
            stop = self._execution.stop
            ending = self.status if stop is None else stop.code
            if self._execution.refused:
                self._written = (None,)
                return None
            self._written = (self._write_back(self._results, self._record(), ending),)
            if self._shared is None:
                self._say_ending()
        return self._written[0]

    def _record(self) -> dict[str, Any]:
        """Return the run's record for `df.attrs`: small, of JSON values."""
        recorded = ("rows", "answered", "failed", "cost", "unpriced", "prompt_tokens", "completion_tokens")
        numbers = report.numbers(self)
        identified = {
            "verb": self._settings.verb.name,
            "model": self._settings.model,
            "complete": self.status == "done",
            **({"engine": self._settings.engine} if self._settings.engine else {}),
        }
        digests = self._plan.context.digests
        examples = {"examples": list(digests)} if digests else {}
        return {**identified, **examples, **{name: numbers[name] for name in recorded}}

    def _say_ending(self) -> None:
        line, model = f"llmframe: {self._closing_line()}", self._settings.model
        if self.status == "interrupted":
            say(f"{line}; interrupted: {self._how_to_continue()}")
        elif self._settings.progress and self._error is None:
            say(line)
            if hint := advice.missing_cells_line(self._plan, self.rows):
                say(hint)
        if self._settings.progress:
            say_without_price(self, model)
        wait_until_shown()

    def _how_to_continue(self) -> str:
        """Return how an interrupted run is continued."""
        batches = self._execution.batches
        if batches:
            count = "1 batch goes" if len(batches) == 1 else f"{len(batches)} batches go"
            return (
                f"{count} on; run the cell again to come back, or cancel with llmframe.cancel({batches[0]!r})"
            )
        return (
            "run the cell again to continue"
            if self._settings.journal is not False
            else "journal=False kept nothing"
        )

    def _failure_message(self) -> str:
        found = advice.causes(self._results.reasons(), self._plan, self._settings)
        return advice.failure_message(
            found, self.rows, partly=self.partly, any_written=self.answered > 0, settings=self._settings
        )


TOLD = (
    "_unfinished",  # read first: a run that ends meanwhile is told as unfinished
    *(name for name, value in vars(Run).items() if isinstance(value, property) and not name.startswith("_")),
    *("_details", "_causes"),
)
"""What a detached run keeps: all public attributes, and what it is shown and plotted with."""


class DetachedRun(Run):
    """A copy of a run, made by `pickle` or `copy`: what the run told, without client, plan and frame."""

    def __init__(self, told: dict[str, Any]) -> None:
        ended = {"status": "interrupted", "waiting": None} if told["_unfinished"] else {}
        self._told = {**told, **ended}

    def __repr__(self) -> str:
        return f"<Run {self.status}, detached: {self._closing_line()}>"

    def done(self) -> bool:
        return True

    def cancel(self) -> None:
        if self._unfinished:
            raise RuntimeError(
                "this is a copy of a run that still worked when it was copied; cancel that run, where it was started"
            )

    def result(self, timeout: float | None = None) -> Any:  # noqa: ARG002
        raise RuntimeError(
            "this is a copy of a run, without the frame that it writes to: the answers are in run.values, "
            f"the reasons in run.failures ({self!r})"
        )


def _as_told(name: str) -> property:
    return property(lambda run: run._told[name])


for _name in TOLD:
    setattr(DetachedRun, _name, _as_told(_name))


_without_price: set[str] = set()


def say_without_price(run: Run, model: str) -> None:
    """Say once that a model has no price, where a run paid it."""
    if run.cost is None and run.tokens.total and model not in _without_price:
        _without_price.add(model)
        say(f"llmframe: no price is known for {model}; set llmframe.options.prices to see costs")


def result_without_rows(run: Run) -> Any:
    """Return what a run over no rows writes, without starting it."""
    return run._write_back(run._results, {**run._record(), "complete": True}, "done")


def wait_for(run: Run) -> None:
    """Wait until a run has ended in any way; nothing is written or said. Ctrl-C cancels it."""
    run._wait(None)


def written(run: Run, timeout: float | None, interrupts: Interrupts) -> Any:
    """Wait for a run and write its answers."""
    run._wait(timeout, interrupts)
    return run._write_once()


def concluded(run: Run, result: Any) -> Any:
    """Return the result, or raise or warn as the run ended."""
    unless_stopped(run, result)
    try:
        if run.truncated:
            report.warn(advice.truncation_message(run.truncated, run._settings.params))
    except CompletionWarning:  # the user's filter makes it an error, which does not hide failed rows
        _raise_if_failed(run, result)
        raise
    _raise_if_failed(run, result)
    if run.failed or run.partly:
        report.warn(run._failure_message())
    return result


def unless_stopped(run: Run, result: Any) -> Any:
    """Return the result of a run that tried every row, or raise as it ended early."""
    line = run._closing_line()
    error, stop = run._error, run._execution.stop
    if isinstance(error, asyncio.CancelledError):
        raise StoppedError(f"the run was cancelled; {line}", code="cancelled", run=run, result=result)
    if error is not None:
        raise error
    if stop is not None:
        message = f"{stop.message}\n{line}\nTo go on: {advice.stop_remedy(stop, run._settings)}."
        if stop.code == OVER_BUDGET.code:
            spent = run._execution.budget.of_cap(run._execution.unfinished)
            raise CostLimitReached(message, code=stop.code, **spent, run=run, result=result)
        raise StoppedError(message, code=stop.code, run=run, result=result)
    return result


def _raise_if_failed(run: Run, result: Any) -> None:
    if (run.failed or run.partly) and run._settings.errors == "raise":
        raise CompletionError(run._failure_message(), run=run, result=result)
