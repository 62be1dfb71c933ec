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
    """Claim requests that nobody has claimed, nor the owner itself."""
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


def claimed_by_runs(connection: sqlite3.Connection, keys: Iterable[Key], *, but: int = 0) -> dict[Key, int]:
    """Map those of the requests that runs have claimed, except one run, to these."""
    wanted, found = frozenset(keys), {}
    for owner, packed in connection.execute("SELECT owner, keys FROM flight WHERE owner <> ?", (but,)):
        found.update(dict.fromkeys(wanted.intersection(_unpacked(packed)), owner))
    return found


def _unpacked(packed: bytes) -> Iterator[Key]:
    return chain.from_iterable(iter_unpack(_KEY, packed))
