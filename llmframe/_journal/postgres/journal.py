"""A journal in a database: its answers, runs, claims and usage reports."""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from llmframe._journal.liveness import Liveness, machine
from llmframe._journal.postgres import maintenance
from llmframe._journal.postgres.batch_store import PostgresBatchStore, nonces_of
from llmframe._journal.postgres.claims import add, drop, remove_ended, remove_owners, take
from llmframe._journal.postgres.database import NOW, Database, Keys, NotWritableError, UndoneError
from llmframe._journal.postgres.thread import on_thread
from llmframe._journal.protocol import ClaimResult, PastAnswer, Session, Spend, StoredAnswer
from llmframe._options import Tuning
from llmframe._values import LearntLimit, LearntPace, Usage, UsageReport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from psycopg import Cursor

    from llmframe._addresses import DatabaseAddress
    from llmframe._journal.postgres.claims import Holders
    from llmframe._journal.protocol import Judge, PricedAnswer
    from llmframe._values import Key

_TOKENS = "prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, cache_write_tokens"
"""The columns of a `Usage`, in its order."""
_COPY = (
    f"COPY llmframe.answer (key, body, {_TOKENS}, cost, lane, tier, model, recipe, created, output_bound, request_bytes) "
    "FROM STDIN (FORMAT BINARY)"
)
_SPENT = (
    f"INSERT INTO llmframe.spent ({_TOKENS}, cost, lane, tier, model, recipe, created) "  # noqa: S608
    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
)
_COPY_TYPES = ("bytea", "bytea", *["int8"] * 5, "float8", *["text"] * 3, "int8", "float8", "int8", "int8")
_LAST_COMMIT = (
    "INSERT INTO llmframe.last_commit (owner, nonce, committed) VALUES (%(owner)s, %(nonce)s, %(now)s) "
    "ON CONFLICT (owner) DO UPDATE SET nonce = excluded.nonce, committed = excluded.committed "
    "WHERE last_commit.nonce <> excluded.nonce"
)
_HISTORY_ROWS = 200_000
"""A history is looked for among so many of the newest answers: there is no index by recipe, which every answer would pay for."""
_LEARNT_SECONDS = 86_400.0
"""What was learnt of limits is used for a day."""
_SILENT_SECONDS = 3.0
"""A run without a report for this time no longer counts when limits are shared."""
_NONCE_BYTES = 16
_NONCE_SECONDS = 86_400.0
"""The last commit of an owner that vanished is known for a day."""
_DEFAULTS = Tuning()

_not_ended: dict[DatabaseAddress, set[int]] = {}
"""By database: the owners of this process whose runs ended while it could not be reached. Others see a living process."""


