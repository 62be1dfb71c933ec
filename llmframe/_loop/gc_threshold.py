"""Python's garbage collector looks less often while rows are under way.

With 1,000 requests in flight it would look through all that lives some fifty times a second and find
nothing: a third of a run's CPU (measured; counting references frees what an answer leaves behind).
"""

from __future__ import annotations

import gc
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SELDOM = 50_000
"""So many more objects than were freed, and it looks; usually 700 to 2,000."""


class _Collector:
    """Counts who wants it to look less often, in all threads, and gives back what was set before the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted = 0
        self._before: tuple[int, int, int] | None = None

    def slow_down(self) -> None:
        with self._lock:
            self._wanted += 1
            before = gc.get_threshold()
            if self._wanted == 1 and 0 < before[0] < _SELDOM:
                self._before = before
                gc.set_threshold(_SELDOM, *before[1:])

    def give_back(self) -> None:
        with self._lock:
            self._wanted -= 1
            if not self._wanted and self._before is not None:
                if gc.get_threshold()[0] == _SELDOM:  # else somebody has chosen otherwise meanwhile
                    gc.set_threshold(*self._before)
                self._before = None

    def after_fork(self) -> None:
        """Give back in a child at once: it has none of the runs."""
        self._lock = threading.Lock()
        self._wanted = min(self._wanted, 1)
        if self._wanted:
            self.give_back()


_collector = _Collector()


@contextmanager
def looking_seldom() -> Iterator[None]:
    """Let the collector look less often for a block."""
    _collector.slow_down()
    try:
        yield
    finally:
        _collector.give_back()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_collector.after_fork)
