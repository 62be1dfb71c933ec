"""Ctrl-C while a caller waits: it is held back, counted, and raised when the block has finished."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Interrupts:
    """Counts how often Ctrl-C was pressed while it was held back; the first press calls `cancel`."""

    def __init__(self) -> None:
        self.pressed = 0
        self._cancel: Callable[[], object] | None = None

    def press(self, *_: object) -> None:
        """Handle SIGINT, without waiting for a lock that the interrupted code may hold."""
        self.pressed += 1
        if self._cancel is not None:
            self._cancel()

    @contextmanager
    def cancelling(self, cancel: Callable[[], object]) -> Iterator[None]:
        """Call `cancel` when Ctrl-C is pressed in the block, or was pressed before it."""
        self._cancel = cancel
        if self.pressed:
            cancel()
        try:
            yield
        finally:
            self._cancel = None


@contextmanager
def uninterrupted() -> Iterator[Interrupts]:
    """Hold Ctrl-C back in the main thread until the block has ended, then raise `KeyboardInterrupt`."""
    interrupts = Interrupts()
    with _sigint(interrupts.press):
        yield interrupts
    if interrupts.pressed:
        raise KeyboardInterrupt


@contextmanager
def _sigint(handler: Callable[..., None]) -> Iterator[None]:
    # ipykernel replaces the handler in cells that contain `await`: the present handler is restored.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.getsignal(signal.SIGINT)
    if previous in {None, signal.SIG_IGN}:
        yield
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
