"""A journal in one SQLite file: its answers, runs, claims and usage reports."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

import orjson

from llmframe._errors import JournalError
from llmframe._journal.liveness import Liveness, machine
from llmframe._journal.protocol import ClaimResult, PastAnswer, Session, StoredAnswer
from llmframe._journal.sqlite import maintenance
from llmframe._journal.sqlite.batch_store import SqliteBatchStore, nonces_of
from llmframe._journal.sqlite.claims import (
    RequestClaims,
    claimed_by_parts,
    ended_owners,
    marks,
    remove_ended,
    remove_owner,
)
from llmframe._journal.sqlite.database import Database
from llmframe._journal.sqlite.schema import check_answer, checksum, not_writable
from llmframe._journal.sqlite.thread import on_thread
from llmframe._options import Tuning
from llmframe._values import LearntLimit, LearntPace, Usage, UsageReport

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from llmframe._journal.protocol import Judge, PricedAnswer, Spend
    from llmframe._values import Key

_VARIABLES = 500
_TOKENS = "prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, cache_write_tokens"
"""The columns of a `Usage`, in its order."""
_ANSWER_OVERHEAD = 400
_PAGE_BYTES = 4096
_HISTORY_ROWS = 200_000
"""A history is looked for among so many of the newest answers: there is no index by recipe, which every answer would pay for."""
_LEARNT_SECONDS = 86_400.0
"""What was learnt of limits is used for a day."""
_SILENT_SECONDS = 3.0
"""A run without a report for this time no longer counts when limits are shared."""
_DEFAULTS = Tuning()


class SqliteJournal:
    """A journal in a SQLite file, which is opened and closed on the journals' thread.

    Without a path it keeps no answers, and is deleted when it is closed.

    Raises
    ------
    JournalError
        When the file is corrupt, is not a journal, or has another format; it is not changed.
    """

    def __init__(self, path: Path | None, tuning: Tuning = _DEFAULTS) -> None:
        self._database = Database(path)
        self._keeps_answers = path is not None
        self._lease_seconds = tuning.lease_seconds
        self._liveness = Liveness(tuning.lease_seconds / 2)
        self._claims = RequestClaims()
        self._recorded = Counter[int]()
        """How often each run has recorded answers."""
        self._versions_at_begin: dict[int, tuple[int, ...]] = {}
        """By owner: the version of the file by other writers when the run began."""
        self.batches = SqliteBatchStore(self._database, self._liveness)

    @property
    def place(self) -> str:
        return str(self._database.path)

    @on_thread
    def begin(
        self, digest: bytes, description: Mapping[str, Any], *, fresh: bytes = b"", sends: bool = True
    ) -> Session:
        """Register a run; where nothing can be written (a read-only or full disk), its session may only read."""
        now = time.time()
        obstacle = self._database.obstacle
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
            remove_ended(connection, self._liveness)
            owner = connection.execute(
                "INSERT INTO owner (machine, pid, lease, sends) VALUES (?, ?, ?, ?)",
                (machine(), os.getpid(), now + self._lease_seconds, sends),
            ).lastrowid
            run = connection.execute(
                "INSERT INTO run (recipe, started, counts, fresh) VALUES (?, ?, '{}', ?)",
                (recipe, since or now, fresh),
            ).lastrowid
            self._versions_at_begin[owner or 0] = self._version_by_others(owner or 0)
        return Session(recipe, owner or 0, run or 0, since, began=now, digest=digest)

    @on_thread
    def add_recipe(self, digest: bytes, description: Mapping[str, Any]) -> int:
        with self._database.transaction() as connection:
            return _recipe(connection, digest, orjson.dumps(description).decode())

    @on_thread
    def lookup(self, session: Session, keys: Sequence[Key]) -> list[StoredAnswer]:
        return self._lookup(session, keys)

    def _lookup(self, session: Session, keys: Sequence[Key]) -> list[StoredAnswer]:
        found: list[StoredAnswer] = []
        with self._database.outside("read") as connection:
            for start in range(0, len(keys), _VARIABLES):
                chunk = keys[start : start + _VARIABLES]
                rows = connection.execute(
                    f"SELECT key, body, checksum, created, cost, output_bound, {_TOKENS} FROM answer "  # noqa: S608
                    f"WHERE key IN ({marks(chunk)}) AND created BETWEEN ? AND ? ORDER BY key, id",
                    (*map(bytearray, chunk), session.since, session.until),
                )
                for key, body, stored, created, cost, bound, *tokens in rows:
                    check_answer(self._database.path, key, body, stored)
                    found.append(StoredAnswer(key, body, created, Usage(*tokens), cost, bound))
        return found

    async def answers_of(self, digest: bytes, until: float = math.inf) -> AsyncIterator[bytes]:
        after = 0
        while chunk := await self._some_answers_of(digest, until, after):
            for number, body in chunk:
                after = number
                yield body

    @on_thread
    def _some_answers_of(self, digest: bytes, until: float, after: int) -> list[tuple[int, bytes]]:
        return maintenance.some_answers_of(self._database, digest, until, after)

    @on_thread
    def history(self, digest: bytes, limit: int) -> list[PastAnswer]:
        with self._database.outside("read") as connection:
            rows = connection.execute(
                f"SELECT key, request_bytes, output_bound, model, {_TOKENS} FROM answer "  # noqa: S608
                "WHERE recipe = (SELECT id FROM recipe WHERE digest = ?) AND id > (SELECT max(id) FROM answer) - ? "
                "ORDER BY id DESC LIMIT ?",
                (digest, _HISTORY_ROWS, limit),
            ).fetchall()
        return [
            PastAnswer(key, Usage(*tokens), size, bound, model) for key, size, bound, model, *tokens in rows
        ]

    @on_thread
    def claim(
        self,
        session: Session,
        keys: Sequence[Key],
        *,
        is_failure: Callable[[StoredAnswer], bool] | None = None,
        again: AbstractSet[Key] = frozenset(),
        looked_up: bool = False,
    ) -> ClaimResult:
        with self._claiming() as connection:
            answered: dict[Key, StoredAnswer] = {}
            if not looked_up or self._changed_by_others(session):
                answered = {stored.key: stored for stored in self._lookup(session, keys)}
            answered = {
                key: stored
                for key, stored in answered.items()
                if key not in again and not (is_failure is not None and is_failure(stored))
            }
            unanswered = [key for key in keys if key not in answered] if answered else keys
            holders = self._claims.claimed(connection, unanswered, but=session.owner)
            holders.update(claimed_by_parts(connection, unanswered))
            ended = ended_owners(connection, set(holders.values()), self._liveness)
            taken = {key for key, owner in holders.items() if owner not in ended}
            held = [key for key in unanswered if key in taken] if taken else []
            granted = [key for key in unanswered if key not in taken] if taken else unanswered
            uncertain = 0
            for owner, sends in ended.items():
                may_have_been_sent = self._claims.drop(connection, owner, granted)
                uncertain += len(may_have_been_sent) if sends else 0
            self._claims.add(connection, session.owner, granted)
            parts = nonces_of(connection, {holders[key] for key in held})
        return ClaimResult(granted, list(answered.values()), held, uncertain, parts)

    @contextmanager
    def _claiming(self) -> Iterator[sqlite3.Connection]:
        """Yield a transaction that adds or releases claims; after a failure the cache of claims is cleared."""
        try:
            with self._database.transaction() as connection:
                yield connection
        except BaseException:
            self._claims.forget()
            raise

    def _changed_by_others(self, session: Session) -> bool:
        return self._versions_at_begin.get(session.owner) != self._version_by_others(session.owner)

    def _version_by_others(self, owner: int) -> tuple[int, ...]:
        """Return a version of the file by all other writers: other processes, and other runs of this process."""
        records = self._recorded.total() - self._recorded[owner]
        return (*self._database.foreign_state(), records)

    @on_thread
    def mark_unsent(self, session: Session, keys: Sequence[Key]) -> None:
        with self._claiming() as connection:
            sent = self._claims.drop(connection, session.owner, keys)
            self._claims.add(connection, session.owner, sent, sent=False)

    @on_thread
    def record(
        self,
        session: Session,
        answers: Sequence[PricedAnswer],
        released: Sequence[Key],
        spent: Sequence[PricedAnswer] = (),
    ) -> None:
        now = time.time()
        with self._claiming() as connection:
            if self._keeps_answers:
                connection.executemany(
                    f"INSERT INTO answer (key, body, checksum, {_TOKENS}, cost, lane, tier, model, recipe, created, "  # noqa: S608
                    "output_bound, request_bytes) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                    _rows(answers, session.recipe, now),
                )
                connection.executemany(
                    f"INSERT INTO spent ({_TOKENS}, cost, lane, tier, model, recipe, created) "  # noqa: S608
                    "VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                    _spent_rows(spent, session.recipe, now),
                )
            self._recorded[session.owner] += 1
            self._claims.drop(
                connection, session.owner, chain((answer.key for answer, _ in answers), released)
            )
        self._database.on_written(sum(len(answer.body) + _ANSWER_OVERHEAD for answer, _ in answers), now)

    @on_thread
    def longest_answer(self, recipe: int) -> int:
        with self._database.outside("read") as connection:
            row = connection.execute(
                "SELECT coalesce(max(completion_tokens) FILTER (WHERE recipe = ?), max(completion_tokens), 0) FROM answer",
                (recipe,),
            ).fetchone()
        return int(row[0])

    @on_thread
    def exchange(self, session: Session, group: bytes, own: UsageReport | None) -> Mapping[int, UsageReport]:
        now = time.time()
        with self._database.transaction() as connection:
            if own is None:
                connection.execute("DELETE FROM usage_report WHERE owner = ?", (session.owner,))
            else:
                connection.execute(  # the last three columns are earlier versions'
                    "INSERT OR REPLACE INTO usage_report (owner, limit_group, reported, load, needs_more, sharing_runs, used, "
                    "measured) VALUES (?,?,?,?,?,1,0,0)",
                    (session.owner, group, now, *own),
                )
            rows = connection.execute(
                "SELECT owner, load, needs_more FROM usage_report "
                "WHERE limit_group = ? AND owner <> ? AND reported BETWEEN ? AND ?",
                (group, session.owner, now - _SILENT_SECONDS, now + _SILENT_SECONDS),
            ).fetchall()
        self._database.on_written(_PAGE_BYTES, now)
        return {owner: UsageReport(load, bool(needs_more)) for owner, load, needs_more in rows}

    @on_thread
    def learnt_pace(self, group: bytes) -> LearntPace | None:
        now = time.time()
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT most_in_flight, by_second_until, limits FROM learnt_pace WHERE limit_group = ? AND learnt > ?",
                (group, now - _LEARNT_SECONDS),
            ).fetchone()
        if row is None:
            return None
        limits = [limit and _limit(limit, now) for limit in orjson.loads(row[2])]
        return LearntPace(row[0], max(0.0, row[1] - now), *limits)

    @on_thread
    def keep_pace(self, group: bytes, learnt: LearntPace) -> None:
        now = time.time()
        limits = [
            limit and [*limit[:2], now + limit.full_in_seconds]
            for limit in (learnt.requests, learnt.tokens, learnt.unstated)
        ]
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO learnt_pace (limit_group, most_in_flight, by_second_until, learnt, limits) "
                "VALUES (?,?,?,?,?)",
                (group, learnt.window, now + learnt.by_second_seconds, now, orjson.dumps(limits).decode()),
            )
        self._database.on_written(_PAGE_BYTES, now)

    @on_thread
    def kept_rung(self, server: str, model: str) -> str | None:
        with self._database.outside("read") as connection:
            table = "SELECT 1 FROM sqlite_master WHERE name = 'kept_rung'"
            if connection.execute(table).fetchone() is None:  # an earlier version's, which cannot be written
                return None
            row = connection.execute(
                "SELECT rung FROM kept_rung WHERE server = ? AND model = ?", (server, model)
            ).fetchone()
        return None if row is None else str(row[0])

    @on_thread
    def keep_rung(self, server: str, model: str, rung: str) -> None:
        with self._database.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO kept_rung VALUES (?, ?, ?)", (server, model, rung))
        self._database.on_written(_PAGE_BYTES, time.time())

    @on_thread
    def renew(self, session: Session) -> None:
        with self._database.transaction() as connection:
            # Another run deletes the owner when the lease has expired; the process may only have been suspended.
            connection.execute(
                "INSERT INTO owner (id, machine, pid, lease) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET lease = excluded.lease",
                (session.owner, machine(), os.getpid(), time.time() + self._lease_seconds),
            )

    @on_thread
    def end(self, session: Session, counts: Mapping[str, Any], *, finished: bool) -> None:
        self._versions_at_begin.pop(session.owner, None)
        if session.obstacle is not None:
            return
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM claim WHERE owner = ?", (session.owner,))
            remove_owner(connection, session.owner)
            remove_ended(connection, self._liveness)
            connection.execute(
                "UPDATE run SET finished = ?, counts = ? WHERE id = ?",
                (time.time() if finished else None, orjson.dumps(counts).decode(), session.run),
            )

    @on_thread
    def summary(self, judge: Judge) -> dict[str, Any]:
        return maintenance.summarise(self._database, judge)

    @on_thread
    def spend(self) -> list[Spend]:
        return maintenance.spend(self._database)

    async def export(self, judge: Judge) -> AsyncIterator[dict[str, Any]]:
        after = 0
        while chunk := await self._export_some(judge, after):
            for number, record in chunk:
                after = number
                yield record

    @on_thread
    def _export_some(self, judge: Judge, after: int) -> list[tuple[int, dict[str, Any]]]:
        return maintenance.export_some(self._database, judge, after)

    @on_thread
    def prune(self, before: float) -> int:
        return maintenance.prune(self._database, before)

    def close_connection(self) -> None:
        self._database.close_connection()


def _rows(answers: Sequence[PricedAnswer], recipe: int, now: float) -> list[tuple[Any, ...]]:
    """Return the rows of the table `answer`.

    sqlite3 searches adapters for bytes and `None`, but not for bytearrays and texts (CPython's `need_adapt` in
    `Modules/_sqlite/statement.c`): the search takes longer than a copy.
    """
    return [
        (
            bytearray(key),
            bytearray(body),
            checksum(key, body),
            *usage,
            cost,
            lane,
            tier,
            model,
            recipe,
            asked or now,
            bound,
            size,
        )
        for (key, body, usage, lane, tier, model, asked, _, bound, size), cost in answers
    ]


def _spent_rows(spent: Sequence[PricedAnswer], recipe: int, now: float) -> list[tuple[Any, ...]]:
    """Return the rows of the table `spent`."""
    return [
        (*answer.usage, cost, answer.lane, answer.tier, answer.model, recipe, answer.asked or now)
        for answer, cost in spent
    ]


def _limit(kept: Sequence[float], now: float) -> LearntLimit:
    limit, bucket_seconds, full_at = kept
    return LearntLimit(limit, bucket_seconds, min(max(0.0, full_at - now), bucket_seconds))


def _recipe(connection: sqlite3.Connection, digest: bytes, description: str) -> int:
    connection.execute(
        "INSERT OR IGNORE INTO recipe (digest, description) VALUES (?, ?)", (digest, description)
    )
    return int(connection.execute("SELECT id FROM recipe WHERE digest = ?", (digest,)).fetchone()[0])


def _fresh_since(connection: sqlite3.Connection, recipe: int, fresh: bytes, now: float) -> float:
    previous = connection.execute(
        "SELECT started, finished FROM run WHERE recipe = ? AND fresh = ? ORDER BY id DESC LIMIT 1",
        (recipe, fresh),
    ).fetchone()
    return previous[0] if previous is not None and previous[1] is None else now
