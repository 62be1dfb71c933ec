"""Whether a partition is wanted."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Wanted:
    """Whether a partition is wanted; its run is cancelled when it no longer is."""

    def __init__(self) -> None:
        self.ended = False
        self._cancel: Callable[[], object] | None = None
        self._lock = threading.Lock()

    def end(self) -> None:
        with self._lock:
            self.ended, cancel = True, self._cancel
        if cancel is not None:
            cancel()

    def is_wanted_again(self) -> bool:
        """Return whether the partition is wanted although it was not for a while."""
        return False

    @contextmanager
    def ending(self, cancel: Callable[[], object]) -> Iterator[None]:
        """Call `cancel` in the block when the partition is no longer wanted."""
        with self._lock:
            self._cancel, ended = cancel, self.ended
        if ended:
            cancel()
        try:
            yield
        finally:
            with self._lock:
                self._cancel = None
