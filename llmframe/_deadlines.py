"""One timer for many timeouts of the same length.

`asyncio.timeout` sets a timer each time, and takes it away again when the work is done in time, which
it nearly always is: 4 us a request. Here the oldest alone has a timer, and the others follow it.
"""

from __future__ import annotations

import asyncio


class Deadlines:
    """Cuts off what takes longer than so many seconds.

    Examples
    --------
    >>> async def hang():
    ...     deadlines = Deadlines(0.01)
    ...     limit = deadlines.begin()
    ...     try:
    ...         async with limit:
    ...             await asyncio.sleep(60)
    ...     finally:
    ...         deadlines.end(limit)
    >>> asyncio.run(hang())
    Traceback (most recent call last):
    TimeoutError
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._open: dict[asyncio.Timeout, float] = {}  # when each is over; the oldest comes first
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> asyncio.Timeout:
        """Give what is to be entered at once, and ended after it."""
        loop = asyncio.get_running_loop()
        limit = asyncio.timeout(None)
        self._open[limit] = over = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(over, self._look, loop)
        return limit

    def end(self, limit: asyncio.Timeout) -> None:
        self._open.pop(limit, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cut off what is over, and look again when the oldest of the rest is."""
        self._timer = None
        now = loop.time()
        while self._open:
            limit, over = next(iter(self._open.items()))
            if over > now:
                self._timer = loop.call_at(over, self._look, loop)
                return
            del self._open[limit]
            limit.reschedule(now)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
