"""The parts of batch runs in a journal's database."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from llmframe._journal.postgres.claims import BATCH_MACHINE, add, take
from llmframe._journal.postgres.database import Keys
from llmframe._journal.postgres.thread import on_thread
from llmframe._journal.protocol import BatchPart, PartLabel

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from psycopg import Cursor

    from llmframe._journal.liveness import Liveness
    from llmframe._journal.postgres.database import Database
    from llmframe._values import BatchState, Key

_COLUMNS = ", ".join(BatchPart._fields)


class PostgresBatchStore:
    def __init__(self, database: Database, liveness: Liveness) -> None:
        self._database = database
        self._liveness = liveness

    @on_thread
    def add_intent(self, nonce: str, owner: int, label: PartLabel, keys: Sequence[Key]) -> None:
        def work(cursor: Cursor, now: float) -> None:
            part_owner = _insert_part(cursor, nonce, owner, label, requests=len(keys), now=now)
            cursor.execute(
                "UPDATE llmframe.claim SET owner = %s WHERE key = ANY(%s) AND owner = %s",
                (part_owner, Keys(keys), owner),
            )

        self._database.transaction(work)

    @on_thread
    def adopt(self, nonce: str, label: PartLabel, state: BatchState, keys: Sequence[Key]) -> None:
        def work(cursor: Cursor, now: float) -> None:
            cursor.execute("SELECT 1 FROM llmframe.batch_part WHERE nonce = %s", (nonce,))
            if cursor.fetchone():
                return
            owner = _insert_part(cursor, nonce, 0, label, requests=state.total or len(keys), now=now)
            cursor.execute(
                "UPDATE llmframe.batch_part SET batch = %s, file = %s, created = %s, state = %s WHERE nonce = %s",
                (state.id, state.input_file, state.created, state.status, nonce),
            )
            if add(cursor, owner, keys) < len(keys):
                take(cursor, owner, keys, self._liveness, now)

        self._database.transaction(work)

    @on_thread
    def set_file(self, nonce: str, file: str) -> None:
        self._update(nonce, "file = %s", file)

    @on_thread
    def set_batch(self, nonce: str, batch: str) -> None:
        self._update(nonce, "batch = %s", batch)

    @on_thread
    def set_state(self, nonce: str, state: BatchState) -> None:
        self._update(
            nonce, "state = %s, completed = %s, failed = %s", state.status, state.completed, state.failed
        )

    @on_thread
    def reset_intent(self, nonce: str, new_nonce: str) -> None:
        self._update(nonce, "batch = NULL, state = 'intended', nonce = %s", new_nonce)

    @on_thread
    def mark_cancelled(self, nonce: str) -> None:
        self._update(nonce, "cancelled = TRUE")

    @on_thread
    def release_part(self, nonce: str) -> None:
        self._update(nonce, "leased_to = 0")

    def _update(self, nonce: str, assignments: str, *values: object) -> None:
        update = f"UPDATE llmframe.batch_part SET {assignments} WHERE nonce = %s"  # noqa: S608
        self._database.run(lambda cursor: cursor.execute(update, (*values, nonce)))

    @on_thread
    def acquire_part(self, nonce: str, owner: int) -> bool:
        def work(cursor: Cursor, now: float) -> bool:
            cursor.execute(
                "SELECT open, leased_to FROM llmframe.batch_part WHERE nonce = %s FOR UPDATE", (nonce,)
            )
            row = cursor.fetchone()
            if row is None or not row[0] or (row[1] != owner and self._is_alive(cursor, row[1], now)):
                return False
            cursor.execute("UPDATE llmframe.batch_part SET leased_to = %s WHERE nonce = %s", (owner, nonce))
            return True

        return self._database.transaction(work)

    @on_thread
    def close_part(self, nonce: str, cost: float | None) -> None:
        def work(cursor: Cursor, _: float) -> None:
            cursor.execute(
                "UPDATE llmframe.batch_part SET open = FALSE, leased_to = 0, cost = %s WHERE nonce = %s",
                (cost, nonce),
            )
            _drop_claims(cursor, nonce)

        self._database.transaction(work)

    @on_thread
    def delete_part(self, nonce: str) -> None:
        def work(cursor: Cursor, _: float) -> None:
            _drop_claims(cursor, nonce)
            cursor.execute("DELETE FROM llmframe.batch_part WHERE nonce = %s", (nonce,))

        self._database.transaction(work)

    @on_thread
    def list_parts(self, *, only_open: bool = False) -> list[BatchPart]:
        return self._select("WHERE open ORDER BY id" if only_open else "ORDER BY id")

    @on_thread
    def find_part(self, nonce: str) -> BatchPart | None:
        return next(iter(self._select("WHERE nonce = %s", nonce)), None)

    @on_thread
    def find_batch(self, batch: str) -> BatchPart | None:
        return next(iter(self._select("WHERE batch = %s", batch)), None)

    def _select(self, condition: str, *values: object) -> list[BatchPart]:
        select = f"SELECT {_COLUMNS} FROM llmframe.batch_part {condition}"  # noqa: S608
        rows = self._database.run(lambda cursor: cursor.execute(select, values).fetchall())
        return [BatchPart(*row) for row in rows]

    @on_thread
    def parts_with(self, keys: Sequence[Key]) -> set[str]:
        select = (
            "SELECT DISTINCT nonce FROM llmframe.batch_part JOIN llmframe.claim ON claim.owner = batch_part.owner "
            "WHERE key = ANY(%s)"
        )
        rows = self._database.run(lambda cursor: cursor.execute(select, (Keys(keys),)).fetchall())
        return {nonce for (nonce,) in rows}

    @on_thread
    def claimed(self, keys: Sequence[Key]) -> set[Key]:
        select = "SELECT key FROM llmframe.claim JOIN llmframe.batch_part ON claim.owner = batch_part.owner WHERE key = ANY(%s)"
        rows = self._database.run(lambda cursor: cursor.execute(select, (Keys(keys),)).fetchall())
        return {key for (key,) in rows}

    def _is_alive(self, cursor: Cursor, owner: int, now: float) -> bool:
        cursor.execute("SELECT machine, pid, lease FROM llmframe.owner WHERE id = %s", (owner,))
        row = cursor.fetchone()
        return row is not None and self._liveness.is_alive(owner, *row, now=now)


def nonces_of(cursor: Cursor, owners: Collection[int]) -> list[str]:
    """Return the nonces of the parts that are these owners of claims."""
    cursor.execute("SELECT nonce FROM llmframe.batch_part WHERE owner = ANY(%s)", (list(owners),))
    return [nonce for (nonce,) in cursor.fetchall()]


def _insert_part(
    cursor: Cursor, nonce: str, holder: int, label: PartLabel, *, requests: int, now: float
) -> int:
    """Add a part, and return the owner of its claims; that of a part which is there already is the same."""
    cursor.execute("SELECT owner FROM llmframe.batch_part WHERE nonce = %s", (nonce,))
    for (owner,) in cursor.fetchall():
        return int(owner)
    cursor.execute(
        "INSERT INTO llmframe.owner (machine, pid, lease) VALUES (%s, 0, %s) RETURNING id",
        (BATCH_MACHINE, inf),
    )
    owner = int(cursor.fetchall()[0][0])
    cursor.execute(
        "INSERT INTO llmframe.batch_part (nonce, owner, leased_to, recipe, server, model, title, created, state, "
        "requests, completed, failed, open, cancelled) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 'intended', %s, 0, 0, TRUE, FALSE)",
        (nonce, owner, holder, label.recipe, label.server, label.model, label.title, now, requests),
    )
    return owner


def _drop_claims(cursor: Cursor, nonce: str) -> None:
    cursor.execute("SELECT owner FROM llmframe.batch_part WHERE nonce = %s", (nonce,))
    owners = [owner for (owner,) in cursor.fetchall()]
    cursor.execute("DELETE FROM llmframe.claim WHERE owner = ANY(%s)", (owners,))
    cursor.execute("DELETE FROM llmframe.owner WHERE id = ANY(%s)", (owners,))
