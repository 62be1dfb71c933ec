"""A journal in one SQLite file.

Answers are only ever appended, so that nothing paid is overwritten, and the newest of several
counts.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any
from zlib import crc32

import orjson

from llmframe._errors import JournalError
from llmframe._journal.liveness import Presence, machine
from llmframe._journal.protocol import LEASE_SECONDS, Claimed, Kept, Session
from llmframe._journal.sqlite.batch_store import Parts
from llmframe._journal.sqlite.claims import Flights
from llmframe._journal.sqlite.database import Database, TemporaryDatabase
from llmframe._journal.sqlite.maintenance import Upkeep
from llmframe._journal.sqlite.schema import damaged, not_writable
from llmframe._pacing.sharing import Report

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from llmframe._journal.protocol import Priced
    from llmframe._values import Key

_VARIABLES = 500
_ANSWER_OVERHEAD = 400
_PAGE_BYTES = 4096
_SILENT_SECONDS = 3.0
"""A run that has told nothing for so long no longer counts when limits are shared."""


class FileJournal:
    """A journal in a SQLite file; what is wrong with that, `Database` says."""

    def __init__(self, path: Path) -> None:
        self._keep(Database(path))

    def _keep(self, database: Database) -> None:
        self._database = database
        self._flights = Flights()
        self._presence = Presence()
        self._recorded = Counter[int]()
        """How often each run has recorded answers."""

    @property
    def path(self) -> Path:
        return self._database.path

    @property
    def obstacle(self) -> str | None:
        """Why nothing can be written."""
        return self._database.obstacle

    @property
    def parts(self) -> Parts:
        """The parts of batch runs."""
        return Parts(self._database.transaction, lambda: self._database.outside("read"), self._presence)

    @property
    def upkeep(self) -> Upkeep:
        """What its owner asks of it."""
        return Upkeep(self._database.transaction, self._database.outside)

    def begin(
        self, digest: bytes, description: Mapping[str, Any], *, fresh: bytes, sends: bool = True
    ) -> Session:
        """Enter a run; a fresh one, named by what it asks, goes on where the last equal one was cut short.

        Where nothing can be written (a read-only or full disk) the session says so, and may read.
        """
        now = time.time()
        obstacle = self.obstacle
        if obstacle is None:
            try:
                return self._begin(digest, orjson.dumps(description).decode(), now, fresh=fresh, sends=sends)
            except JournalError as error:
                if not not_writable(error.__cause__):
                    raise
                obstacle = str(error)
        return Session(0, 0, 0, now if fresh else 0.0, obstacle, now, digest)

    def _begin(self, digest: bytes, description: str, now: float, *, fresh: bytes, sends: bool) -> Session:
        with self._database.transaction() as connection:
            recipe = _recipe(connection, digest, description)
            since = _fresh_since(connection, recipe, fresh, now) if fresh else 0.0
            owner = connection.execute(
                "INSERT INTO owner (machine, pid, lease, sends) VALUES (?, ?, ?, ?)",
                (machine(), os.getpid(), now + LEASE_SECONDS, sends),
            ).lastrowid
            run = connection.execute(
                "INSERT INTO run (recipe, started, counts, fresh) VALUES (?, ?, '{}', ?)",
                (recipe, since or now, fresh),
            ).lastrowid
            others = self._others(owner or 0)
        return Session(recipe, owner or 0, run or 0, since, began=now, digest=digest, others=others)

    def recipe(self, digest: bytes, description: Mapping[str, Any]) -> int:
        """Enter a recipe if it is not known, and return its number."""
        with self._database.transaction() as connection:
            return _recipe(connection, digest, orjson.dumps(description).decode())

    def lookup(self, session: Session, keys: Sequence[Key]) -> list[Kept]:
        """Return what is known of these requests; of several answers the newest comes last."""
        found: list[Kept] = []
        with self._database.outside("read") as connection:
            for start in range(0, len(keys), _VARIABLES):
                part = keys[start : start + _VARIABLES]
                rows = connection.execute(
                    "SELECT key, problem, detail, body, created, checksum FROM answer "  # noqa: S608
                    f"WHERE key IN ({_marks(part)}) AND created >= ? ORDER BY key, id",
                    (*map(bytearray, part), session.since),
                )
                found.extend(self._whole(Kept(*row)) for row in rows)
        return found

    @contextmanager
    def _flying(self) -> Iterator[sqlite3.Connection]:
        """Give a transaction that enters or drops claims: what it did not bring about is not remembered."""
        try:
            with self._database.transaction() as connection:
                yield connection
        except BaseException:
            self._flights.forget()
            raise

    def _others(self, owner: int) -> tuple[int, ...]:
        """Name the state in which all others have left the file: other processes, and other runs of this one."""
        records = self._recorded.total() - self._recorded[owner]
        return (*self._database.foreign_state(), records)

    def _whole(self, kept: Kept) -> Kept:
        if _checksum(kept.key, kept.body) != kept.checksum:
            raise JournalError(damaged(self.path, f"the answer {kept.key.hex()} is not as it was written"))
        return kept

    def claim(
        self, session: Session, keys: Sequence[Key], *, retry_failed: bool, looked_up: bool = False
    ) -> Claimed:
        """Claim requests before they are sent; what others answered meanwhile comes back instead.

        Parameters
        ----------
        retry_failed
            Whether only those failures count that are no older than the run.
        looked_up
            Whether the run has looked for these since it began and asked none of them since: they need not
            be looked for again while nobody else has written.
        """
        with self._flying() as connection:
            answered: dict[Key, Kept] = {}
            if not looked_up or session.others != self._others(session.owner):
                answered = {kept.key: kept for kept in self.lookup(session, keys)}
            if retry_failed:
                answered = {
                    key: kept
                    for key, kept in answered.items()
                    if kept.problem in {None, "truncated"} or kept.created >= session.began
                }
            open_ = [key for key in keys if key not in answered] if answered else keys
            holders = self._flights.claimed(connection, open_, but=session.owner)
            holders.update(_claimed_by_parts(connection, open_))
            gone = _vanished(connection, set(holders.values()), self._presence)
            taken = {key for key, owner in holders.items() if owner not in gone}
            held = [key for key in open_ if key in taken] if taken else []
            granted = [key for key in open_ if key not in taken] if taken else open_
            for owner in gone:
                self._flights.leave(connection, owner, granted)
            self._flights.enter(connection, session.owner, granted)
            uncertain = sum(gone.get(owner, False) for owner in holders.values())
        parts = self.parts.of_owners({holders[key] for key in held})
        return Claimed(granted, list(answered.values()), held, uncertain, parts)

    def holding(self, keys: Sequence[Key]) -> set[str]:
        """Name the open parts of batches, by nonce, that hold some of these requests."""
        with self._database.outside("read") as connection:
            owners = set(_claimed_by_parts(connection, keys).values())
        return set(self.parts.of_owners(owners))

    def record(self, session: Session, answers: Sequence[Priced], released: Sequence[Key]) -> None:
        """Commit answers in one transaction, and give up the session's claims on them and on `released`."""
        now = time.time()
        with self._flying() as connection:
            connection.executemany(
                "INSERT INTO answer (key, problem, detail, body, checksum, prompt_tokens, completion_tokens, "
                "cached_tokens, reasoning_tokens, cost, lane, tier, model, recipe, created) "
                "VALUES (?,nullif(?,''),?,?,?,?,?,?,?,?,?,?,?,?,?)",
                _rows(answers, session.recipe, now),
            )
            self._recorded[session.owner] += 1
            self._flights.leave(
                connection, session.owner, chain((answer.key for answer, _ in answers), released)
            )
        self._database.wrote(sum(len(answer.body) + _ANSWER_OVERHEAD for answer, _ in answers), now)

    def exchange(self, session: Session, pool: bytes, mine: Report | None) -> dict[int, Report]:
        """Leave a report for the other runs of a pool, or none, and return what those tell that are at work."""
        now = time.time()
        with self._database.transaction() as connection:
            if mine is None:
                connection.execute("DELETE FROM report WHERE owner = ?", (session.owner,))
            else:
                connection.execute(
                    "INSERT OR REPLACE INTO report (owner, pool, heard, load, hungry, rate, parties, used, measured) "
                    "VALUES (?,?,?,?,?,?,?,?,?)",
                    (session.owner, pool, now, *mine),
                )
            rows = connection.execute(
                "SELECT owner, load, hungry, rate, parties, used, measured FROM report "
                "WHERE pool = ? AND owner <> ? AND heard BETWEEN ? AND ?",
                (pool, session.owner, now - _SILENT_SECONDS, now + _SILENT_SECONDS),
            ).fetchall()
        self._database.wrote(_PAGE_BYTES, now)
        return {
            owner: Report(load, bool(hungry), rate, parties, used, bool(measured))
            for owner, load, hungry, rate, parties, used, measured in rows
        }

    def renew(self, session: Session) -> None:
        """Say that the owner is still there."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE owner SET lease = ? WHERE id = ?", (time.time() + LEASE_SECONDS, session.owner)
            )

    def end(self, session: Session, counts: Mapping[str, Any], *, finished: bool) -> None:
        """Leave a run: its counts stay, its claims go."""
        if session.obstacle is not None:
            return
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM flight WHERE owner = ?", (session.owner,))
            connection.execute("DELETE FROM owner WHERE id = ?", (session.owner,))
            connection.execute("DELETE FROM report WHERE owner = ?", (session.owner,))
            connection.execute(
                "UPDATE run SET finished = ?, counts = ? WHERE id = ?",
                (time.time() if finished else None, orjson.dumps(counts).decode(), session.run),
            )

    def close(self) -> None:
        """Let go of the file; it is opened again when it is next used."""
        self._database.close()


class TemporaryJournal(FileJournal):
    """What `journal=False` gives to a batch run: it knows what is under way, and keeps nothing after it."""

    def __init__(self) -> None:
        self._keep(TemporaryDatabase())


def _rows(answers: Sequence[Priced], recipe: int, now: float) -> list[tuple[Any, ...]]:
    """Give what is kept of answers.

    sqlite3 looks for adapters of bytes and `None`, but not of bytearrays and texts (CPython's `need_adapt` in
    `Modules/_sqlite/statement.c`): that takes longer than a copy does.
    """
    return [
        (
            bytearray(key),
            problem or "",
            detail,
            bytearray(body),
            _checksum(key, body),
            *usage,
            cost,
            lane,
            tier,
            model,
            recipe,
            asked or now,
        )
        for (key, body, usage, _, problem, detail, lane, tier, model, asked), cost in answers
    ]


def _checksum(key: Key, body: bytes) -> int:
    return crc32(body, crc32(key))


def _recipe(connection: sqlite3.Connection, digest: bytes, description: str) -> int:
    connection.execute(
        "INSERT OR IGNORE INTO recipe (digest, description) VALUES (?, ?)", (digest, description)
    )
    return int(connection.execute("SELECT id FROM recipe WHERE digest = ?", (digest,)).fetchone()[0])


def _fresh_since(connection: sqlite3.Connection, recipe: int, fresh: bytes, now: float) -> float:
    last = connection.execute(
        "SELECT started, finished FROM run WHERE recipe = ? AND fresh = ? ORDER BY id DESC LIMIT 1",
        (recipe, fresh),
    ).fetchone()
    return last[0] if last is not None and last[1] is None else now


def _claimed_by_parts(connection: sqlite3.Connection, keys: Sequence[Key]) -> dict[Key, int]:
    """Map those of the requests that parts of batches have claimed to these parts' owners."""
    owners: dict[Key, int] = {}
    if connection.execute("SELECT 1 FROM claim LIMIT 1").fetchone() is None:
        return owners
    for start in range(0, len(keys), _VARIABLES):
        part = keys[start : start + _VARIABLES]
        owners.update(
            connection.execute(f"SELECT key, owner FROM claim WHERE key IN ({_marks(part)})", part)  # noqa: S608
        )
    return owners


def _vanished(connection: sqlite3.Connection, owners: set[int], presence: Presence) -> dict[int, bool]:
    """Tell which owners are gone, and whether they may have sent what they claimed.

    Gone is who is unknown, past the lease (for a while, if it runs here), or a process of here that is no more.
    """
    if not owners:
        return {}
    known = {
        owner: (tuple(process), bool(sends))
        for owner, sends, *process in connection.execute(
            f"SELECT id, sends, machine, pid, lease FROM owner WHERE id IN ({_marks(owners)})",  # noqa: S608
            tuple(owners),
        )
    }
    there = {owner for owner, (process, _) in known.items() if presence.there(owner, *process)}
    return {owner: known[owner][1] if owner in known else True for owner in owners - there}


def _marks(values: Iterable[object]) -> str:
    return ",".join("?" for _ in values)
