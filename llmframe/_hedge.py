"""Hedging: a straggler is sent a second time, and the first answer wins.

With long-tailed latencies the last rows of a run wait for a few slow answers, and a copy often comes
back sooner. It can also be billed, so it is sent only where the user asks for it, for a stated share
of the requests, and never past a limit.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from llmframe._attempts import estimate
from llmframe._replies import Refused, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmframe._attempts import Attempts
    from llmframe._lane import Traffic
    from llmframe._limits import Pace, Ticket
    from llmframe._records import Request
    from llmframe._stragglers import Stragglers


_LOOK_SECONDS = 0.5
"""How soon a straggler that may not be sent again now is looked at again."""


class _Flight:
    """A request on its way, and its copy, if there is one."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.left = time.monotonic()
        self.scope = asyncio.timeout(None)
        self.timer: asyncio.TimerHandle | None = None
        self.copy: asyncio.Task[Reply | Refused] | None = None
        self.landed = False

    def land(self) -> None:
        self.landed = True
        if self.timer is not None:
            self.timer.cancel()


class Hedge:
    """Makes attempts, and a second one at a straggler.

    Parameters
    ----------
    pace
        A copy needs its leave, as every request does.
    traffic
        Counts the copies.
    going
        Tells whether anything may still be sent.
    """

    def __init__(
        self,
        attempts: Attempts,
        stragglers: Stragglers,
        pace: Pace,
        traffic: Traffic,
        going: Callable[[], bool],
    ) -> None:
        self._attempts = attempts
        self._stragglers = stragglers
        self._pace = pace
        self._traffic = traffic
        self._going = going

    async def make(self, request: Request, ticket: Ticket) -> Reply | Refused:
        """Send a request now, and again if it takes long; every fault comes back as a value."""
        flight = _Flight(request)
        self._stragglers.sent()
        self._look_later(flight, self._stragglers.patience or _LOOK_SECONDS)
        first: Reply | Refused | None = None
        try:
            with suppress(TimeoutError):  # the copy was first
                async with flight.scope:
                    first = await self._attempts.make(request, ticket)
            flight.land()
            result = await self._better(first, flight.copy)
        finally:
            flight.land()
            if flight.copy is not None:
                flight.copy.cancel()
                await asyncio.wait({flight.copy})
        if isinstance(result, Reply):
            self._stragglers.answered(time.monotonic() - flight.left)
        return result

    async def _better(
        self, first: Reply | Refused | None, copy: asyncio.Task[Reply | Refused] | None
    ) -> Reply | Refused:
        """Return the answer of the two; a copy that is still on its way is waited for only without one."""
        if copy is not None and not isinstance(first, Reply):
            second = await copy
            first = second if first is None or isinstance(second, Reply) else first
        if first is None:
            raise TypeError("a request without a copy ended without a result")
        return first._replace(copies=1) if copy is not None and isinstance(first, Reply) else first

    def _look_later(self, flight: _Flight, seconds: float) -> None:
        flight.timer = asyncio.get_running_loop().call_later(seconds, self._look_at, flight)

    def _look_at(self, flight: _Flight) -> None:
        """Send a copy of what has become a straggler, if it may be sent now."""
        if flight.landed or not self._going():
            return
        now, patience = time.monotonic(), self._stragglers.patience
        left = _LOOK_SECONDS if patience is None else flight.left + patience - now
        if left > 0:
            self._look_later(flight, left)
        elif not self._pace.open(now, estimate(flight.request)) or not self._stragglers.take_copy():
            self._look_later(flight, _LOOK_SECONDS)
        else:
            self._traffic.hedged += 1
            flight.copy = asyncio.create_task(self._second(flight))

    async def _second(self, flight: _Flight) -> Reply | Refused:
        ticket = self._pace.sent(time.monotonic(), estimate(flight.request))
        result = await self._attempts.make(flight.request, ticket)
        if isinstance(result, Reply) and not flight.landed:
            flight.land()
            flight.scope.reschedule(asyncio.get_running_loop().time())
        return result
