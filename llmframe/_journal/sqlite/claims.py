"""The claims in a journal's file: those of runs packed into blocks, those of parts of batches in one row each.

Claims of runs are added and released with every request, and a B-tree entry for each would cost more than the entry
of the answer. Those of parts stay for hours, and there may be millions.
"""

from __future__ import annotations

import time
from itertools import chain
from struct import iter_unpack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from llmframe._journal.liveness import Liveness
    from llmframe._values import Key

_KEY_BYTES = 16
_KEY = f"{_KEY_BYTES}s"


class RequestClaims:
    """The claims of runs, with a cache of the blocks read so far: a block keeps its number, and only shrinks.

    After a failed transaction the cache must be cleared (`forget`).
    """

    def __init__(self) -> None:
        self._read: dict[tuple[int, int], frozenset[Key]] = {}

    def claimed(self, connection: sqlite3.Connection, keys: Iterable[Key], *, but: int = 0) -> dict[Key, int]:
        """Map the requests that runs have claimed, except the run `but`, to their owners."""
        requested = frozenset(keys)
        found: dict[Key, int] = {}
        known, self._read = self._read, {}
        blocks = connection.execute("SELECT id, length(keys), owner FROM claim").fetchall()
        for block, size, owner in blocks:
            cached = known.get((block, size))
            if owner != but:
                cached = cached or _keys(connection, block)
                found.update(dict.fromkeys(requested & cached, owner))
            if cached is not None:
                self._read[block, size] = cached
        return found

    def forget(self) -> None:
        self._read.clear()

    def add(
        self, connection: sqlite3.Connection, owner: int, keys: Collection[Key], *, sent: bool = True
    ) -> None:
        """Claim requests that no other run has claimed, and that may have been sent unless `sent` is false."""
        if keys:
            packed = b"".join(keys)
            block = connection.execute(
                "INSERT INTO claim (owner, keys, sent) VALUES (?, ?, ?)", (owner, packed, sent)
            ).lastrowid
            self._read[block or 0, len(packed)] = frozenset(keys)

    def drop(self, connection: sqlite3.Connection, owner: int, keys: Iterable[Key]) -> set[Key]:
        """Delete an owner's claims on these requests, if it has any; return those that may have been sent."""
        dropped = frozenset(keys)
        uncertain: set[Key] = set()
        blocks = connection.execute(
            "SELECT id, length(keys), sent FROM claim WHERE owner = ?", (owner,)
        ).fetchall()
        for block, size, sent in blocks:
            cached = self._read.pop((block, size), None) or _keys(connection, block)
            left = cached - dropped
            if sent and len(left) < len(cached):
                uncertain |= cached & dropped
            if not left:
                connection.execute("DELETE FROM claim WHERE id = ?", (block,))
                continue
            if len(left) < len(cached):
                connection.execute("UPDATE claim SET keys = ? WHERE id = ?", (b"".join(left), block))
            self._read[block, len(left) * _KEY_BYTES] = left
        return uncertain


def _keys(connection: sqlite3.Connection, block: int) -> frozenset[Key]:
    packed = connection.execute("SELECT keys FROM claim WHERE id = ?", (block,)).fetchone()[0]
    return frozenset(_unpacked(packed))


def _unpacked(packed: bytes) -> Iterator[Key]:
    return chain.from_iterable(iter_unpack(_KEY, packed))


_VARIABLES = 500


def claimed_by_parts(connection: sqlite3.Connection, keys: Sequence[Key]) -> dict[Key, int]:
    """Map the requests that parts of batches have claimed to the owners of these parts."""
    owners: dict[Key, int] = {}
    if connection.execute("SELECT 1 FROM part_claim LIMIT 1").fetchone() is None:
        return owners
    for start in range(0, len(keys), _VARIABLES):
        chunk = keys[start : start + _VARIABLES]
        owners.update(
            connection.execute(f"SELECT key, owner FROM part_claim WHERE key IN ({marks(chunk)})", chunk)  # noqa: S608
        )
    return owners


def add_part_claims(connection: sqlite3.Connection, keys: Iterable[Key], owner: int) -> None:
    rows = ((key, owner) for key in keys)
    connection.executemany("INSERT OR IGNORE INTO part_claim (key, owner) VALUES (?, ?)", rows)


def ended_owners(connection: sqlite3.Connection, owners: set[int], liveness: Liveness) -> dict[int, bool]:
    """Map the owners that no longer exist to whether they may have sent the requests they claimed.

    Such an owner is unknown, or its lease has expired (some time ago, if it runs on this machine), or its process
    on this machine has ended.
    """
    if not owners:
        return {}
    known = {
        owner: (tuple(process), bool(sends))
        for owner, sends, *process in connection.execute(
            f"SELECT id, sends, machine, pid, lease FROM owner WHERE id IN ({marks(owners)})",  # noqa: S608
            tuple(owners),
        )
    }
    alive = {
        owner for owner, (process, _) in known.items() if liveness.is_alive(owner, *process, now=time.time())
    }
    return {owner: known[owner][1] if owner in known else True for owner in owners - alive}


def remove_ended(connection: sqlite3.Connection, liveness: Liveness) -> None:
    """Delete the owners that no longer exist; the claims that they leave are free to be taken over."""
    rows = connection.execute("SELECT id, sends, machine, pid, lease FROM owner").fetchall()
    for owner, sends, *process in rows:
        if not liveness.is_alive(owner, *process, now=time.time()):
            if not sends:
                connection.execute("UPDATE claim SET sent = 0 WHERE owner = ?", (owner,))
            remove_owner(connection, owner)


def remove_owner(connection: sqlite3.Connection, owner: int) -> None:
    connection.execute("DELETE FROM owner WHERE id = ?", (owner,))
    connection.execute("DELETE FROM usage_report WHERE owner = ?", (owner,))


def marks(values: Iterable[object]) -> str:
    """Return a question mark for each value."""
    return ",".join("?" for _ in values)