class PostgresJournal:
    """A journal in a database, which is opened and closed on the databases' thread.

    Raises
    ------
    JournalError
        When the database cannot be reached, or its tables can neither be used nor created.
    """

    def __init__(self, address: DatabaseAddress, tuning: Tuning = _DEFAULTS) -> None:
        self._database = Database(address, tuning.reconnect_seconds)
        self._not_ended = _not_ended.setdefault(address, set())
        self._lease_seconds = tuning.lease_seconds
        self._liveness = Liveness(tuning.lease_seconds / 2)
        self.batches = PostgresBatchStore(self._database, self._liveness)

    @property
    def place(self) -> str:
        return self._database.place

    @on_thread
    def begin(
        self, digest: bytes, description: Mapping[str, Any], *, fresh: bytes = b"", sends: bool = True
    ) -> Session:
        """Register a run; where nothing can be written, its session may only read."""
        nonce = os.urandom(_NONCE_BYTES)
        text = orjson.dumps(description).decode()

        def work(cursor: Cursor, now: float) -> Session:
            recipe = _recipe(cursor, digest, text)
            since = _fresh_since(cursor, recipe, fresh, now) if fresh else 0.0
            _release_all(cursor, list(self._not_ended))
            remove_ended(cursor, self._liveness, now)
            cursor.execute(
                "INSERT INTO llmframe.run (nonce, recipe, started, counts, fresh) VALUES (%s, %s, %s, '{}', %s) "
                "ON CONFLICT (nonce) DO UPDATE SET nonce = excluded.nonce RETURNING id",
                (nonce, recipe, since or now, fresh),
            )
            run = int(cursor.fetchall()[0][0])
            cursor.execute(
                "INSERT INTO llmframe.owner (run, machine, pid, lease, sends) VALUES (%s, %s, %s, %s, %s) "
                "ON CONFLICT (run) DO UPDATE SET lease = excluded.lease RETURNING id",
                (run, machine(), os.getpid(), now + self._lease_seconds, sends),
            )
            owner = int(cursor.fetchall()[0][0])
            return Session(recipe, owner, run, since, began=now, digest=digest)

        try:
            session = self._database.transaction(work)
        except NotWritableError as error:
            now = float(self._database.run(lambda cursor: cursor.execute(f"SELECT {NOW}").fetchall()[0][0]))
            return Session(0, 0, 0, now if fresh else 0.0, str(error), now, digest)
        self._not_ended.clear()
        return session

    @on_thread
    def add_recipe(self, digest: bytes, description: Mapping[str, Any]) -> int:
        text = orjson.dumps(description).decode()
        return self._database.transaction(lambda cursor, _: _recipe(cursor, digest, text))

    @on_thread
    def lookup(self, session: Session, keys: Sequence[Key]) -> list[StoredAnswer]:
        return self._lookup(session, keys)

    def _lookup(self, session: Session, keys: Sequence[Key]) -> list[StoredAnswer]:
        select = (
            f"SELECT key, body, created, cost, output_bound, {_TOKENS} FROM llmframe.answer "  # noqa: S608
            "WHERE key = ANY(%s) AND created BETWEEN %s AND %s ORDER BY key, id"
        )
        rows = self._database.run(
            lambda cursor: cursor.execute(select, (Keys(keys), session.since, session.until)).fetchall()
        )
        return [
            StoredAnswer(key, body, created, Usage(*tokens), cost, bound)
            for key, body, created, cost, bound, *tokens in rows
        ]

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
        select = (
            f"SELECT key, request_bytes, output_bound, model, {_TOKENS} FROM llmframe.answer "  # noqa: S608
            "WHERE recipe = (SELECT id FROM llmframe.recipe WHERE digest = %s) "
            "AND id > (SELECT max(id) FROM llmframe.answer) - %s ORDER BY id DESC LIMIT %s"
        )
        values = (digest, _HISTORY_ROWS, limit)
        rows = self._database.run(lambda cursor: cursor.execute(select, values).fetchall())
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
        looked_up: bool = False,  # noqa: ARG002 (another machine may have answered at any moment)
    ) -> ClaimResult:
        owner, database = session.owner, self._database
        holders: Holders | None = None
        if database.run(lambda cursor: add(cursor, owner, keys)) < len(keys):
            holders = database.transaction(lambda cursor, now: take(cursor, owner, keys, self._liveness, now))
        answered = {stored.key: stored for stored in self._lookup(session, keys)}
        answered = {
            key: stored
            for key, stored in answered.items()
            if key not in again and not (is_failure is not None and is_failure(stored))
        }
        if answered:
            database.run(lambda cursor: drop(cursor, owner, answered))
        unanswered = [key for key in keys if key not in answered] if answered else keys
        if holders is None:
            return ClaimResult(unanswered, list(answered.values()), [], 0, [])
        granted = [key for key in unanswered if key in holders.own]
        held = [key for key in unanswered if key not in holders.own]
        others = {holders.others[key] for key in held}
        parts = database.run(lambda cursor: nonces_of(cursor, others)) if held else []
        uncertain = len(holders.uncertain.intersection(granted))
        return ClaimResult(granted, list(answered.values()), held, uncertain, parts)

    @on_thread
    def mark_unsent(self, session: Session, keys: Sequence[Key]) -> None:
        update = "UPDATE llmframe.claim SET sent = FALSE WHERE key = ANY(%s) AND owner = %s"
        self._database.run(lambda cursor: cursor.execute(update, (Keys(keys), session.owner)))

    @on_thread
    def record(
        self,
        session: Session,
        answers: Sequence[PricedAnswer],
        released: Sequence[Key],
        spent: Sequence[PricedAnswer] = (),
    ) -> None:
        """Commit answers by a binary COPY.

        Each call has a nonce, which is committed with its answers as the owner's last one: when the connection is lost
        during the commit, the next attempt waits for the outcome of that row, and finds there whether all is written.
        """
        nonce = os.urandom(_NONCE_BYTES)
        keys = Keys((*(answer.key for answer, _ in answers), *released))

        def work(cursor: Cursor, now: float) -> None:
            if answers:
                with cursor.copy(_COPY) as copy:
                    copy.set_types(_COPY_TYPES)
                    for row in _rows(answers, session.recipe, now):
                        copy.write_row(row)
            if spent:
                cursor.executemany(_SPENT, _spent_rows(spent, session.recipe, now))
            writes = f"{_LAST_COMMIT} RETURNING owner"
            committed = writes if answers or spent else "SELECT %(owner)s AS owner"
            cursor.execute(
                f"WITH committed AS ({committed}), dropped AS (DELETE FROM llmframe.claim WHERE key IN "  # noqa: S608
                "(SELECT key FROM llmframe.claim WHERE key = ANY(%(keys)s) AND owner = %(owner)s ORDER BY key FOR UPDATE)) "
                "SELECT owner FROM committed",
                {"owner": session.owner, "nonce": nonce, "now": now, "keys": keys},
            )
            if not cursor.fetchall():
                raise UndoneError

        with suppress(UndoneError):
            self._database.transaction(work)

    @on_thread
    def longest_answer(self, recipe: int) -> int:
        select = (
            "SELECT coalesce(max(completion_tokens) FILTER (WHERE recipe = %s), max(completion_tokens), 0) "
            "FROM llmframe.answer"
        )
        return int(self._database.run(lambda cursor: cursor.execute(select, (recipe,)).fetchall()[0][0]))

    @on_thread
    def exchange(self, session: Session, group: bytes, own: UsageReport | None) -> Mapping[int, UsageReport]:
        report = {"owner": session.owner, "group": group, "silent": _SILENT_SECONDS}
        if own is None:
            change = "DELETE FROM llmframe.usage_report WHERE owner = %(owner)s"
        else:
            report |= own._asdict()
            change = (
                "INSERT INTO llmframe.usage_report (owner, limit_group, reported, load, needs_more) "  # noqa: S608
                f"VALUES (%(owner)s, %(group)s, {NOW}, %(load)s, %(needs_more)s) "
                "ON CONFLICT (owner) DO UPDATE SET limit_group = excluded.limit_group, reported = excluded.reported, "
                "load = excluded.load, needs_more = excluded.needs_more"
            )
        exchange = (
            f"WITH own AS ({change}) SELECT owner, load, needs_more FROM llmframe.usage_report "  # noqa: S608
            "WHERE limit_group = %(group)s AND owner <> %(owner)s "
            f"AND reported BETWEEN {NOW} - %(silent)s AND {NOW} + %(silent)s"
        )
        rows = self._database.run(lambda cursor: cursor.execute(exchange, report).fetchall())
        return {owner: UsageReport(load, needs_more) for owner, load, needs_more in rows}

    @on_thread
    def learnt_pace(self, group: bytes) -> LearntPace | None:
        select = (
            f"SELECT most_in_flight, by_second_until, limits, {NOW} FROM llmframe.learnt_pace "  # noqa: S608
            f"WHERE limit_group = %s AND learnt > {NOW} - %s"
        )
        rows = self._database.run(lambda cursor: cursor.execute(select, (group, _LEARNT_SECONDS)).fetchall())
        for window, by_second_until, limits, now in rows:
            learnt = [limit and _limit(limit, now) for limit in orjson.loads(limits)]
            return LearntPace(window, max(0.0, by_second_until - now), *learnt)
        return None

    @on_thread
    def keep_pace(self, group: bytes, learnt: LearntPace) -> None:
        def work(cursor: Cursor, now: float) -> None:
            limits = [
                limit and [*limit[:2], now + limit.full_in_seconds]
                for limit in (learnt.requests, learnt.tokens, learnt.unstated)
            ]
            cursor.execute(
                "INSERT INTO llmframe.learnt_pace (limit_group, most_in_flight, by_second_until, learnt, limits) "
                "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (limit_group) DO UPDATE SET "
                "most_in_flight = excluded.most_in_flight, by_second_until = excluded.by_second_until, "
                "learnt = excluded.learnt, limits = excluded.limits",
                (group, learnt.window, now + learnt.by_second_seconds, now, orjson.dumps(limits).decode()),
            )

        self._database.transaction(work)

    @on_thread
    def kept_rung(self, server: str, model: str) -> str | None:
        select = "SELECT rung FROM llmframe.kept_rung WHERE server = %s AND model = %s"
        rows = self._database.run(lambda cursor: cursor.execute(select, (server, model)).fetchall())
        return str(rows[0][0]) if rows else None

    @on_thread
    def keep_rung(self, server: str, model: str, rung: str) -> None:
        insert = "INSERT INTO llmframe.kept_rung VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
        self._database.run(lambda cursor: cursor.execute(insert, (server, model, rung)))

    @on_thread
    def renew(self, session: Session) -> None:
        # Another run deletes the owner when the lease has expired; the process may only have been suspended.
        upsert = (
            f"INSERT INTO llmframe.owner (id, run, machine, pid, lease) VALUES (%s, %s, %s, %s, {NOW} + %s) "  # noqa: S608
            "ON CONFLICT (id) DO UPDATE SET lease = excluded.lease"
        )
        values = (session.owner, session.run, machine(), os.getpid(), self._lease_seconds)
        self._database.run(lambda cursor: cursor.execute(upsert, values))

    @on_thread
    def end(self, session: Session, counts: Mapping[str, Any], *, finished: bool) -> None:
        if session.obstacle is not None:
            return
        text = orjson.dumps(counts).decode()

        def work(cursor: Cursor, now: float) -> None:
            _release_all(cursor, [session.owner])
            remove_ended(cursor, self._liveness, now)
            cursor.execute(
                "DELETE FROM llmframe.last_commit WHERE owner = %s OR committed < %s",
                (session.owner, now - _NONCE_SECONDS),
            )
            cursor.execute(
                "UPDATE llmframe.run SET finished = %s, counts = %s WHERE id = %s",
                (now if finished else None, text, session.run),
            )

        self._not_ended.add(session.owner)
        self._database.transaction(work)
        self._not_ended.discard(session.owner)

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


