"""The batch lane: requests are submitted in parts, and collected when their batches have ended.

The lane also waits for open parts of earlier runs. Requests that a batch has not answered go back into the feed, a
limited number of times.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

from llmframe._api import BatchSize, NotFoundError, batch_refusal, status_fault
from llmframe._batch.collection import growing_pauses
from llmframe._batch.limited_lines import LimitPause
from llmframe._batch.submission import UNDECIDED, SubmissionQueue, SubmittedPart
from llmframe._errors import JournalError
from llmframe._loop import through
from llmframe._pacing import OVER_BUDGET, Attempts, Retry, StopRun, remedy
from llmframe._values import BatchError, Failure, FaultKind, Outcome, Request, Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from collections.abc import Set as AbstractSet

    from llmframe._batch.collection import Collector
    from llmframe._batch.lines import BatchResult
    from llmframe._batch.result_files import AddResult
    from llmframe._batch.submission import SubmissionContext
    from llmframe._journal import BatchPart, BatchStore
    from llmframe._pacing import GiveUp, RetryPolicy
    from llmframe._values import BatchState, Emit, Feed, Key, LimitWait, RequestFault

MOST_ROUNDS = 3
"""A request without an answer is submitted again at most this many times, unless the user says how often."""
_CREATE_SECONDS = 1.5
_CANCEL_SECONDS = 8.0
"""A cancelled run still waits this long for the creation of a batch, and for its cancellations."""
_PERMANENT_CODES = ("model", "billing", "quota")
"""Parts of the code of a failed batch after which every other batch would fail too."""

_INVALID_FILE = BatchError("batch_failed", "another line of the batch's file is wrong")
_UNEXPLAINED = BatchError("batch_failed", "the batch failed, and the server does not say why")


class BatchLane:
    """Runs a feed's requests through the Batch API and emits an outcome for each.

    Parameters
    ----------
    emit
        Called with each outcome, on the loop; it returns the answer's cost and the verb's verdict on it.
    add_result
        Receives the results of parts of earlier runs.
    announce
        Tells the user, once, that batches are under way.
    asked_once
        Requests with a recorded answer whose ending is unknown, also from batches of earlier runs; `emit` and
        `add_result` add to them.
    most_rounds
        How often a request may be submitted again.
    """

    def __init__(
        self,
        collector: Collector,
        store: BatchStore,
        context: SubmissionContext,
        policy: RetryPolicy,
        *,
        emit: Emit,
        add_result: AddResult,
        announce: Callable[[], None],
        asked_once: AbstractSet[Key],
        most_rounds: int,
    ) -> None:
        self.traffic = collector.api.traffic
        self.stopped: Stop | None = None
        self._cancelling = False
        self._collector = collector
        self._store = store
        self._context = context
        self._policy = policy
        self._emit = emit
        self._add_result = add_result
        self._announce = announce
        self._queue = SubmissionQueue(collector, store, context, self._add_failure)
        self._open: list[SubmittedPart] = []
        self._rounds: Counter[int] = Counter()
        self._asked_once = asked_once
        self._most_rounds = most_rounds
        self._limits = LimitPause(policy)
        self._limited: set[int] = set()
        """Requests of which a line was answered 429."""
        self._earlier_limited: list[RequestFault] = []
        self._intervals = growing_pauses(context.tuning)
        self._undecided = False
        """Whether rows of the last part are submitted again that were neither answered nor refused."""
        self._wake = asyncio.Event()

    @property
    def in_flight(self) -> int:
        return sum(submitted.part.requests - submitted.done for submitted in self._open)

    @property
    def ahead(self) -> int:
        return sum(submitted.done for submitted in self._open if submitted.numbers)

    @property
    def waited_seconds(self) -> float:
        return self._limits.waited_seconds - self._limits.left(time.monotonic())

    @property
    def batches(self) -> list[str]:
        return [submitted.part.batch for submitted in self._open if submitted.part.batch]

    def waiting(self) -> str:
        states = Counter(submitted.state for submitted in self._open)
        states["held back"] += len(self._queue.waiting)
        counts = ", ".join(f"{count} {state}" for state, count in states.items() if count)
        if self._open:
            oldest = min(submitted.since for submitted in self._open)
            counts = f"batches: {counts}, since {_duration(time.monotonic() - oldest)}"
        return counts

    @property
    def limit_wait(self) -> LimitWait | None:
        limit = self._limits.wait(time.monotonic()) or self._collector.api.limit_wait
        return limit or self._queue.limit_wait

    def stop(self, reason: Stop) -> None:
        """Submit nothing more; open batches continue, and a later run collects them."""
        if self.stopped is None:
            self.stopped = reason
            self._wake.set()

    def cancel_batches(self) -> None:
        self._cancelling = True

    async def run(self, feed: Feed) -> None:
        """Work until the feed is exhausted or the run is stopped; after a cancellation the batches continue."""
        try:
            self._pause_after_limits(self._earlier_limited)
            self._earlier_limited = []
            while self.stopped is None and await self._step(feed):
                pass
            if self._queue.left_out:
                self.stop(OVER_BUDGET)
        except StopRun as stopped:
            self.stop(stopped.stop)
        finally:
            await through(self._release_or_cancel())

    async def _step(self, feed: Feed) -> bool:
        """Submit, attach and collect what is possible now, or wait; false when nothing is left to wait for."""
        held = self._limits.left(time.monotonic())
        submitted = not held and await self._submit(feed)
        if submitted or await self._attach(feed) or await self._collect(feed):
            self._intervals = growing_pauses(self._context.tuning)
            return True
        if self._open or self._queue.waiting or held:
            await self._pause(held)
            return True
        if self._queue.closed:
            return False
        return feed.more and self._queue.keep_for_next(await feed.next())

    async def _pause(self, held: float) -> None:
        """Wait for the next poll, for the part that is due next, or for the end of a limit's pause."""
        seconds = held or inf
        if self._open:
            seconds = min(seconds, next(self._intervals))
        elif not held:
            seconds = max(0.0, self._queue.waiting[0].not_before - time.monotonic())
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _submit(self, feed: Feed) -> bool:
        if self._policy.paused and not await self._resolve_doubt(feed):
            return False
        submitted = await self._queue.next_part(feed, self._open)
        if submitted is None:
            return False
        self._announce()
        state = await self._create_batch(submitted)
        self._count(submitted, 1)
        if not state.id:
            await self._on_failed(submitted, state, feed)
        return True

    async def _resolve_doubt(self, feed: Feed) -> bool:
        """Ask rows from all over the rest next, or conclude; false while rows are under way, or at the end."""
        if any(submitted.numbers for submitted in self._open):
            return False
        wanted = 0 if self._policy.answered or self._queue.waiting else self._policy.probes
        others = await feed.spread(wanted) if wanted else []
        if others:
            self._policy.on_probes(len(others))
            self._queue.put_first(others)
        elif not (self._undecided or self._queue.waiting) and (stop := self._policy.conclude()) is not None:
            self.stop(stop)
        return self.stopped is None

    async def _create_batch(self, submitted: SubmittedPart) -> BatchState:
        """Create a batch; when the run is cancelled meanwhile, its id is still written if it arrives soon."""
        submitted.enqueued_with_others = bool(self._open)
        for other in self._open:
            other.enqueued_with_others = True
        creating = asyncio.ensure_future(self._queue.create_batch(submitted))
        try:
            state = await asyncio.shield(creating)
        except asyncio.CancelledError:
            await asyncio.wait({creating}, timeout=_CREATE_SECONDS)
            creating.cancel()
            with suppress(asyncio.CancelledError, StopRun, JournalError):
                await creating
            raise
        finally:
            if submitted.part.batch is not None:
                self._open.append(submitted)
        return state

    def _count(self, submitted: SubmittedPart, sign: int) -> None:
        again = self._limited | self._rounds.keys()
        retried = sum(number in again for number in submitted.numbers) if again else 0
        self.traffic.retries += sign * retried
        self.traffic.sent += sign * (len(submitted.numbers) - retried)

    async def _attach(self, feed: Feed) -> bool:
        """Add the parts of earlier runs that hold requests of this run to the open parts."""
        own = {submitted.part.nonce for submitted in (*self._open, *self._queue.waiting)}
        attached = False
        for nonce in sorted(feed.parts - own):
            if await self._store.acquire_part(nonce, self._context.owner):
                attached = True
                part = await self._store.find_part(nonce)
                if part is not None:
                    await self._attach_to(part)
        return attached

    async def _attach_to(self, part: BatchPart) -> None:
        if part.batch is None:
            await self._collector.resolve_intent(part)
            return
        self._announce()
        since = time.monotonic() - max(0.0, time.time() - part.created)
        size = BatchSize(part.requests, 0)
        self._open.append(SubmittedPart(part, size=size, state=part.state, since=since))

    async def _collect(self, feed: Feed) -> bool:
        """Poll all open parts, and collect those that have ended."""
        ended = False
        for submitted in list(self._open):
            state = await self._collector.read_state(submitted.part)
            submitted.state, submitted.done = state.status, state.completed + state.failed
            if state.status not in {*UNDECIDED, "failed"}:
                self._queue.on_accepted(submitted)
            if not state.final:
                continue
            ended = True
            if state.has_results:
                await self._collect_part(submitted, state, feed)
                self._open.remove(submitted)
                self._queue.ends += 1
            else:
                self._open.remove(submitted)
                await self._on_failed(submitted, state, feed)
        return ended

    async def _collect_part(self, submitted: SubmittedPart, state: BatchState, feed: Feed) -> None:
        part = await self._store.find_part(submitted.part.nonce) or submitted.part
        if not submitted.numbers:
            await self._collector.collect(part, state, self.add_earlier_result)
            self._pause_after_limits(self._earlier_limited, part)
            self._earlier_limited = []
            return
        left = {self._context.keys[number]: number for number in submitted.numbers}
        missing: dict[int, Failure] = {}
        limited: dict[int, RequestFault] = {}

        def add_result(result: BatchResult, part: BatchPart) -> float | None:
            number = left.pop(result.key, None)
            if number is None:
                return None
            cost = self._add_own_result(number, result, part, missing, limited)
            if result.answer is not None:
                self._context.budget.settle(number, cost)
            else:
                self._context.budget.end(
                    number, uncertain=result.fault is not None and result.fault.uncertain
                )
            return cost

        self._undecided = False
        await self._collector.collect(part, state, add_result)
        self._undecided = self._undecided or bool(left)
        self._queue.release(left.values())
        self._pause_after_limits(limited.values(), part)
        if state.status == "failed":
            self._add_line_errors(submitted, state, feed, set(left.values()))
        else:
            missing.update(dict.fromkeys(left.values(), _unanswered(state, cancelled=part.cancelled)))
        self._submit_again(missing, feed, wanted=not part.cancelled)
        if part.cancelled:
            for number, fault in limited.items():
                self._add_failure(number, Failure(fault.code, fault.message))
        else:
            self._limited.update(limited)
            feed.put_back(limited)

    def add_earlier_result(self, result: BatchResult, part: BatchPart) -> float | None:
        """Add a result of a part that this run did not submit."""
        if result.fault is not None and result.fault.kind is FaultKind.LIMIT:
            self._earlier_limited.append(result.fault)
        return self._add_result(result, part)

    def _pause_after_limits(self, limited: Collection[RequestFault], part: BatchPart | None = None) -> None:
        """Pause the submissions after a batch with lines that were answered 429."""
        self.traffic.limited += len(limited)
        slowest = max(limited, key=lambda fault: fault.retry_after or 0.0, default=None)
        now = time.monotonic()
        reason = self._limits.end_batch(slowest, now, now if part is None else _sent_at(part, now))
        if reason is not None:
            self.stop(reason)

    def _add_own_result(
        self,
        number: int,
        result: BatchResult,
        part: BatchPart,
        missing: dict[int, Failure],
        limited: dict[int, RequestFault],
    ) -> float | None:
        if result.answer is not None and result.body is not None:
            request, tried = Request(result.key, number, b""), self._attempts(number)
            answer = result.answer._replace(asked=part.created)
            seconds = max(0.0, time.time() - part.created)
            attempts = self._rounds[number] + 1
            recorded = self._emit(Outcome(request, answer, result.body, None, attempts, seconds))
            if recorded is None:
                return None
            verdict = recorded.verdict
            decision = self._policy.on_answer(verdict, tried)
            if verdict.again is not None:
                self._undecided = True
                self._follow(number, Failure(verdict.problem or "", verdict.detail), decision, missing)
            elif isinstance(decision, Stop):
                self.stop(decision)
            return recorded.cost
        fault = result.fault
        if fault is None:
            return None
        self.traffic.uncertain += fault.uncertain
        if fault.kind in {FaultKind.LIMIT, FaultKind.PASSING, FaultKind.UNREACHABLE}:
            self._undecided = True
            if fault.kind is FaultKind.LIMIT:
                limited[number] = fault
            else:
                missing[number] = Failure(fault.code, fault.message)
        else:
            tried, now = self._attempts(number).after(fault), time.monotonic()
            decision = self._policy.on_fault(fault, tried, now, _sent_at(part, now))
            self._follow(number, Failure(fault.code, fault.message), decision, missing)
        return None

    def _attempts(self, number: int) -> Attempts:
        return Attempts(self._rounds[number], endings=self._context.keys[number] in self._asked_once)

    def _follow(
        self,
        number: int,
        failure: Failure,
        decision: Retry | GiveUp | Stop | None,
        missing: dict[int, Failure],
    ) -> None:
        """Submit a request again, or let its row fail."""
        if isinstance(decision, Retry):
            missing[number] = failure
            return
        self._add_failure(number, failure)
        if isinstance(decision, Stop):
            self.stop(decision)

    def _submit_again(self, missing: Mapping[int, Failure], feed: Feed, *, wanted: bool = True) -> None:
        """Feed unanswered requests again, unless they have had all rounds or are no longer wanted."""
        retried = [number for number in missing if wanted and self._rounds[number] < self._most_rounds]
        self._rounds.update(retried)
        feed.put_back(retried)
        for number in missing.keys() - set(retried):
            self._add_failure(number, missing[number])

    def _add_failure(self, number: int, failure: Failure) -> None:
        attempts = self._rounds[number] + 1
        request = Request(self._context.keys[number], number, b"")
        self._emit(Outcome(request, None, None, replace(failure, attempts=attempts), attempts))

    async def _on_failed(self, submitted: SubmittedPart, state: BatchState, feed: Feed) -> None:
        """Handle a batch that failed: it is too large for the account, or some of its lines are invalid."""
        refusal = batch_refusal(state.errors)
        if not submitted.numbers:
            await self._collector.close_part(submitted.part)
        elif refusal is not None:
            self._count(submitted, -1)
            await self._queue.on_refused(submitted, refusal, state, self._open, feed)
        else:
            await self._collector.close_part(submitted.part)
            self._queue.release(submitted.numbers)
            self._add_line_errors(submitted, state, feed, set(submitted.numbers))

    def _add_line_errors(
        self, submitted: SubmittedPart, state: BatchState, feed: Feed, left: AbstractSet[int]
    ) -> None:
        """Fail those of the requests that are left whose lines the batch names; the others are submitted again."""
        named = {error.line: error for error in state.errors if error.line}
        file_error = next((error for error in state.errors if not error.line), None)
        permanent = next(
            (error for error in state.errors if any(word in error.code for word in _PERMANENT_CODES)), None
        )
        if permanent is not None:
            fault = status_fault(404, {"error": {"code": permanent.code, "message": permanent.message}}, None)
            self.stop(Stop(fault.code, fault.message, remedy(fault)))
            return
        rest: dict[int, Failure] = {}
        for line, number in enumerate(submitted.numbers, 1):
            if number not in left:
                continue
            if line in named:
                self._add_line_error(number, named[line])
            else:
                error = file_error or (_INVALID_FILE if named else _UNEXPLAINED)
                rest[number] = Failure(error.code, error.message)
        self._submit_again(rest, feed)

    def _add_line_error(self, number: int, error: BatchError) -> None:
        fault = status_fault(400, {"error": {"code": error.code, "message": error.message}}, None)
        self._policy.on_fault(fault, Attempts(faults=1), time.time())
        self._add_failure(number, Failure(fault.code, fault.message))

    async def _release_or_cancel(self) -> None:
        """Release the open parts so that other runs can collect them; cancel their batches if that was requested."""
        if self._cancelling:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CANCEL_SECONDS):
                    await self._cancel_open()
        for submitted in (*self._open, *self._queue.waiting):
            with suppress(JournalError):
                await self._store.release_part(submitted.part.nonce)

    async def _cancel_open(self) -> None:
        for submitted in self._open:
            with suppress(NotFoundError, StopRun):
                await self._collector.cancel(submitted.part)


def _sent_at(part: BatchPart, now: float) -> float:
    """Return when a part was submitted, on the clock of `now`."""
    return now - max(0.0, time.time() - part.created)


def _unanswered(state: BatchState, *, cancelled: bool) -> Failure:
    code = "batch_cancelled" if cancelled else f"batch_{state.status}"
    return Failure(code, f"the batch {state.id} ended ({state.status}) without an answer to this row")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
