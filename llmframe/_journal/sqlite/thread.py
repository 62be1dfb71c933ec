"""The one thread of a process on which journals' files are used."""

from __future__ import annotations

import os
import threading
from typing import Any, Protocol
from weakref import WeakSet

from llmframe._journal.threads import runs_on
from llmframe._loop import Worker


class _Closable(Protocol):
    def close_connection(self) -> None: ...


_closed_for_forks: WeakSet[Any] = WeakSet()
_threads: dict[int, Worker] = {}
_lock = threading.Lock()


def journal_thread() -> Worker:
    """Return the thread that runs all journal methods of this process."""
    with _lock:
        if os.getpid() not in _threads:  # a forked child has none of its parent's threads
            _threads[os.getpid()] = Worker("llmframe-journal", before_fork=_close_connections)
        return _threads[os.getpid()]


on_thread = runs_on(journal_thread)
"""Makes a method awaitable from any loop: its body runs on the journals' thread."""


def close_for_forks(closable: _Closable) -> None:
    """Register a connection that is closed during a fork; the next use opens it again.

    In a child that inherits SQLite's open files, SQLite would assume locks that only the parent holds, and the
    child's own connections to the same file would write unprotected.
    """
    _closed_for_forks.add(closable)


def _close_connections() -> None:
    for closable in list(_closed_for_forks):
        closable.close_connection()


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603 (another thread of the parent may hold it)
    _lock = threading.Lock()
    _closed_for_forks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
