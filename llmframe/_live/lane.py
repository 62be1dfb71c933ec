"""The live lane: a limited number of workers that take requests from a feed.

There is no task per row. The number of workers follows the pace's window. Requests that may not leave at once wait in
one queue, and only the first of them asks the pace for admission. A request that waits between two attempts keeps its
worker, and an additional worker may start: up to one window more, and none where requests are sent one at a time.
Replies that arrive close together are read together, which takes less time than one by one.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from llmframe._api import Reply
from llmframe._live.attempt import Attempter, estimate_tokens
from llmframe._pacing import Attempts, Retry
from llmframe._values import Failure, Outcome, Stop, Traffic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmframe._api import Transport
    from llmframe._pacing import Pace, RetryPolicy, Ticket
    from llmframe._values import Emit, Endpoint, Feed, LimitWait, Request, RequestFault

_NONE_FAILED = Attempts()
_ENOUGH_WORKERS = 64
"""From this many workers on, more are added only in turns of the loop without answers: the loop is busy enough."""
_GROW_SECONDS = 0.01
"""After a turn with answers, the next attempt to add a worker follows after this time."""
_CLAIM_CHECK_SECONDS = 1.0
"""Seconds. A claim that was checked this recently is not checked again."""
_READ_TOGETHER = 64
"""At most this many replies are read together."""


class LiveLane:
    """Runs a feed's requests through a transport and emits an outcome for each.

    Parameters
    ----------
    emit
        Called with each outcome, on the loop, in their order.
    """

    def __init__(
        self,
        transport: Transport,
        pace: Pace,
        policy: RetryPolicy,
        *,
        endpoint: Endpoint,
        emit: Emit,
    ) -> None:
        self.traffic = Traffic()
        self.stopped: Stop | None = None
        self._endpoint = endpoint
        self._pace = pace
        self._attempter = Attempter(transport, endpoint, pace, self.traffic)
        self._policy = policy
        self._emit = emit
        self._feed: Feed | None = None
        self._queue: deque[tuple[int, asyncio.Future[Ticket | None]]] = deque()
        self._stop_event = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._workers = 0
        self._starting = False
        self._waiting_for_retry = 0
        self._exhausted = False
        self._replies: deque[tuple[Request, Reply, int, float]] = deque()

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
        return None

    @property
    def waited_seconds(self) -> float:
        return self._pace.waited_seconds

    def stop(self, reason: Stop) -> None:
        """Send nothing more; requests in flight are awaited, because they are paid."""
        if self.stopped is None:
            self.stopped = reason
            self._stop_event.set()
            if self._feed is not None:
                self._feed.end()

    def cancel_batches(self) -> None:
        """Do nothing: there are no batches."""

    async def run(self, feed: Feed) -> None:
        """Work until the feed is exhausted or the run is stopped."""
        self._feed = feed
        try:
            async with asyncio.TaskGroup() as self._group:
                self._grow()
        except BaseExceptionGroup as group:
            first, *others = group.exceptions
            for other in others:
                first.add_note(f"another request failed meanwhile: {other!r}")
            raise first from None
        finally:
            self._read_replies()

    @property
    def _vacant(self) -> int:
        """The number of workers that may be added; negative: there are too many."""
        window = self._pace.window
        additional = min(self._waiting_for_retry, window) if self._waiting_for_retry and window > 1 else 0
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
                    return
                if vacant:
                    self._grow()
                await self._send_until_done(request)
        finally:
            self._workers -= 1

    def _enough_wait(self, feed: Feed) -> bool:
        """Whether no more requests may be taken: they would only wait; `_serve_queue` adds the worker again."""
        return len(self._queue) > 0 and len(self._queue) >= feed.ahead

    async def _send_until_done(self, request: Request) -> None:
        """Attempt a request until it is answered, has failed, or the run stops."""
        attempts, since = _NONE_FAILED, time.monotonic()
        while ticket := self._admit_now(request) or await self._admit_in_turn(request):
            if ticket.sent_at - since > _CLAIM_CHECK_SECONDS and self._put_back_if_lapsed(request, since):
                return
            if attempts is _NONE_FAILED:
                self.traffic.sent += 1
            else:
                self.traffic.retries += 1
            result = await self._attempter.attempt(request, ticket)
            if isinstance(result, Reply):
                attempt_count = 1 if attempts is _NONE_FAILED else attempts.total + 1
                await self._add_reply(request, result, attempt_count, time.monotonic() - ticket.sent_at)
                return
            attempts = attempts.after(result.fault)
            self._read_replies()  # earlier replies are read before the fault
            decision = self._policy.on_fault(result.fault, attempts, time.monotonic())
            if not isinstance(decision, Retry):
                self._fail(request, result.fault, attempts, decision)
                return
            await self._wait_for_retry(decision.seconds)

    def _put_back_if_lapsed(self, request: Request, since: float) -> bool:
        """Put a request back that another run may have sent while it waited."""
        if self._feed is None or not self._feed.lapsed_since(since):
            return False
        self._pace.on_cancel()
        self._feed.put_back([request.number])
        self._exhausted = False
        return True

    async def _wait_for_retry(self, seconds: float) -> None:
        self._waiting_for_retry += 1
        self._grow()
        try:
            await self._pause(seconds)
        finally:
            self._waiting_for_retry -= 1

    def _admit_now(self, request: Request) -> Ticket | None:
        """Send the request at once if no request waits and the pace admits it."""
        now, tokens = time.monotonic(), estimate_tokens(request)
        if self._queue or self.stopped is not None or self._pace.admit(now, tokens).seconds:
            return None
        return self._pace.send(now, tokens)

    async def _admit_in_turn(self, request: Request) -> Ticket | None:
        """Wait in the queue until the pace admits the request; `None` when the run stops first."""
        if self._group is None or self.stopped is not None:
            return None
        turn: asyncio.Future[Ticket | None] = asyncio.get_running_loop().create_future()
        self._queue.append((estimate_tokens(request), turn))
        if len(self._queue) == 1:
            self._group.create_task(self._serve_queue())
        ticket = await turn
        if ticket is not None and self.stopped is not None:
            self._pace.on_cancel()
            return None
        return ticket

    async def _serve_queue(self) -> None:
        """Admit the requests in the queue in order, as the pace allows."""
        while self._queue:
            tokens, turn = self._queue[0]
            now = time.monotonic()
            seconds = self._pace.admit(now, tokens).seconds if self.stopped is None else 0.0
            if seconds:
                await self._pause(seconds)
                continue
            self._queue.popleft()
            if not turn.done():
                turn.set_result(None if self.stopped is not None else self._pace.send(now, tokens))
        self._grow()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop_event.wait()
        except TimeoutError:
            pass

    async def _add_reply(self, request: Request, reply: Reply, attempt_count: int, seconds: float) -> None:
        """Keep a reply, which is read together with those that arrive close to it."""
        self._replies.append((request, reply, attempt_count, seconds))
        if self._policy.all_empty:  # the reply may end the run
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
            request, reply, attempt_count, seconds = self._replies.popleft()
            answer = self._endpoint.read_answer(request.key, reply.raw, reply.data, "live")
            recorded = self._emit(Outcome(request, answer, reply.data, None, attempt_count, seconds))
            reason = None if recorded is None else self._policy.on_answer(recorded.verdict)
            if reason is not None:
                self.stop(reason)

    def _fail(self, request: Request, fault: RequestFault, attempts: Attempts, decision: object) -> None:
        failure = Failure(fault.code, fault.message, attempts.total)
        self._emit(Outcome(request, None, None, failure, attempts.total))
        if isinstance(decision, Stop):
            self.stop(decision)
