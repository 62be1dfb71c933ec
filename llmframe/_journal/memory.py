"""The journal of `journal=False`: claims and parts of batches while it is open, and no answers."""

from __future__ import annotations

from llmframe._journal.sqlite import SqliteJournal, on_thread
from llmframe._options import Tuning

_DEFAULTS = Tuning()


class MemoryJournal(SqliteJournal):
    """A temporary database of SQLite, in memory, or on disk when it grows; closing it deletes it."""

    @property
    def place(self) -> str:
        return "memory"

    def __init__(self, tuning: Tuning = _DEFAULTS) -> None:
        super().__init__(None, tuning)

    close = on_thread(SqliteJournal.close_connection)
