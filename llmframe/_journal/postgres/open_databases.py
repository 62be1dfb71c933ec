"""The journals in databases that this process has open: one connection for each address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmframe._journal.postgres.journal import PostgresJournal
from llmframe._journal.postgres.thread import database_thread
from llmframe._journal.threads import OpenJournals

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from llmframe._addresses import DatabaseAddress
    from llmframe._options import Tuning

_open = OpenJournals[PostgresJournal](database_thread)


def open_database(address: DatabaseAddress, tuning: Tuning) -> AbstractAsyncContextManager[PostgresJournal]:
    """Open a database for a block, or share the journal if another run of this process has it open."""
    return _open.open(address, lambda: PostgresJournal(address, tuning))
