"""The journals' files that this process has open: each file once.

While this process has a journal's file open through SQLite, it never opens it in another way: closing any handle
of a file releases all POSIX locks of the process on it.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from llmframe._journal.sqlite.journal import SqliteJournal
from llmframe._journal.sqlite.thread import journal_thread
from llmframe._loop import through

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from llmframe._options import Tuning

_open: dict[tuple[int, Path], tuple[SqliteJournal, int]] = {}
"""By process and file: the journal, and the number of blocks that use it."""


@asynccontextmanager
async def open_file(path: Path, tuning: Tuning) -> AsyncIterator[SqliteJournal]:
    """Open a file for a block, or share the journal if another run of this process has it open."""
    thread = journal_thread()
    acquiring = asyncio.wrap_future(thread.call(lambda: _acquire(path, tuning)))
    try:
        journal = await through(acquiring)
    except asyncio.CancelledError:
        if not acquiring.cancelled() and acquiring.exception() is None:
            await asyncio.wrap_future(thread.call(partial(_release, acquiring.result())))
        raise
    try:
        yield journal
    finally:
        await through(asyncio.wrap_future(thread.call(lambda: _release(journal))))


def _acquire(path: Path, tuning: Tuning) -> SqliteJournal:
    place = (os.getpid(), path.resolve())
    journal, users = _open.get(place, (None, 0))
    if journal is None:
        journal = SqliteJournal(place[1], tuning)
    _open[place] = (journal, users + 1)
    return journal


def _release(journal: SqliteJournal) -> None:
    place = next(place for place, (opened, _) in _open.items() if opened is journal)
    users = _open[place][1]
    if users > 1:
        _open[place] = (journal, users - 1)
    else:
        del _open[place]
        journal.close_connection()
