"""The live lane: a bounded pool of workers that pull requests from a feed.

There is never a task per row. The pool grows and shrinks with the pace's window; whoever may not
leave at once stands in one line, whose head waits for the limits, so nothing is booked far ahead. A row
that rests between two attempts keeps its worker, and another may work meanwhile: as many again at
most, and none where requests are to go one at a time. Replies that arrive close together are read
together, which takes less time than one here and one there.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from llmframe._api.responses import Reply
from llmframe._columns.text_answers import read
from llmframe._lane import Traffic
from llmframe._live.attempt import Attempts, estimate
from llmframe._pacing.retry import Again, Stop, Tries, Watch
from llmframe._values import Failure, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmframe._lane import Feed
    from llmframe._live.attempt import Sender
    from llmframe._pacing.pace import Pace, Ticket
    from llmframe._values import Fault, Request

_UNTRIED = Tries()
_ENOUGH_WORKERS = 64
"""So many keep the loop busy where answers come at once: more are added only in turns without answers."""
_GROW_SECONDS = 0.01
"""So long after a turn that brought answers the pool tries again to grow."""
_A_WHILE = 1.0
"""Seconds in which no claim can lapse unnoticed."""
_READ_TOGETHER = 64
"""So many replies are not kept waiting for more."""


class Live:
    """Runs a feed's requests through a sender and emits an outcome for each.

    Parameters
    ----------
    emit
        Called with each outcome, on the loop, in the order in which they come.
    """

    def __init__(
        self,
        sender: Sender,
        pace: Pace,
        watch: Watch,
        emit: Callable[[Outcome], object],
    ) -> None:
        self.traffic = Traffic()
        self.stopped: Stop | None = None
        self._pace = pace
        self._attempts = Attempts(sender, pace, self.traffic)
        self._watch = watch
        self._emit = emit
        self._feed: Feed | None = None
        self._line: deque[tuple[int, asyncio.Future[Ticket | None]]] = deque()
        self._stopping = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._workers = 0
        self._starting = False
        self._resting = 0
        self._exhausted = False
        self._arrivals: deque[tuple[Request, Reply, int, float]] = deque()

    @property
    def in_flight(self) -> int:
        return self._pace.in_flight

    @property
    def ahead(self) -> int:
        return 0

    def waiting(self) -> str:
        if self._pace.waiting_for_limit(time.monotonic()):
            return "waiting for the rate limit"
        return "waiting to try again" if self._resting and not self._pace.in_flight else ""

    @property
    def waited_seconds(self) -> float:
        return self._pace.waited_seconds

    def stop(self, reason: Stop) -> None:
        """Send nothing more; what is in flight is awaited, for it is paid."""
        if self.stopped is None:
            self.stopped = reason
            self._stopping.set()
            if self._feed is not None:
                self._feed.end()

    async def run(self, feed: Feed) -> None:
        """Work until the feed is exhausted or the run is stopped."""
        self._feed = feed
        try:
            async with asyncio.TaskGroup() as self._group:
                self._grow()
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None
        finally:
            self._read_arrivals()

    @property
    def _room(self) -> int:
        """How many workers there may be more; negative: fewer."""
        window = self._pace.window
        spare = min(self._resting, window) if self._resting and window > 1 else 0
        return window + spare - self._workers

    def _grow(self) -> None:
        """Add a worker, if there may be one more and nobody waits: one each turn of the loop, and few in busy ones."""
        if self._starting or self._line or self._exhausted or self.stopped is not None or self._room <= 0:
            return
        if self._group is None or self._feed is None:
            return
        self._starting = True
        if self._arrivals and self._workers >= _ENOUGH_WORKERS:
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
            while self.stopped is None and (room := self._room) >= 0:
                request = feed.ready() or await feed.next()
                if request is None:
                    self._exhausted = True
                    return
                if room:
                    self._grow()
                await self._complete(request)
        finally:
            self._workers -= 1

    async def _complete(self, request: Request) -> None:
        tries, since = _UNTRIED, time.monotonic()
        while ticket := self._leave(request) or await self._turn(request):
            if ticket.sent_at - since > _A_WHILE and self._gave_back(request, ticket, since):
                return
            if tries is _UNTRIED:
                self.traffic.sent += 1
            else:
                self.traffic.retries += 1
            result = await self._attempts.make(request, ticket)
            if isinstance(result, Reply):
                attempts = 1 if tries is _UNTRIED else tries.total + 1
                self._arrivals.append((request, result, attempts, time.monotonic() - ticket.sent_at))
                if self._watch.doubts:  # the reply may end the run
                    self._read_arrivals()
                elif len(self._arrivals) == 1:
                    await self._more_arrivals()
                    self._read_arrivals()
                return
            tries = tries.after(result.fault)
            self._read_arrivals()  # what came before the fault is heard before it
            decision = self._watch.faulted(result.fault, tries, time.monotonic())
            if not isinstance(decision, Again):
                self._lost(request, result.fault, tries, decision)
                return
            await self._rest(decision.seconds)

    def _gave_back(self, request: Request, ticket: Ticket, since: float) -> bool:
        """Give a request back which others may have asked while it rested or stood in line."""
        if self._feed is None or not self._feed.lapsed_since(since):
            return False
        self._pace.abandoned(time.monotonic(), ticket)
        self._feed.put_back([request.number])
        return True

    async def _rest(self, seconds: float) -> None:
        self._resting += 1
        self._grow()
        try:
            await self._pause(seconds)
        finally:
            self._resting -= 1

    def _leave(self, request: Request) -> Ticket | None:
        """Let the request leave at once, if nobody waits in line and the pace lets it."""
        now, tokens = time.monotonic(), estimate(request)
        if self._line or self.stopped is not None or self._pace.delay(now, tokens):
            return None
        return self._pace.sent(now, tokens)

    async def _turn(self, request: Request) -> Ticket | None:
        """Wait in line until the pace lets the request leave; `None` when the run stops before."""
        if self._group is None or self.stopped is not None:
            return None
        turn: asyncio.Future[Ticket | None] = asyncio.get_running_loop().create_future()
        self._line.append((estimate(request), turn))
        if len(self._line) == 1:
            self._group.create_task(self._open_line())
        ticket = await turn
        if ticket is not None and self.stopped is not None:
            self._pace.abandoned(time.monotonic(), ticket)
            return None
        return ticket

    async def _open_line(self) -> None:
        """Let those in line leave one after the other, and many at once where the pace lets them."""
        while self._line:
            tokens, turn = self._line[0]
            now = time.monotonic()
            seconds = self._pace.delay(now, tokens) if self.stopped is None else 0.0
            if seconds:
                await self._pause(seconds)
                continue
            self._line.popleft()
            if not turn.done():
                turn.set_result(None if self.stopped is not None else self._pace.sent(now, tokens))
        self._grow()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    async def _more_arrivals(self) -> None:
        """Let the others of this turn of the loop come, and of those after it until one brings none."""
        so_many = 0
        while so_many < len(self._arrivals) < _READ_TOGETHER:
            so_many = len(self._arrivals)
            await asyncio.sleep(0)

    def _read_arrivals(self) -> None:
        while self._arrivals:
            request, reply, attempts, seconds = self._arrivals.popleft()
            answer = read(request.key, reply.raw, reply.data)
            self._emit(Outcome(request, answer, None, attempts, seconds))
            reason = self._watch.answered(answer)
            if reason is not None:
                self.stop(reason)

    def _lost(self, request: Request, fault: Fault, tries: Tries, decision: object) -> None:
        self._emit(Outcome(request, None, Failure(fault.code, fault.message, tries.total), tries.total))
        if isinstance(decision, Stop):
            self.stop(decision)
