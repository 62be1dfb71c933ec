"""The parts of batch runs in a journal's file."""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING

from llmframe._journal.protocol import BatchPart, PartLabel
from llmframe._journal.sqlite.claims import RequestClaims, add_part_claims, claimed_by_parts, marks
from llmframe._journal.sqlite.thread import on_thread

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence

    from llmframe._journal.liveness import Liveness
    from llmframe._journal.sqlite.database import Database
    from llmframe._values import BatchState, Key

_BATCH_MACHINE = "batch"
"""The `machine` of an owner that is not a process."""

_COLUMNS = ", ".join(BatchPart._fields)


class SqliteBatchStore:
    def __init__(self, database: Database, liveness: Liveness) -> None:
        self._database = database
        self._liveness = liveness

    @on_thread
    def add_intent(self, nonce: str, owner: int, label: PartLabel, keys: Sequence[Key]) -> None:
        with self._database.transaction() as connection:
            part_owner = _insert_part(connection, nonce, owner, label, len(keys))
            claimed = RequestClaims().claimed(connection, keys)
            RequestClaims().drop(connection, owner, keys)
            add_part_claims(connection, [key for key in keys if claimed.get(key) == owner], part_owner)

    @on_thread
    def adopt(self, nonce: str, label: PartLabel, state: BatchState, keys: Sequence[Key]) -> None:
        with self._database.transaction() as connection:
            if connection.execute("SELECT 1 FROM batch_part WHERE nonce = ?", (nonce,)).fetchone():
                return
            owner = _insert_part(connection, nonce, 0, label, state.total or len(keys))
            connection.execute(
                "UPDATE batch_part SET batch = ?, file = ?, created = ?, state = ? WHERE nonce = ?",
                (state.id, state.input_file, state.created, state.status, nonce),
            )
            holders = RequestClaims().claimed(connection, keys)
            alive = {holder for holder in set(holders.values()) if self._is_alive(connection, holder)}
            free = [key for key in keys if holders.get(key) not in alive]
            for holder in set(holders.values()) - alive:
                RequestClaims().drop(connection, holder, free)
            add_part_claims(connection, free, owner)

    @on_thread
    def set_file(self, nonce: str, file: str) -> None:
        self._update(nonce, "file = ?", file)

    @on_thread
    def set_batch(self, nonce: str, batch: str) -> None:
        self._update(nonce, "batch = ?", batch)

    @on_thread
    def set_state(self, nonce: str, state: BatchState) -> None:
        self._update(
            nonce, "state = ?, completed = ?, failed = ?", state.status, state.completed, state.failed
        )

    @on_thread
    def reset_intent(self, nonce: str, new_nonce: str) -> None:
        self._update(nonce, "batch = NULL, state = 'intended', nonce = ?", new_nonce)

    @on_thread
    def mark_cancelled(self, nonce: str) -> None:
        self._update(nonce, "cancelled = 1")

    @on_thread
    def release_part(self, nonce: str) -> None:
        self._update(nonce, "leased_to = 0")

    def _update(self, nonce: str, assignments: str, *values: object) -> None:
        with self._database.transaction() as connection:
            connection.execute(f"UPDATE batch_part SET {assignments} WHERE nonce = ?", (*values, nonce))  # noqa: S608

    @on_thread
    def acquire_part(self, nonce: str, owner: int) -> bool:
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT open, leased_to FROM batch_part WHERE nonce = ?", (nonce,)
            ).fetchone()
            if row is None or not row[0] or (row[1] != owner and self._is_alive(connection, row[1])):
                return False
            connection.execute("UPDATE batch_part SET leased_to = ? WHERE nonce = ?", (owner, nonce))
        return True

    @on_thread
    def close_part(self, nonce: str, cost: float | None) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE batch_part SET open = 0, leased_to = 0, cost = ? WHERE nonce = ?", (cost, nonce)
            )
            _drop_claims(connection, nonce)

    @on_thread
    def delete_part(self, nonce: str) -> None:
        with self._database.transaction() as connection:
            _drop_claims(connection, nonce)
            connection.execute("DELETE FROM batch_part WHERE nonce = ?", (nonce,))

    @on_thread
    def list_parts(self, *, only_open: bool = False) -> list[BatchPart]:
        return self._select("WHERE open ORDER BY id" if only_open else "ORDER BY id")

    @on_thread
    def find_part(self, nonce: str) -> BatchPart | None:
        return next(iter(self._select("WHERE nonce = ?", nonce)), None)

    @on_thread
    def find_batch(self, batch: str) -> BatchPart | None:
        return next(iter(self._select("WHERE batch = ?", batch)), None)

    def _select(self, condition: str, *values: object) -> list[BatchPart]:
        with self._database.outside("read") as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM batch_part {condition}", values).fetchall()  # noqa: S608
        return [BatchPart(*row)._replace(open=bool(row[-2]), cancelled=bool(row[-1])) for row in rows]

    @on_thread
    def parts_with(self, keys: Sequence[Key]) -> set[str]:
        with self._database.outside("read") as connection:
            return set(nonces_of(connection, set(claimed_by_parts(connection, keys).values())))

    @on_thread
    def claimed(self, keys: Sequence[Key]) -> set[Key]:
        with self._database.outside("read") as connection:
            return set(claimed_by_parts(connection, keys))

    def _is_alive(self, connection: sqlite3.Connection, owner: int) -> bool:
        row = connection.execute("SELECT machine, pid, lease FROM owner WHERE id = ?", (owner,)).fetchone()
        return row is not None and self._liveness.is_alive(owner, *row, now=time.time())


def nonces_of(connection: sqlite3.Connection, owners: Collection[int]) -> list[str]:
    """Return the nonces of the parts that are these owners of claims."""
    if not owners:
        return []
    rows = connection.execute(
        f"SELECT nonce FROM batch_part WHERE owner IN ({marks(owners)})",  # noqa: S608
        tuple(owners),
    )
    return [nonce for (nonce,) in rows]


def _insert_part(
    connection: sqlite3.Connection, nonce: str, holder: int, label: PartLabel, requests: int
) -> int:
    owner = connection.execute(
        "INSERT INTO owner (machine, pid, lease) VALUES (?, 0, ?)", (_BATCH_MACHINE, inf)
    ).lastrowid
    connection.execute(
        "INSERT INTO batch_part (nonce, owner, leased_to, recipe, server, model, title, created, state, requests, "
        "completed, failed, open, cancelled) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'intended', ?, 0, 0, 1, 0)",
        (nonce, owner, holder, label.recipe, label.server, label.model, label.title, time.time(), requests),
    )
    return owner or 0


def _drop_claims(connection: sqlite3.Connection, nonce: str) -> None:
    for (owner,) in connection.execute("SELECT owner FROM batch_part WHERE nonce = ?", (nonce,)).fetchall():
        connection.execute("DELETE FROM part_claim WHERE owner = ?", (owner,))
        connection.execute("DELETE FROM owner WHERE id = ?", (owner,))
