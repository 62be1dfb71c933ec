"""One timer for many timeouts of the same length.

`asyncio.timeout` sets a timer each time, and takes it away again when the work is done in time, which
it nearly always is: 4 us a request. Here the oldest alone has a timer, and the others follow it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType


class Limit:
    """A block that is cut off when it is told that its time is over; it then ends as `asyncio.timeout` does."""

    __slots__ = ("_open", "_over", "_task")

    def __init__(self, task: asyncio.Task[Any], opened: dict[Limit, float]) -> None:
        self._task = task
        self._open = opened
        self._over = False

    def cut(self) -> None:
        self._over = True
        self._task.cancel()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.pop(self, None)
        if self._over and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise TimeoutError from error


class Deadlines:
    """Cuts off what takes longer than so many seconds, on the loop that runs when it is made.

    Examples
    --------
    >>> async def hang():
    ...     with Deadlines(0.01).begin():
    ...         await asyncio.sleep(60)
    >>> asyncio.run(hang())
    Traceback (most recent call last):
    TimeoutError
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._open: dict[Limit, float] = {}  # when each is over; the oldest comes first
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> Limit:
        """Give the block that begins now, to be entered at once by the task that runs."""
        task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("a deadline needs a task")
        limit = Limit(task, self._open)
        self._open[limit] = over = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_at(over, self._look)
        return limit

    def _look(self) -> None:
        """Cut off what is over, and look again when the oldest of the rest is."""
        self._timer = None
        now = self._loop.time()
        while self._open:
            limit, over = next(iter(self._open.items()))
            if over > now:
                self._timer = self._loop.call_at(over, self._look)
                return
            del self._open[limit]
            limit.cut()

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
