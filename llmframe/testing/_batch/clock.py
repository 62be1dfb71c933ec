"""The time of batches and files, which a test can advance instead of sleeping."""

from __future__ import annotations

import threading
import time


class Clock:
    """Seconds since 1970; it never goes back, and `advance` moves it from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        return time.monotonic() + self._offset

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._offset += seconds
