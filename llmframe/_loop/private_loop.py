"""The event loop on llmframe's own daemon thread, on which calls run."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from llmframe._loop.tasks import CANNOT_WAIT, LoopTask

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class _PrivateLoop:
    """The loop and its thread, started by the first call and created again after a fork."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread: threading.Thread | None = None

    def get(self) -> asyncio.AbstractEventLoop:
        with self.lock:
            if self.loop is None or self.thread is None or not self.thread.is_alive():
                self.loop = _new_loop()
                self.thread = threading.Thread(
                    target=_serve, args=(self.loop,), name="llmframe-loop", daemon=True
                )
                self.thread.start()
            return self.loop


def _new_loop() -> asyncio.AbstractEventLoop:
    """Create a loop of the fastest installed kind; only llmframe uses it, so the user's loops do not change."""
    try:
        import uvloop  # noqa: PLC0415 (not on every platform, and not before the first call)
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    while not loop.is_closed():
        # A user's callback may raise an exit, which ends `run_forever`; its task keeps the exception.
        with suppress(KeyboardInterrupt, SystemExit):
            loop.run_forever()
            break


_private = _PrivateLoop()
_inherited: list[_PrivateLoop] = []
"""Loops that a forked child must neither use nor close, kept so that they are not collected."""


def refuse_on_private_loop() -> None:
    """Raise in a callback on the private loop, where waiting would never end."""
    if threading.current_thread() is _private.thread:
        raise RuntimeError(CANNOT_WAIT)


def submit(make: Callable[[], Coroutine[Any, Any, T]]) -> LoopTask[T]:
    """Start `make()` on the private loop, in a copy of the caller's context."""
    loop = _private.get()
    task = LoopTask(loop, make)
    loop.call_soon_threadsafe(task.begin)
    return task


def _after_fork_in_child() -> None:
    global _private  # noqa: PLW0603 (the child has neither the thread nor its loop)
    _inherited.append(_private)
    _private = _PrivateLoop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
