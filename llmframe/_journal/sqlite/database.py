"""A journal's SQLite file: opened when it is needed, written in transactions.

SQLite in WAL mode with `synchronous=NORMAL` survives `kill -9`; versions before 3.51.3 can
corrupt the file when several connections reset the WAL at once, so only one process at a time takes
a checkpoint.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from llmframe._errors import JournalError
from llmframe._journal.sqlite.schema import (
    connect,
    create_private,
    create_tables,
    damaged,
    explain,
    not_writable,
    on_network,
    primary,
    refuse_format,
    refuse_others,
    set_journal_mode,
    size,
    temporary,
)
from llmframe._journal.sqlite.thread import close_for_forks

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHECKPOINT_BYTES = 16 * 2**20
_CHECKPOINT_SECONDS = 60.0
"""After this time another process may take a checkpoint that one process has begun."""
_LARGEST_CHECKED_BYTES = 64 * 2**20
"""Up to this size a journal's structure is checked when a process first opens it (0.1 s at most)."""
_SMALLEST_CACHE, _LARGEST_CACHE = 2 * 1024, 32 * 1024
"""KiB. The index of keys takes a 16th of the file; a larger cache only costs memory."""

_checked: set[Path] = set()
"""Files whose structure this process has checked."""


class Database:
    """A file and the connection to it; without a path, a temporary database of SQLite.

    Attributes
    ----------
    obstacle : str or None
        Why nothing can be written.

    Raises
    ------
    JournalError
        When the file is corrupt, is not a journal, or has another format; it is not changed.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path or Path()
        self.obstacle: str | None = None
        self._bytes_since_checkpoint = 0
        self._opened = 0
        self._handle: sqlite3.Connection | None
        if path is None:
            self._handle = temporary()
            return
        create_private(path)
        refuse_others(path)
        self._handle = self._open()
        close_for_forks(self)

    @property
    def connection(self) -> sqlite3.Connection:
        if self._handle is None:
            self._handle = self._open()
            self._opened += 1
        return self._handle

    def foreign_state(self) -> tuple[int, int]:
        """Return a version of the file that changes when another connection has committed.

        `PRAGMA data_version` is defined for one connection only (SQLite's documentation), so the version also
        counts how often the file was reopened.
        """
        connection = self.connection
        return self._opened, connection.execute("PRAGMA data_version").fetchone()[0]

    def _open(self) -> sqlite3.Connection:
        with self._errors("opened"):
            try:
                return self._connect("mode=rw")
            except sqlite3.OperationalError as error:
                # Where SQLite cannot create its -wal and -shm files, a closed journal can still be read.
                if not not_writable(error) or size(f"{self.path}-wal") or not size(self.path):
                    raise
                self.obstacle = explain(self.path, "written", error)
            return self._connect("mode=ro&immutable=1")

    def _connect(self, mode: str) -> sqlite3.Connection:
        connection = connect(self.path, mode)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        self._fit_cache(connection)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        refuse_format(self.path, version)
        self._check(connection)
        if self.obstacle is None:
            self.obstacle = self._find_obstacle(connection)
        if self.obstacle is not None and not version:
            raise JournalError(
                f"{self.path} is empty and cannot be written; pass another path as journal=, or journal=False"
            )

    def _check(self, connection: sqlite3.Connection) -> None:
        if self.path in _checked or not 0 < size(self.path) <= _LARGEST_CHECKED_BYTES:
            return
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise JournalError(damaged(self.path, found))
        _checked.add(self.path)

    def _find_obstacle(self, connection: sqlite3.Connection) -> str | None:
        """Prepare the journal for writing, or return why it cannot be written."""
        try:
            create_tables(connection)
        except sqlite3.OperationalError as error:
            if primary(error) != sqlite3.SQLITE_READONLY:
                raise
            return explain(self.path, "written", error)
        network = on_network(self.path)
        set_journal_mode(connection, "DELETE" if network else "WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if network else 'NORMAL'}")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        return None

    def _fit_cache(self, connection: sqlite3.Connection) -> None:
        kibibytes = size(self.path) // 1024
        cache = min(max(kibibytes // 16, _SMALLEST_CACHE), _LARGEST_CACHE)
        connection.execute(f"PRAGMA cache_size=-{cache}")

    @contextmanager
    def outside(self, what: str) -> Iterator[sqlite3.Connection]:
        """Yield the connection outside of a transaction, to be "read" or "written"."""
        with self._errors(what):
            yield self.connection

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise JournalError(explain(self.path, what, error)) from error
        except (OverflowError, UnicodeError) as error:  # values that SQLite cannot store
            raise JournalError(f"the journal {self.path} cannot be {what}: {error}") from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection within a transaction, during which no other connection writes."""
        with self._errors("written"):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self.connection.execute("ROLLBACK")
                raise

    def on_written(self, size: int, now: float) -> None:
        """Count the written bytes, and take a checkpoint after many."""
        self._bytes_since_checkpoint += size
        if self._bytes_since_checkpoint >= _CHECKPOINT_BYTES:
            self._checkpoint(now)

    def _checkpoint(self, now: float) -> None:
        self._bytes_since_checkpoint = 0
        with self.transaction() as connection:
            acquired = connection.execute(
                "UPDATE checkpointer SET until = ? WHERE until < ?", (now + _CHECKPOINT_SECONDS, now)
            ).rowcount
        if acquired:
            with self.outside("written") as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                self._fit_cache(connection)
            with self.transaction() as connection:
                connection.execute("UPDATE checkpointer SET until = 0")

    def close_connection(self) -> None:
        """Close the file; the next use opens it again."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()
