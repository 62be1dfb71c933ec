"""What is claimed in a journal's file: by runs, packed into blocks, and by parts of batches, an entry each.

The claims of runs come and go with every request, and an entry each in a B-tree costs more than the answer's own.
Those of parts stay for hours and may be millions.
"""

from __future__ import annotations

from itertools import chain
from struct import iter_unpack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from llmframe._journal.liveness import Liveness
    from llmframe._values import Key

_KEY_BYTES = 16
_KEY = f"{_KEY_BYTES}s"


class RequestClaims:
    """The claims of runs, as far as they have been read: a block keeps its number, and only shrinks.

    What was written in a transaction that failed must be forgotten.
    """

    def __init__(self) -> None:
        self._read: dict[tuple[int, int], frozenset[Key]] = {}

    def claimed(self, connection: sqlite3.Connection, keys: Iterable[Key], *, but: int = 0) -> dict[Key, int]:
        """Map those of the requests that runs have claimed, except one run, to their owners."""
        wanted = frozenset(keys)
        found: dict[Key, int] = {}
        known, self._read = self._read, {}
        blocks = connection.execute("SELECT id, length(keys), owner FROM claim").fetchall()
        for block, size, owner in blocks:
            there = known.get((block, size))
            if owner != but:
                there = there or _keys(connection, block)
                found.update(dict.fromkeys(wanted & there, owner))
            if there is not None:
                self._read[block, size] = there
        return found

    def forget(self) -> None:
        self._read.clear()

    def add(self, connection: sqlite3.Connection, owner: int, keys: Sequence[Key]) -> None:
        """Claim requests that nobody else has claimed."""
        if keys:
            packed = b"".join(keys)
            block = connection.execute(
                "INSERT INTO claim (owner, keys) VALUES (?, ?)", (owner, packed)
            ).lastrowid
            self._read[block or 0, len(packed)] = frozenset(keys)

    def drop(self, connection: sqlite3.Connection, owner: int, keys: Iterable[Key]) -> None:
        """Drop an owner's claims on these requests, as far as it has any."""
        gone = frozenset(keys)
        blocks = connection.execute("SELECT id, length(keys) FROM claim WHERE owner = ?", (owner,)).fetchall()
        for block, size in blocks:
            there = self._read.pop((block, size), None) or _keys(connection, block)
            left = there - gone
            if not left:
                connection.execute("DELETE FROM claim WHERE id = ?", (block,))
                continue
            if len(left) < len(there):
                connection.execute("UPDATE claim SET keys = ? WHERE id = ?", (b"".join(left), block))
            self._read[block, len(left) * _KEY_BYTES] = left


def _keys(connection: sqlite3.Connection, block: int) -> frozenset[Key]:
    packed = connection.execute("SELECT keys FROM claim WHERE id = ?", (block,)).fetchone()[0]
    return frozenset(_unpacked(packed))


def _unpacked(packed: bytes) -> Iterator[Key]:
    return chain.from_iterable(iter_unpack(_KEY, packed))


_VARIABLES = 500


def claimed_by_parts(connection: sqlite3.Connection, keys: Sequence[Key]) -> dict[Key, int]:
    """Map those of the requests that parts of batches have claimed to these parts' owners."""
    owners: dict[Key, int] = {}
    if connection.execute("SELECT 1 FROM part_claim LIMIT 1").fetchone() is None:
        return owners
    for start in range(0, len(keys), _VARIABLES):
        some = keys[start : start + _VARIABLES]
        owners.update(
            connection.execute(f"SELECT key, owner FROM part_claim WHERE key IN ({marks(some)})", some)  # noqa: S608
        )
    return owners


def add_part_claims(connection: sqlite3.Connection, keys: Iterable[Key], owner: int) -> None:
    rows = ((key, owner) for key in keys)
    connection.executemany("INSERT OR IGNORE INTO part_claim (key, owner) VALUES (?, ?)", rows)


def vanished(connection: sqlite3.Connection, owners: set[int], liveness: Liveness) -> dict[int, bool]:
    """Tell which owners are gone, and whether they may have sent what they claimed.

    Gone is an owner that is unknown, whose lease is over (for a while, if it runs here), or whose process, on this
    machine, exists no more.
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
    alive = {owner for owner, (process, _) in known.items() if liveness.is_alive(owner, *process)}
    return {owner: known[owner][1] if owner in known else True for owner in owners - alive}


def marks(values: Iterable[object]) -> str:
    """Write a question mark for each value."""
    return ",".join("?" for _ in values)
