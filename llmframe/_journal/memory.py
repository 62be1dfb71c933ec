"""The journal of `journal=False`: claims and parts of batches while it is open, and no answers."""

from __future__ import annotations

from llmframe._journal.sqlite import SqliteJournal, on_thread
from llmframe._options import Tuning

_USUAL = Tuning()


class MemoryJournal(SqliteJournal):
    """A database that SQLite keeps in memory, and on disk where it grows; it is gone when it is closed."""

    @property
    def place(self) -> str:
        return "memory"

    def __init__(self, tuning: Tuning = _USUAL) -> None:
        super().__init__(None, tuning)

    close = on_thread(SqliteJournal.close_connection)
