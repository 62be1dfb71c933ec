"""The journals that this process has open: each file once, all of them on one thread.

A journal's file is never opened otherwise while this process has it open through SQLite: closing
any handle of a file drops all of a process's POSIX locks on it.
"""

from __future__ import annotations

import asyncio
import os
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from llmframe._journal.sqlite.journal import FileJournal, TemporaryJournal
from llmframe._loop.tasks import Worker, through

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmframe._journal.protocol import Journal

T = TypeVar("T")

_open: dict[tuple[int, Path], tuple[FileJournal, int]] = {}
_worker: dict[int, Worker] = {}
_lock = threading.Lock()


def default_path() -> Path:
    """Return where the journal is without a word from the user."""
    from platformdirs import user_data_path  # noqa: PLC0415 (kept out of `import llmframe`)

    return user_data_path("llmframe", appauthor=False) / "journal.sqlite"


def thread() -> Worker:
    """Return the thread on which all of this process's journals are used."""
    with _lock:
        if os.getpid() not in _worker:  # a forked child has none of its parent's threads
            _worker[os.getpid()] = Worker("llmframe-journal", before_fork=_close_all)
        return _worker[os.getpid()]


async def on_thread(function: Callable[..., T], *arguments: Any, **keywords: Any) -> T:
    """Call a journal's method where journals are used, and await its result."""
    return await asyncio.wrap_future(thread().call(partial(function, *arguments, **keywords)))


def acquire(path: Path) -> FileJournal:
    """Open a journal, or share the one that another run of this process has open; on `thread()`."""
    place = (os.getpid(), path.expanduser().resolve())
    journal, users = _open.get(place, (None, 0))
    if journal is None:
        journal = FileJournal(place[1])
    _open[place] = (journal, users + 1)
    return journal


def _path(where: bool | Path) -> Path:
    return where if isinstance(where, Path) else default_path()


def exists(where: bool | Path) -> bool:
    """Tell whether there is a journal; `True` is the default place."""
    return _path(where).expanduser().exists()


async def opened(where: bool | Path) -> FileJournal:
    """Open a journal from any loop; `True` is the default place."""
    acquiring = asyncio.create_task(on_thread(acquire, _path(where)))
    try:
        return await through(acquiring)
    except asyncio.CancelledError:
        if acquiring.exception() is None:
            await on_thread(release, acquiring.result())
        raise


def release(journal: Journal) -> None:
    """Close a journal when its last run is through; on `thread()`."""
    if not isinstance(journal, FileJournal) or isinstance(journal, TemporaryJournal):
        journal.close()
        return
    place = (os.getpid(), journal.path)
    shared, users = _open[place]
    if users > 1:
        _open[place] = (shared, users - 1)
    else:
        del _open[place]
        shared.close()


def _close_all() -> None:
    """Close this process's journals for the moment of a fork; they are opened again when next used.

    A child that inherits SQLite's open files believes to hold locks that the system gave to its
    parent alone, and its own connections to the same file would then write unprotected.
    """
    for (pid, _), (journal, _) in _open.items():
        if pid == os.getpid():
            journal.close()


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603 (another thread of the parent may hold it)
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
