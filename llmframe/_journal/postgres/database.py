"""A connection to a journal's database: opened when it is needed, and again after it was lost.

What is done on it is given as a function, which is called again when the connection was lost meanwhile: also after a
commit whose outcome is unknown. So each such function does nothing twice when it is called twice.
"""

from __future__ import annotations

import os
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.adapt import Dumper
from psycopg.pq import Format

from llmframe._errors import JournalError
from llmframe._journal.postgres.schema import GRANTS, create_tables, find_tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection, Cursor

    from llmframe._addresses import DatabaseAddress

T = TypeVar("T")

NOW = "extract(epoch FROM clock_timestamp())::float8"
"""The server's time, in seconds since the epoch."""

_BEGIN = f"""
BEGIN; SET LOCAL idle_in_transaction_session_timeout = '10s'; SET LOCAL lock_timeout = '10s'; SELECT {NOW}
"""
"""A process that was cut off in the middle of a transaction holds its locks no longer than this."""

_SETTINGS = {
    "application_name": "llmframe",
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""A network that swallows everything is noticed within seconds, and not within the minutes of TCP."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_CONFLICTS = 10
"""How often a transaction that was in another's way is tried again at once."""

_inherited: list[Any] = []
"""Connections of the parent, kept by a forked child so that they are not collected."""


class NotWritableError(JournalError):
    """Nothing can be written: a full disk, a read-only server, or missing privileges."""


class UndoneError(Exception):
    """Raised by a function that is given to `Database.transaction`: nothing of this transaction is to stay."""


class Keys(tuple[bytes, ...]):
    """Keys as one parameter, an array: `key = ANY(%s)`."""

    __slots__ = ()


class _KeysDumper(Dumper):
    """Writes the array's binary format, as each key has the same length: psycopg's own takes a call for each."""

    format = Format.BINARY
    oid = psycopg.adapters.types["bytea"].array_oid

    def dump(self, obj: Keys) -> bytes:
        if not obj:
            return _EMPTY_ARRAY
        length = struct.pack("!i", len(obj[0]))
        return struct.pack("!iiIii", 1, 0, _BYTEA, len(obj), 1) + length + length.join(obj)


_BYTEA = psycopg.adapters.types["bytea"].oid
_EMPTY_ARRAY = struct.pack("!iiI", 0, 0, _BYTEA)


class Database:
    """A database, and the connection to it.

    Parameters
    ----------
    reconnect_seconds
        For this time a connection that was lost is opened again; afterwards each use tries once.

    Raises
    ------
    JournalError
        When the database cannot be reached, or its tables can neither be used nor created.
    """

    def __init__(self, address: DatabaseAddress, reconnect_seconds: float) -> None:
        self._address = address
        self._reconnect_seconds = reconnect_seconds
        self._lost_at: float | None = None
        self._connection: Connection | None = None
        self._pid = os.getpid()
        self._prepare()

    @property
    def place(self) -> str:
        return str(self._address)

    def _prepare(self) -> None:
        self._lost_at = -self._reconnect_seconds  # a wrong address is told at once
        try:
            if not self.run(lambda cursor: find_tables(cursor, self.place)):
                self.transaction(lambda cursor, _: create_tables(cursor, self.place))
        except BaseException:
            self.close_connection()
            raise

    def run(self, work: Callable[[Cursor], T]) -> T:
        """Return the result of statements that are each a transaction of their own."""

        def on(connection: Connection) -> T:
            with connection.cursor(binary=True) as cursor:
                return work(cursor)

        return self._retried(on)

    def transaction(self, work: Callable[[Cursor, float], T]) -> T:
        """Return the result of one transaction; the function gets the server's time too."""

        def on(connection: Connection) -> T:
            with connection.cursor(binary=True) as cursor:
                try:
                    now = _begin(connection)
                    result = work(cursor, now)
                    connection.execute("COMMIT")
                except BaseException:
                    with suppress(psycopg.Error):
                        connection.execute("ROLLBACK")
                    raise
            return result

        return self._retried(on)

    def _retried(self, work: Callable[[Connection], T]) -> T:
        pause, conflicts = _FIRST_PAUSE, 0
        while True:
            try:
                result = work(self._connected())
            except psycopg.Error as error:
                failure, lost = self._explain(error), self._is_lost(error)
                in_conflict = isinstance(error, errors.DeadlockDetected | errors.SerializationFailure)
            except (OverflowError, UnicodeError) as error:
                failure = JournalError(f"the journal {self.place} cannot keep a value: {error}")
                lost = in_conflict = False
            except UndoneError:
                self._lost_at = None
                raise
            else:
                self._lost_at = None
                return result
            conflicts += in_conflict
            if not lost and not (in_conflict and conflicts < _CONFLICTS):
                raise failure
            if lost and not self._may_wait():
                raise failure
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _may_wait(self) -> bool:
        """Return whether a lost connection may come back in time."""
        if self._lost_at is None:
            self._lost_at = time.monotonic()
        return time.monotonic() < self._lost_at + self._reconnect_seconds

    def _is_lost(self, error: psycopg.Error) -> bool:
        """Return whether an error says nothing about what was asked, but of the connection; it is closed then."""
        passing = isinstance(error, errors.LockNotAvailable)
        broken = (
            self._connection is None or self._connection.closed or (error.sqlstate or "").startswith("08")
        )
        if broken:
            self.close_connection()
        return broken or passing

    def _connected(self) -> Connection:
        if self._connection is not None and self._pid != os.getpid():
            _inherited.append(self._connection)
            self._connection = None
        if self._connection is None:
            self._pid = os.getpid()
            connection: Connection = psycopg.connect(
                self._address.with_defaults(_SETTINGS), autocommit=True, prepare_threshold=None
            )
            connection.adapters.register_dumper(Keys, _KeysDumper)
            self._connection = connection
        return self._connection

    def _explain(self, error: psycopg.Error) -> JournalError:
        found = " ".join((error.diag.message_primary or str(error)).split())
        what = f"the journal {self.place} cannot be used: {found}"
        match error:
            case errors.InsufficientPrivilege():
                advice = "let the owner of the database run `llmframe journal init` and these grants: "
                return NotWritableError(f"{what}; {advice}{GRANTS}")
            case errors.ReadOnlySqlTransaction():
                return NotWritableError(f"{what}; pass the address of a server that can be written")
            case errors.DiskFull():
                return NotWritableError(
                    f"{what}; free some space there and run the same call again: what is committed is not asked again"
                )
            case psycopg.ProgrammingError() if (
                self._connection is None
            ):  # its text may show parts of the address
                return JournalError(
                    f"the journal {self.place} cannot be used: its address is not as PostgreSQL reads it; "
                    "write postgresql://user:password@host:port/database, special characters as %40"
                )
            case psycopg.OperationalError():
                advice = "check the address and the server, and run the same call again: what is committed is not asked again"
                return JournalError(f"{what}; {advice}")
        return JournalError(what)

    def close_connection(self) -> None:
        """Close the connection; the next use opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None and self._pid == os.getpid():
            with suppress(psycopg.Error):
                connection.close()
        elif connection is not None:
            _inherited.append(connection)


def _begin(connection: Connection) -> float:
    """Begin a transaction, and return the server's time."""
    cursor = connection.execute(_BEGIN)
    while cursor.nextset():
        pass
    return float(cursor.fetchall()[0][0])
