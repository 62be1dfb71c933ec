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

    from llmframe._records import Key

_KEY = "16s"


def enter(connection: sqlite3.Connection, owner: int, keys: Sequence[Key]) -> None:
    """Claim requests that nobody else has claimed."""
    if keys:
        connection.execute("INSERT INTO flight (owner, keys) VALUES (?, ?)", (owner, b"".join(keys)))


def leave(connection: sqlite3.Connection, owner: int, keys: Iterable[Key]) -> None:
    """Give up an owner's claims on these requests, as far as it has any."""
    gone = frozenset(keys)
    blocks = connection.execute("SELECT id, keys FROM flight WHERE owner = ?", (owner,)).fetchall()
    for block, packed in blocks:
        left = b"".join(frozenset(_unpacked(packed)) - gone)
        if not left:
            connection.execute("DELETE FROM flight WHERE id = ?", (block,))
        elif len(left) < len(packed):
            connection.execute("UPDATE flight SET keys = ? WHERE id = ?", (left, block))


class Flights:
    """Who has claimed what, as far as it was read: a block's number is its own for ever, and it only shrinks."""

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


def _keys(connection: sqlite3.Connection, block: int) -> frozenset[Key]:
    packed = connection.execute("SELECT keys FROM flight WHERE id = ?", (block,)).fetchone()[0]
    return frozenset(_unpacked(packed))


def _unpacked(packed: bytes) -> Iterator[Key]:
    return chain.from_iterable(iter_unpack(_KEY, packed))
