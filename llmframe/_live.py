"""The live lane: a bounded pool of workers that pull requests from a feed.

There is never a task per row. The pool grows and shrinks with the pace's window; one worker at a
time stands at the head of the line and waits for the limits, so nothing is booked far ahead. A row
that rests between two attempts keeps its worker, and another may work meanwhile: as many again at
most, and none where requests are to go one at a time. Replies that arrive in one turn of the loop are
read together, which is twice as fast as one here and one there.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from llmframe._answers import read
from llmframe._attempts import Attempts, estimate
from llmframe._hedge import Hedge
from llmframe._lane import Traffic
from llmframe._records import Failure, Outcome
from llmframe._replies import Reply
from llmframe._retry import Again, Stop, Tries, Watch
from llmframe._stragglers import Stragglers

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmframe._attempts import Sender
    from llmframe._lane import Feed
    from llmframe._limits import Pace
    from llmframe._records import Fault, Request

_UNTRIED = Tries()


class Live:
    """Runs a feed's requests through a sender and emits an outcome for each.

    Parameters
    ----------
    emit
        Called with each outcome, on the loop, in the order in which they come.
    hedge
        The share of requests that may be sent a second time while their answer is long in coming.
    """

    def __init__(
        self,
        sender: Sender,
        pace: Pace,
        watch: Watch,
        emit: Callable[[Outcome], object],
        *,
        hedge: float | None = None,
    ) -> None:
        self.traffic = Traffic()
        self.stopped: Stop | None = None
        self._pace = pace
        self._attempts: Attempts | Hedge = Attempts(sender, pace, self.traffic)
        if hedge:
            self._attempts = Hedge(
                self._attempts, Stragglers(hedge), pace, self.traffic, lambda: self.stopped is None
            )
        self._watch = watch
        self._emit = emit
        self._feed: Feed | None = None
        self._line = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._workers = 0
        self._resting = 0
        self._exhausted = False
        self._arrivals: list[tuple[Request, Reply, int, float]] = []

    @property
    def in_flight(self) -> int:
        return self._pace.in_flight

    @property
    def ahead(self) -> int:
        return 0

    def waiting(self) -> str:
        return "waiting for the rate limit" if self._pace.waiting_for_limit(time.monotonic()) else ""

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
        window = max(1, self._pace.window)
        spare = min(self._resting, window) if window > 1 else 0
        return window + spare - self._workers

    def _grow(self) -> None:
        if self._group is None or self._feed is None:
            return
        while self._room > 0 and not self._exhausted and self.stopped is None:
            self._workers += 1
            self._group.create_task(self._work(self._feed))

    async def _work(self, feed: Feed) -> None:
        try:
            while self.stopped is None and (room := self._room) >= 0:
                if room:
                    self._grow()
                request = await feed.next()
                if request is None:
                    self._exhausted = True
                    return
                await self._complete(request)
        finally:
            self._workers -= 1

    async def _complete(self, request: Request) -> None:
        tries = _UNTRIED
        while self._may_go(request) or await self._turn(request):
            left = time.monotonic()
            if tries is _UNTRIED:
                self.traffic.sent += 1
            else:
                self.traffic.retries += 1
            result = await self._attempts.make(request)
            if isinstance(result, Reply):
                self._arrived(request, result, tries, time.monotonic() - left)
                return
            tries = tries.after(result.fault)
            decision = self._watch.faulted(result.fault, tries, time.monotonic())
            if not isinstance(decision, Again):
                self._lost(request, result.fault, tries, decision)
                return
            await self._rest(decision.seconds)

    async def _rest(self, seconds: float) -> None:
        self._resting += 1
        self._grow()
        try:
            await self._pause(seconds)
        finally:
            self._resting -= 1

    def _may_go(self, request: Request) -> bool:
        """Tell whether the request may go at once: nobody waits in line, and the pace lets it."""
        return self.stopped is None and not self._line.locked() and not self._delay(request)

    async def _turn(self, request: Request) -> bool:
        """Wait in line until the pace lets the request go; false when the run stops before."""
        async with self._line:
            while self.stopped is None:
                seconds = self._delay(request)
                if not seconds:
                    return True
                await self._pause(seconds)
        return False

    def _delay(self, request: Request) -> float:
        return self._pace.delay(time.monotonic(), estimate(request))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    def _arrived(self, request: Request, reply: Reply, tries: Tries, seconds: float) -> None:
        """Leave a reply to be read with the others of this turn of the loop, unless it may end the run."""
        self._arrivals.append((request, reply, tries.total + 1, seconds))
        if self._watch.doubts or self._group is None:
            self._read_arrivals()
        elif len(self._arrivals) == 1:
            self._group.create_task(self._read_soon())

    async def _read_soon(self) -> None:
        self._read_arrivals()

    def _read_arrivals(self) -> None:
        arrivals, self._arrivals = self._arrivals, []
        for request, reply, attempts, seconds in arrivals:
            answer = read(request.key, reply.raw, reply.data)
            self._emit(Outcome(request, answer, None, attempts, seconds, reply.copies))
            reason = self._watch.answered(answer)
            if reason is not None:
                self.stop(reason)

    def _lost(self, request: Request, fault: Fault, tries: Tries, decision: object) -> None:
        self._emit(Outcome(request, None, Failure(fault.code, fault.message, tries.total), tries.total))
        if isinstance(decision, Stop):
            self.stop(decision)
