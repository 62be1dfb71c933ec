"""A run: one call at work, and what is known of it while and after it works."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

from llmframe._errors import CompletionError, StoppedError
from llmframe._loop.tasks import (
    Work,
    uninterrupted,
)
from llmframe._run import report
from llmframe._run.execution import Errand
from llmframe._run.prices import Prices
from llmframe._run.progress_bar import say
from llmframe._run.results import Score

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from llmframe._columns.plan import Plan
    from llmframe._loop.tasks import Interrupts
    from llmframe._values import Usage
    from llmframe._verbs.arguments import Call


class Deliver(Protocol):
    """Writes a run's answers where the call wants them, in the caller's thread."""

    def __call__(self, score: Score, record: dict[str, Any], ending: str) -> Any:
        """Return what the call returns; `ending` is the run's status, or why it stopped."""


class Run:
    """One call at work, and what it leaves behind.

    Returned by a verb with `wait=False`, by `llmframe.last_run()`, and carried by errors.

    Attributes
    ----------
    status : {"running", "done", "stopped", "interrupted", "error"}
        `"done"` when every row was tried, also where some failed.
    values : list of str or None
        Each row's answer so far, by position.
    failures : DataFrame
        Columns `position`, `label`, `code`, `message`, `attempts`: one line a row without an answer.
    rows, answered, failed, truncated : int
        Rows asked; rows answered, failed, and answered with a text that was cut off.
    skipped : dict
        Rows that were not sent for want of a cell, by column.
    distinct, from_journal, sent, retries, limited, uncertain : int
        Different requests; those answered from the journal; those sent; further attempts; attempts
        answered 429; and attempts that may have been billed without an answer.
    tokens : Usage
        Tokens of the answers that this run paid: `prompt`, `completion`, `cached`, `reasoning`.
    cost : float or None
        US dollars of the same; `None` where the model's price is unknown.
    seconds, waited_seconds : float
        Wall time, and how much of it sends were held back by a rate limit.
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

    def __init__(self, call: Call, plan: Plan, title: str, deliver: Deliver) -> None:
        self._call = call
        self._plan = plan
        self._score = Score(plan, Prices(call.prices), call.model)
        self._errand = Errand(call, plan, self._score, title)
        self._deliver = deliver
        self._delivered: tuple[Any] | None = None
        self._work: Work[None] | None = None
        self._started = time.monotonic()
        self._ended: float | None = None
        self._given_up = False

    @property
    def status(self) -> str:
        if not self.done():
            return "interrupted" if self._given_up else "running"
        if isinstance(self._error, asyncio.CancelledError):
            return "interrupted"
        if self._error is not None:
            return "error"
        return "stopped" if self._errand.stop is not None else "done"

    @property
    def _error(self) -> BaseException | None:
        return self._work.future.exception() if self._work is not None and self._work.future.done() else None

    def done(self) -> bool:
        """Tell whether the work has ended, however it ended."""
        return self._work is not None and self._work.future.done()

    def cancel(self) -> None:
        """Send nothing more and end the run; what is answered stays in the journal and in `values`.

        Batches that are under way are cancelled; what they have finished by then is billed, and
        comes with the next call. (Ctrl-C only leaves them: they go on.)
        """
        self._errand.cancel()
        if self._work is not None:
            self._work.cancel()

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the run, write its column, and return what the plain call would have.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait; `None` waits until the run ends.

        Raises
        ------
        TimeoutError
            When the run is still at work; it goes on.
        CompletionError
            As the plain call would.
        ValueError
            When the inputs have changed since the call; the answers are in `values`.
        """
        with uninterrupted() as interrupts:
            result = written(self, timeout, interrupts)
        return judged(self, result)

    @property
    def values(self) -> list[str | None]:
        return self._score.by_row()

    @property
    def failures(self) -> pd.DataFrame:
        return self._score.failures()

    @property
    def rows(self) -> int:
        return self._score.rows

    @property
    def skipped(self) -> dict[str, int]:
        return dict(self._plan.skipped)

    @property
    def distinct(self) -> int:
        return len(self._plan.keys)

    @property
    def answered(self) -> int:
        return self._score.answered

    @property
    def failed(self) -> int:
        return self._score.failed

    @property
    def truncated(self) -> int:
        return self._score.truncated

    @property
    def from_journal(self) -> int:
        return self._score.from_journal

    @property
    def sent(self) -> int:
        return self._errand.traffic.sent

    @property
    def retries(self) -> int:
        return self._errand.traffic.retries

    @property
    def limited(self) -> int:
        return self._errand.traffic.limited

    @property
    def uncertain(self) -> int:
        return self._errand.inherited + self._errand.traffic.uncertain

    @property
    def tokens(self) -> Usage:
        return self._score.tokens

    @property
    def cost(self) -> float | None:
        return self._score.cost

    @property
    def seconds(self) -> float:
        return (self._ended if self._ended is not None else time.monotonic()) - self._started

    @property
    def waited_seconds(self) -> float:
        return self._errand.waited_seconds

    @property
    def latency(self) -> dict[str, float]:
        return report.percentiles(self._score.latencies)

    def plot(self) -> Any:
        """Draw answers per second and latencies; a matplotlib figure (`pip install llmframe[plot]`)."""
        return report.plot(self._tally(), self._score.arrivals, self._score.latencies)

    def __repr__(self) -> str:
        return f"<Run {self.status}: {report.closing_line(self._tally())}>"

    def _repr_html_(self) -> str:
        return report.html(self._tally())

    def _tally(self) -> report.Tally:
        return report.Tally(
            verb=self._call.verb,
            model=self._call.model,
            status=self.status,
            rows=self.rows,
            skipped=self.skipped,
            distinct=self.distinct,
            from_journal=self.from_journal,
            sent=self.sent,
            retries=self.retries,
            limited=self.limited,
            answered=self.answered,
            failed=self.failed,
            truncated=self.truncated,
            uncertain=self.uncertain,
            usage=self.tokens,
            cost=self.cost,
            seconds=self.seconds,
            waited_seconds=self.waited_seconds,
            latency=self.latency,
        )

    def _begin(self, how: Callable[[Callable[[], Any]], Work[None]], *, shared_loop: bool) -> Work[None]:
        """Start the work on the loop that `how` chooses."""
        self._work = how(lambda: self._carry_out(shared_loop=shared_loop))
        return self._work

    async def _carry_out(self, *, shared_loop: bool) -> None:
        try:
            await self._errand.carry_out(lambda: self._tally().as_dict(), shared_loop=shared_loop)
        finally:
            self._ended = time.monotonic()

    def _wait(self, timeout: float | None, interrupts: Interrupts | None = None) -> None:
        if self._work is not None:
            self._work.wait(timeout, interrupts)

    def _finish(self) -> Any:
        """Write what is there, once, in the caller's thread; say how the run ended."""
        self._given_up = not self.done()
        if self._delivered is None:
            stop = self._errand.stop
            ending = self.status if stop is None else stop.code
            self._delivered = (self._deliver(self._score, self._record(), ending),)
            self._say_ending()
        return self._delivered[0]

    def _record(self) -> dict[str, Any]:
        """Give what `df.attrs` keeps of the run: JSON-able, and small."""
        kept = ("rows", "answered", "failed", "cost", "prompt_tokens", "completion_tokens")
        numbers = self._tally().as_dict()
        told = {"verb": self._call.verb, "model": self._call.model, "complete": self.status == "done"}
        return {**told, **{name: numbers[name] for name in kept}}

    def _say_ending(self) -> None:
        line = report.closing_line(self._tally())
        if self.status == "interrupted":
            say(f"{line}; interrupted: {self._way_on()}")
        elif self._call.progress and self._error is None:
            say(line)
        if self._call.progress and self.cost is None and self._call.model not in _unpriced:
            _unpriced.add(self._call.model)
            say(
                f"llmframe: no price is known for {self._call.model}; set llmframe.options.prices to see costs"
            )

    def _way_on(self) -> str:
        """Say how an interrupted run is continued."""
        batches = self._errand.batches
        if batches:
            count = "1 batch goes" if len(batches) == 1 else f"{len(batches)} batches go"
            return (
                f"{count} on; run the cell again to come back, or cancel with llmframe.cancel({batches[0]!r})"
            )
        return (
            "run the cell again to continue"
            if self._call.journal is not False
            else "journal=False kept nothing"
        )

    def _failure_message(self) -> str:
        reasons = self._score.reasons()
        codes = Counter(reason.code for reason in reasons.values())
        first = list(reasons.items())[:3]
        labels = self._plan.labels
        examples = [(position, labels[position], reason.code, reason.message) for position, reason in first]
        return report.failure_message(codes, examples, self.rows, batch=self._call.mode == "batch")


_unpriced: set[str] = set()


def written(run: Run, timeout: float | None, interrupts: Interrupts) -> Any:
    """Wait for a run and write what is there."""
    run._wait(timeout, interrupts)
    return run._finish()


def judged(run: Run, result: Any) -> Any:
    """Return the result, or raise what the run's end calls for."""
    line = report.closing_line(run._tally())
    error, stop = run._error, run._errand.stop
    if isinstance(error, asyncio.CancelledError):
        raise StoppedError(f"the run was cancelled; {line}", code="cancelled", run=run, result=result)
    if error is not None:
        raise error
    if stop is not None:
        message = f"{stop.message}\n{line}\nTo go on: {stop.remedy}."
        raise StoppedError(message, code=stop.code, run=run, result=result)
    if run.truncated:
        report.warn(report.truncation_message(run.truncated))
    if run.failed and run._call.errors == "raise":
        raise CompletionError(run._failure_message(), run=run, result=result)
    if run.failed:
        report.warn(run._failure_message())
    return result
