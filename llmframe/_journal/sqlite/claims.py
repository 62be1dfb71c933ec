"""What runs are asking right now, so that nobody asks it too: a few packed values for each run.

These claims come and go with every request, and an entry each in a B-tree costs more than the answer's own. What
the parts of batches have claimed stays for hours and may be millions: that has an entry each.
"""

from __future__ import annotations

from itertools import chain
from struct import iter_unpack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from llmframe._values import Key

_KEY_BYTES = 16
_KEY = f"{_KEY_BYTES}s"


class Flights:
    """Who has claimed what, as far as it is known: a block's number is its own for ever, and it only shrinks.

    What was written in a transaction that did not come about is to be forgotten.
    """

    def __init__(self) -> None:
        self._read: dict[tuple[int, int], frozenset[Key]] = {}

    def claimed(self, connection: sqlite3.Connection, keys: Iterable[Key], *, but: int = 0) -> dict[Key, int]:
        """Map those of the requests that runs have claimed, except one run, to these."""
        wanted = frozenset(keys)
        found: dict[Key, int] = {}
        known, self._read = self._read, {}
        blocks = connection.execute("SELECT id, length(keys), owner FROM flight").fetchall()
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

    def enter(self, connection: sqlite3.Connection, owner: int, keys: Sequence[Key]) -> None:
        """Claim requests that nobody else has claimed."""
        if keys:
            packed = b"".join(keys)
            block = connection.execute(
                "INSERT INTO flight (owner, keys) VALUES (?, ?)", (owner, packed)
            ).lastrowid
            self._read[block or 0, len(packed)] = frozenset(keys)

    def leave(self, connection: sqlite3.Connection, owner: int, keys: Iterable[Key]) -> None:
        """Give up an owner's claims on these requests, as far as it has any."""
        gone = frozenset(keys)
        blocks = connection.execute(
            "SELECT id, length(keys) FROM flight WHERE owner = ?", (owner,)
        ).fetchall()
        for block, size in blocks:
            there = self._read.pop((block, size), None) or _keys(connection, block)
            left = there - gone
            if not left:
                connection.execute("DELETE FROM flight WHERE id = ?", (block,))
                continue
            if len(left) < len(there):
                connection.execute("UPDATE flight SET keys = ? WHERE id = ?", (b"".join(left), block))
            self._read[block, len(left) * _KEY_BYTES] = left


def _keys(connection: sqlite3.Connection, block: int) -> frozenset[Key]:
    packed = connection.execute("SELECT keys FROM flight WHERE id = ?", (block,)).fetchone()[0]
    return frozenset(_unpacked(packed))


def _unpacked(packed: bytes) -> Iterator[Key]:
    return chain.from_iterable(iter_unpack(_KEY, packed))