def _release_all(cursor: Cursor, owners: Sequence[int]) -> None:
    if owners:
        cursor.execute("DELETE FROM llmframe.claim WHERE owner = ANY(%s)", (owners,))
        remove_owners(cursor, owners)


def _rows(answers: Sequence[PricedAnswer], recipe: int, now: float) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of the table `answer`; times are told by the server's clock."""
    ahead = now - time.time()
    for (key, body, usage, lane, tier, model, asked, _, bound, size), cost in answers:
        created = now if asked is None else asked + ahead
        yield (key, body, *usage, cost, lane, _text(tier), _text(model), recipe, created, bound, size)


def _spent_rows(spent: Sequence[PricedAnswer], recipe: int, now: float) -> list[tuple[Any, ...]]:
    """Return the rows of the table `spent`, at the server's time."""
    ahead = now - time.time()
    return [
        (
            *answer.usage,
            cost,
            answer.lane,
            _text(answer.tier),
            _text(answer.model),
            recipe,
            now if answer.asked is None else answer.asked + ahead,
        )
        for answer, cost in spent
    ]


def _text(value: str | None) -> str | None:
    """Return a server's text without what PostgreSQL refuses in a text."""
    return None if value is None else value.replace("\0", "").encode(errors="replace").decode()


def _limit(kept: Sequence[float], now: float) -> LearntLimit:
    limit, bucket_seconds, full_at = kept
    return LearntLimit(limit, bucket_seconds, min(max(0.0, full_at - now), bucket_seconds))


def _recipe(cursor: Cursor, digest: bytes, description: str) -> int:
    select = "SELECT id FROM llmframe.recipe WHERE digest = %s"
    rows = cursor.execute(select, (digest,)).fetchall()
    if not rows:
        cursor.execute(
            "INSERT INTO llmframe.recipe (digest, description) VALUES (%s, %s) ON CONFLICT (digest) DO NOTHING",
            (digest, description),
        )
        rows = cursor.execute(select, (digest,)).fetchall()
    return int(rows[0][0])


def _fresh_since(cursor: Cursor, recipe: int, fresh: bytes, now: float) -> float:
    cursor.execute(
        "SELECT started, finished FROM llmframe.run WHERE recipe = %s AND fresh = %s ORDER BY id DESC LIMIT 1",
        (recipe, fresh),
    )
    previous = cursor.fetchone()
    return float(previous[0]) if previous is not None and previous[1] is None else now
