"""The one thread of a process on which its journals in databases are used."""

from __future__ import annotations

import os
import threading

from llmframe._journal.threads import runs_on
from llmframe._loop import Worker

_FORK_SECONDS = 1.0
_threads: dict[int, Worker] = {}
_lock = threading.Lock()


def database_thread() -> Worker:
    """Return the thread that runs all methods of journals in databases of this process.

    A fork waits for a statement, and not for a server that does not answer: the child uses neither this thread nor its
    connections, and opens its own.
    """
    with _lock:
        if os.getpid() not in _threads:  # a forked child has none of its parent's threads
            _threads[os.getpid()] = Worker("llmframe-database", fork_seconds=_FORK_SECONDS)
        return _threads[os.getpid()]


on_thread = runs_on(database_thread)
"""Makes a method awaitable from any loop: its body runs on the databases' thread."""


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603 (another thread of the parent may hold it)
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
