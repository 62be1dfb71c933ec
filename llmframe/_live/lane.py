"""The live lane: a limited number of workers that take requests from a feed.

There is no task per row. The number of workers follows the pace's window. Requests that may not leave at once wait in
one queue, and only the first of them asks the pace for admission. A request that waits between two attempts keeps its
worker, and an additional worker may start: up to one window more, and none where requests are sent one at a time.
Replies that arrive close together are read together, which takes less time than one by one. While the retry policy is
in doubt whether any row will be answered, only its probes leave the queue, which then comes first with other rows.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from llmframe._api import Reply
from llmframe._live.attempt import Attempter
from llmframe._live.cache_warming import CacheWarming
from llmframe._pacing import OVER_BUDGET, Attempts, Budget, Fit, Retry, evenly
from llmframe._values import Failure, FaultKind, LimitWait, Outcome, Stop, Traffic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmframe._api import Transport
    from llmframe._pacing import GiveUp, RetryPolicy, RunPace, Ticket
    from llmframe._values import Emit, Endpoint, Feed, Request, RequestFault, Verdict

_NONE = Attempts()
_ENOUGH_WORKERS = 64
"""From this many workers on, more are added only in turns of the loop without answers: the loop is busy enough."""
_GROW_SECONDS = 0.01
"""After a turn with answers, the next attempt to add a worker follows after this time."""
_CLAIM_CHECK_SECONDS = 1.0
"""Seconds. A claim that was checked this recently is not checked again."""
_FEW_ROWS = 50
"""When no row is left to be taken, the run waits for this many at most: they are the last."""
_READ_TOGETHER = 64
"""At most this many replies are read together."""


@dataclass(eq=False, slots=True)
class _Waiting:
    """A request in the queue."""

    request: Request
    turn: asyncio.Future[Ticket | None]
    refused: bool
    """Whether its key or account was refused the last time."""


class LiveLane:
    """Runs a feed's requests through a transport and emits an outcome for each.

    Parameters
    ----------
    emit
        Called with each outcome, on the loop, in their order.
    most_output
        The tokens that each answer may have at most, where its request bounds them.
    budget
        What the run may spend; `None`: without a cap.
    warming
        Bounds the requests in flight, as the pace knows, until what they have in common is in the provider's cache.
    warming_seconds
        The longest time for that.
    """

    def __init__(
        self,
        transport: Transport,
        pace: RunPace,
        policy: RetryPolicy,
        *,
        endpoint: Endpoint,
        emit: Emit,
        most_output: int = 0,
        budget: Budget | None = None,
        warming: CacheWarming | None = None,
        warming_seconds: float = 60.0,
    ) -> None:
        self.traffic = Traffic()
        self.stopped: Stop | None = None
        self._endpoint = endpoint
        self._pace = pace
        self._attempter = Attempter(transport, endpoint, pace, self.traffic, longest_wait=policy.longest_wait)
        self._policy = policy
        self._emit = emit
        self._most_output = most_output
        self._budget = budget or Budget()
        self._settled = asyncio.Event()
        """That a reservation was settled, or the run is stopped."""
        self._over_budget = False
        """Whether requests were left out because they do not fit into the cap."""
        self._warming_seconds = warming_seconds
        self._warming = warming or CacheWarming((None,), {}, 0.0)
        self._feed: Feed | None = None
        self._queue: deque[_Waiting] = deque()
        self._stop_event = asyncio.Event()
        self._probes = 0
        """While the policy pauses the sending: how many requests may still leave."""
        self._probing = False
        self._resumed = asyncio.Event()
        self._limit: tuple[str, float] | None = None
        """The words of the last 429 without an answer since, and when its request is sent again."""
        self._group: asyncio.TaskGroup | None = None
        self._workers = 0
        self._starting = False
        self._waiting_for_retry = 0
        self._undecided = 0
        """Those of them that were not refused."""
        self._exhausted = False
        self._few_left = asyncio.Event()
        """That the run waits for few rows only, or is stopped."""
        self._replies: deque[tuple[Request, Reply, Attempts, float]] = deque()

    @property
    def in_flight(self) -> int:
        return self._pace.in_flight

    @property
    def ahead(self) -> int:
        return 0

    @property
    def batches(self) -> Sequence[str]:
        return ()

    def waiting(self) -> str:
        if self._pace.waiting_for_limit(time.monotonic()):
            return "waiting for the rate limit"
        return "waiting to try again" if self._waiting_for_retry and not self._pace.in_flight else ""

    @property
    def limit_wait(self) -> LimitWait | None:
        now = time.monotonic()
        waiting = self._pace.waiting_for_limit(now)
        if self._limit is None:
            return LimitWait("the rate limit that the server states", None) if waiting else None
        words, retry_at = self._limit
        if not waiting and retry_at <= now:
            return None
        return LimitWait(words, datetime.now(UTC) + timedelta(seconds=max(0.0, retry_at - now)))

    @property
    def waited_seconds(self) -> float:
        return self._pace.waited_seconds

    def stop(self, reason: Stop) -> None:
        """Send nothing more; requests in flight are awaited, because they are paid."""
        if self.stopped is None:
            self.stopped = reason
            self._stop_event.set()
            self._few_left.set()
            self._resumed.set()
            self._settled.set()
            if self._feed is not None:
                self._feed.end()

    def cancel_batches(self) -> None:
        """Do nothing: there are no batches."""

    async def run(self, feed: Feed) -> None:
        """Work until the feed is exhausted or the run is stopped."""
        self._feed = feed
        warming_ends = asyncio.get_running_loop().call_later(self._warming_seconds, self._end_warming)
        try:
            async with asyncio.TaskGroup() as self._group:
                self._grow()
        except BaseExceptionGroup as group:
            first, *others = group.exceptions
            for other in others:
                first.add_note(f"another request failed meanwhile: {other!r}")
            raise first from None
        finally:
            warming_ends.cancel()
            self._read_replies()
        if self._over_budget:
            self.stop(OVER_BUDGET)

    def _end_warming(self) -> None:
        """Hold nothing back for the provider's cache any longer."""
        self._warming.give_up()
        self._grow()

    @property
    def _vacant(self) -> int:
        """The number of workers that may be added; negative: there are too many."""
        window = self._pace.window
        additional = 0
        if self._waiting_for_retry and (window > 1 or self._warming.most_in_flight):
            additional = min(self._waiting_for_retry, window)
        return window + additional - self._workers

    def _grow(self) -> None:
        """Add a worker if one more is allowed and no request waits: one per turn of the loop, and fewer in busy turns."""
        if self._starting or self._queue or self._exhausted or self.stopped is not None or self._vacant <= 0:
            return
        if self._group is None or self._feed is None:
            return
        self._starting = True
        if self._replies and self._workers >= _ENOUGH_WORKERS:
            self._group.create_task(self._grow_later())
        else:
            self._workers += 1
            self._group.create_task(self._work(self._feed))

    async def _grow_later(self) -> None:
        await self._pause(_GROW_SECONDS)
        self._starting = False
        self._grow()

    async def _work(self, feed: Feed) -> None:
        self._starting = False
        try:
            while self.stopped is None and (vacant := self._vacant) >= 0 and not self._enough_wait(feed):
                request = feed.next_ready() or await feed.next()
                if request is None:
                    self._exhausted = True
                    return
                if self._enough_wait(feed):  # others came first while this worker waited for a claim
                    feed.return_ready(request)
                    self._exhausted = False
                    self._few_left.clear()
                    return
                if vacant:
                    self._grow()
                await self._send_until_done(request)
        finally:
            self._workers -= 1
            if self._exhausted and self._workers <= _FEW_ROWS:
                self._few_left.set()

    def _enough_wait(self, feed: Feed) -> bool:
        """Whether no more requests may be taken: they would only wait; `_serve_queue` adds the worker again."""
        return len(self._queue) > 0 and len(self._queue) >= feed.ahead

    async def _send_until_done(
        self, request: Request, attempts: Attempts = _NONE, *, probe: bool = False
    ) -> None:
        """Attempt a request until it is answered, has failed, or the run stops."""
        since, refused = time.monotonic(), False
        while ticket := self._admit_now(request) or await self._admit_in_turn(
            request, refused=refused, probe=probe
        ):
            if ticket.sent_at - since > _CLAIM_CHECK_SECONDS and self._put_back_if_lapsed(request, since):
                self._end_attempt(request, uncertain=False)
                return
            if attempts is _NONE:
                self.traffic.sent += 1
            else:
                self.traffic.retries += 1
            result = await self._attempter.attempt(request, ticket)
            if isinstance(result, Reply):
                self._limit = None
                self._warming.on_answer(request.number, time.monotonic())
                await self._add_reply(request, result, attempts, time.monotonic() - ticket.sent_at)
                self._continue_in_doubt()
                return
            self._end_attempt(request, uncertain=result.fault.uncertain)
            attempts, refused = attempts.after(result.fault), result.fault.kind is FaultKind.ACCESS
            self._read_replies()  # earlier replies are read before the fault
            decision = self._policy.on_fault(result.fault, attempts, time.monotonic(), ticket.sent_at)
            self._continue_in_doubt()
            if not isinstance(decision, Retry):
                self._fail(request, result.fault, attempts, decision)
                return
            if result.fault.kind is FaultKind.LIMIT:
                self._limit = result.fault.message, time.monotonic() + decision.seconds
            await self._wait_for_retry(decision, refused=refused)

    def _put_back_if_lapsed(self, request: Request, since: float) -> bool:
        """Put a request back that another run may have sent while it waited."""
        if self._feed is None or not self._feed.lapsed_since(since):
            return False
        self._pace.on_cancel()
        self._feed.put_back([request.number])
        self._exhausted = False
        self._few_left.clear()
        self._grow()
        self._continue_in_doubt()
        return True

    async def _wait_for_retry(self, retry: Retry, *, refused: bool = False) -> None:
        self._waiting_for_retry += 1
        self._undecided += not refused
        self._grow()
        began = time.monotonic()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(retry.seconds):
                    await self._few_left.wait()
            at_last = retry.seconds if retry.at_last is None else retry.at_last
            await self._pause(began + at_last - time.monotonic())
        finally:
            self._waiting_for_retry -= 1
            self._undecided -= not refused

    def _estimate(self, request: Request) -> int:
        """Estimate the tokens that a server may charge a request; answers later correct the estimate."""
        return len(request.body) // 4 + self._most_output

    def _admit_now(self, request: Request) -> Ticket | None:
        """Send the request at once if no request waits and the pace admits it."""
        now, tokens = time.monotonic(), self._estimate(request)
        if self._queue or self.stopped is not None or self._policy.paused:
            return None
        if self._budget.fit(len(request.body)) is not Fit.NOW or self._pace.admit(now, tokens):
            return None
        return self._send(request, now)

    def _send(self, request: Request, now: float) -> Ticket:
        """Count a request as sent, at the account's limits and at the run's cap."""
        self._budget.reserve(request.number, len(request.body))
        return self._pace.send(now, self._estimate(request))

    def _end_attempt(self, request: Request, *, uncertain: bool) -> None:
        self._budget.end(request.number, uncertain=uncertain)
        self._settled.set()

    async def _admit_in_turn(self, request: Request, *, refused: bool, probe: bool) -> Ticket | None:
        """Wait in the queue until the pace admits the request; `None` when the run stops first."""
        if self._group is None or self.stopped is not None:
            return None
        turn: asyncio.Future[Ticket | None] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(request, turn, refused)
        if probe:
            self._queue.appendleft(waiting)
        else:
            self._queue.append(waiting)
        if len(self._queue) == 1:
            self._group.create_task(self._serve_queue())
        self._continue_in_doubt()
        ticket = await turn
        if ticket is not None and self.stopped is not None:
            self._pace.on_cancel()
            self._end_attempt(request, uncertain=False)
            return None
        return ticket

    async def _serve_queue(self) -> None:
        """Admit the requests in the queue in order, as the pace and the policy allow."""
        while self._queue:
            now = time.monotonic()
            stop = self._policy.check_limit(now)
            if stop is not None:
                self.stop(stop)
            if self.stopped is None and self._policy.paused and not self._probes:
                self._resumed.clear()
                await self._resumed.wait()
                continue
            request = self._queue[0].request
            fit = self._budget.fit(len(request.body)) if self.stopped is None else Fit.NOW
            if fit is Fit.LATER:
                self._settled.clear()
                self._budget.waiting.add(self._settled)
                await self._settled.wait()
                continue
            leaves = fit is Fit.NOW and self.stopped is None
            if leaves and (seconds := self._pace.admit(now, self._estimate(request))):
                await self._pause(seconds)
                continue
            waiting = self._queue.popleft()
            if fit is Fit.NEVER:
                self._leave_out()
            if not waiting.turn.done():
                self._probes = max(0, self._probes - 1)
                waiting.turn.set_result(self._send(request, now) if leaves else None)
        self._grow()

    def _leave_out(self) -> None:
        """Leave a request out that does not fit into the cap; others may, as long as something is left of it."""
        self._over_budget = True
        if self._budget.used_up:
            self.stop(OVER_BUDGET)

    def _continue_in_doubt(self) -> None:
        """While the sending is paused and nothing is in flight, send the next probes, or decide."""
        if not self._policy.paused:
            self._probes = 0
            self._resumed.set()
        elif not (self._pace.in_flight or self._probes or self._probing or self._group is None):
            self._probing = True
            self._group.create_task(self._probe())

    async def _probe(self) -> None:
        """Let requests of other rows leave first, from all over the rest; without any, conclude."""
        self._warming.give_up()
        wanted, answered = self._policy.probes, self._policy.answered
        feed, group = self._feed, self._group
        others: Sequence[Request] = []
        if wanted and feed is not None and group is not None:
            others = await feed.spread(wanted)
            for request in others:
                group.create_task(self._send_until_done(request, probe=True))
        left = wanted - len(others)
        first = evenly([waiting for waiting in self._queue if answered or not waiting.refused], left)
        self._queue = deque([*first, *(waiting for waiting in self._queue if waiting not in first)])
        await asyncio.sleep(0)  # in which the other rows' requests come to the front
        count = len(others) + len(first)
        count += min(wanted - count, self._waiting_for_retry if answered else self._undecided)
        self._probing = False
        if count:
            self._policy.on_probes(count)
            self._probes = count
        elif (stop := self._policy.conclude()) is not None:
            self.stop(stop)
        self._resumed.set()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop_event.wait()
        except TimeoutError:
            pass

    async def _add_reply(self, request: Request, reply: Reply, attempts: Attempts, seconds: float) -> None:
        """Keep a reply, which is read together with those that arrive close to it."""
        self._replies.append((request, reply, attempts, seconds))
        if self._policy.ends_by_answers:  # the reply may end the run
            self._read_replies()
        elif len(self._replies) == 1:
            await self._wait_for_more_replies()
            self._read_replies()

    async def _wait_for_more_replies(self) -> None:
        """Return after the first turn of the loop without a further reply."""
        count = 0
        while count < len(self._replies) < _READ_TOGETHER:
            count = len(self._replies)
            await asyncio.sleep(0)

    def _read_replies(self) -> None:
        while self._replies:
            request, reply, attempts, seconds = self._replies.popleft()
            answer = self._endpoint.read_answer(request.key, reply.raw, reply.data, "live")
            count = 1 if attempts is _NONE else attempts.total + 1
            recorded = self._emit(Outcome(request, answer, reply.data, None, count, seconds))
            self._budget.settle(request.number, None if recorded is None else recorded.cost)
            self._settled.set()
            if recorded is None:
                continue
            decision = self._policy.on_answer(recorded.verdict, attempts)
            if decision is not None:
                self._follow(request, recorded.verdict, attempts, decision)

    def _follow(
        self, request: Request, verdict: Verdict, attempts: Attempts, decision: Retry | GiveUp | Stop
    ) -> None:
        """Ask once more after a paid body that is no answer, or let its row fail; or stop after an answer."""
        if isinstance(decision, Retry) and self._group is not None:
            self._group.create_task(self._ask_again(request, attempts.after_verdict(verdict), decision))
        elif verdict.again is not None:
            failure = Failure(verdict.problem or "", verdict.detail, attempts.total + 1)
            self._emit(Outcome(request, None, None, failure, failure.attempts))
        if isinstance(decision, Stop):
            self.stop(decision)

    async def _ask_again(self, request: Request, attempts: Attempts, retry: Retry) -> None:
        await self._wait_for_retry(retry)
        await self._send_until_done(request, attempts)

    def _fail(self, request: Request, fault: RequestFault, attempts: Attempts, decision: object) -> None:
        failure = Failure(fault.code, fault.message, attempts.total)
        self._emit(Outcome(request, None, None, failure, attempts.total))
        if isinstance(decision, Stop):
            self.stop(decision)
