"""A thread for what the user sees: a terminal, log file or widget that raises or blocks costs a run nothing else."""

from __future__ import annotations

import contextvars
import logging
import os
import threading
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from llmframe._loop.tasks import event_of, set_within
from llmframe._loop.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("llmframe")

_SHOWN_SECONDS = 2.0
"""A caller waits at most this long for what it shows."""

_FORK_SECONDS = 0.5


class _Display:
    """The thread, started by the first call and created again after a fork."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.worker: Worker | None = None
        self.newest: Future[None] = Future()
        self.newest.set_result(None)
        self.late = self.newest
        """What a caller waited for last; until it is done, nobody waits again."""
        self.failing = False

    def show(self, call: Callable[[], object]) -> Future[None]:
        with self.lock:
            self.worker = self.worker or Worker("llmframe-display", fork_seconds=_FORK_SECONDS)
            self.newest = self.worker.call(partial(contextvars.copy_context().run, self._attempt, call))
            return self.newest

    def _attempt(self, call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:
            # Without a handler the log would go to that same pipe, and what is left in it changes the exit code.
            if not self.failing and (_log.hasHandlers() or not isinstance(error, BrokenPipeError)):
                log(logging.ERROR, "What a run shows could not be shown; the run goes on.", exc_info=True)
            self.failing = True
            raise


_display = _Display()


def show(call: Callable[[], object]) -> Future[None]:
    """Queue a call that shows something; the future ends with its exception, the first of which is logged."""
    return _display.show(call)


def log_next_failure() -> None:
    """Log the next failure again, also if the one before it was the same."""
    _display.failing = False


def wait_until_shown() -> None:
    """Wait for a bounded time until all is shown; not at all while an earlier wait was in vain."""
    if _display.late.done():
        _display.late = _display.newest
        wait([_display.late], _SHOWN_SECONDS)


async def until_shown() -> None:
    """Do as `wait_until_shown` does, without blocking the loop."""
    if _display.late.done():
        _display.late = _display.newest
        await set_within(event_of(_display.late), _SHOWN_SECONDS)


def encodable(text: str, stream: Any) -> str:
    """Return a text with escapes, as Python's own stderr has them, for what the stream's encoding lacks."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def log(level: int, message: str, *arguments: Any, exc_info: bool = False) -> None:
    """Log, whatever a handler raises; the handler of last resort writes to a stderr that may be broken."""
    with suppress(Exception):
        _log.log(level, message, *arguments, exc_info=exc_info)


def _after_fork_in_child() -> None:
    global _display  # noqa: PLW0603 (the child does not have the thread)
    _display = _Display()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
