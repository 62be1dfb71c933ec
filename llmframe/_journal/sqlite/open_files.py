"""The journals' files that this process has open: each file once.

While this process has a journal's file open through SQLite, it never opens it in another way: closing any handle
of a file releases all POSIX locks of the process on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmframe._journal.sqlite.journal import SqliteJournal
from llmframe._journal.sqlite.thread import journal_thread
from llmframe._journal.threads import OpenJournals

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from llmframe._options import Tuning

_open = OpenJournals[SqliteJournal](journal_thread)


def open_file(path: Path, tuning: Tuning) -> AbstractAsyncContextManager[SqliteJournal]:
    """Open a file for a block, or share the journal if another run of this process has it open."""
    resolved = path.resolve()
    return _open.open(resolved, lambda: SqliteJournal(resolved, tuning))
