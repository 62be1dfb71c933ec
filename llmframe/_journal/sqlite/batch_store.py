"""Parts of batch runs in the journal: what is on its way through the Batch API, so that nothing is paid twice.

A part is entered with its nonce before anything is uploaded, and with its batch's id before anybody
waits for it. From then on its requests are claimed by the part itself, whose claim has no end but
the harvest: processes come and go meanwhile.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from llmframe._journal.sqlite.claims import Flights

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterable, Sequence
    from contextlib import AbstractContextManager

    from llmframe._journal.liveness import Presence
    from llmframe._values import BatchState, Key

    Block: TypeAlias = Callable[[], AbstractContextManager[sqlite3.Connection]]

_PLACE = "batch"
"""Stands for the machine of an owner that is no process."""


@dataclass(frozen=True, slots=True)
class Label:
    """What tells the parts of one call from those of others."""

    recipe: int
    server: str
    model: str
    title: str
    """The columns, as a person calls them."""


class Part(NamedTuple):
    """A part as the journal knows it."""

    nonce: str
    recipe: int
    server: str
    model: str
    title: str
    created: float
    """Seconds since the epoch."""
    file: str | None
    """Id of the uploaded input file."""
    batch: str | None
    """Id of the batch; `None` before it was created, as far as is known."""
    state: str
    """The API's word for the batch's state, or `"intended"`."""
    requests: int
    completed: int
    failed: int
    cost: float | None
    """US dollars of what was harvested; `None` before, and where a price is unknown."""
    open: bool
    """Whether it is still to be harvested."""
    cancelled: bool
    """Whether llmframe was told to cancel it."""


_COLUMNS = ", ".join(Part._fields)


class Parts:
    """The parts of one journal; every method is called on the journal's thread.

    Parameters
    ----------
    transaction, reading
        Give the connection for the length of a block.
    presence
        Tells which runs are still there.
    """

    def __init__(self, transaction: Block, reading: Block, presence: Presence) -> None:
        self._transaction = transaction
        self._reading = reading
        self._presence = presence

    def intend(self, nonce: str, agent: int, label: Label, keys: Sequence[Key]) -> None:
        """Enter a part before it is uploaded, and let it take over the agent's claims on its requests."""
        with self._transaction() as connection:
            owner = _enter(connection, nonce, agent, label, len(keys))
            claimed = Flights().claimed(connection, keys)
            Flights().leave(connection, agent, keys)
            _claim(connection, [key for key in keys if claimed.get(key) == agent], owner)

    def adopt(self, nonce: str, label: Label, state: BatchState, keys: Sequence[Key]) -> None:
        """Enter a part that another journal sent; it claims what nobody has who is still there."""
        with self._transaction() as connection:
            if connection.execute("SELECT 1 FROM part WHERE nonce = ?", (nonce,)).fetchone():
                return
            owner = _enter(connection, nonce, 0, label, state.total or len(keys))
            connection.execute(
                "UPDATE part SET batch = ?, file = ?, created = ?, state = ? WHERE nonce = ?",
                (state.id, state.input_file, state.created, state.status, nonce),
            )
            holders = Flights().claimed(connection, keys)
            there = {holder for holder in set(holders.values()) if self._at_work(connection, holder)}
            free = [key for key in keys if holders.get(key) not in there]
            for holder in set(holders.values()) - there:
                Flights().leave(connection, holder, free)
            _claim(connection, free, owner)

    def uploaded(self, nonce: str, file: str) -> None:
        """Keep the id of the input file."""
        self._update(nonce, "file = ?", file)

    def submitted(self, nonce: str, batch: str) -> None:
        """Keep the id of the batch."""
        self._update(nonce, "batch = ?", batch)

    def again(self, nonce: str, anew: str) -> None:
        """Turn a part whose batch was refused into one that is still to be submitted, from the same file."""
        self._update(nonce, "batch = NULL, state = 'intended', nonce = ?", anew)

    def stands(self, nonce: str, state: BatchState) -> None:
        """Keep how far a batch is."""
        self._update(
            nonce, "state = ?, completed = ?, failed = ?", state.status, state.completed, state.failed
        )

    def cancelled(self, nonce: str) -> None:
        """Keep that its rows are not wanted any more."""
        self._update(nonce, "cancelled = 1")

    def leave(self, nonce: str) -> None:
        """Let others submit or harvest it: whoever did is through with that."""
        self._update(nonce, "agent = 0")

    def _update(self, nonce: str, what: str, *values: object) -> None:
        with self._transaction() as connection:
            connection.execute(f"UPDATE part SET {what} WHERE nonce = ?", (*values, nonce))  # noqa: S608

    def seize(self, nonce: str, agent: int) -> bool:
        """Take it on oneself to harvest; false while another does, or when it has been done."""
        with self._transaction() as connection:
            row = connection.execute("SELECT open, agent FROM part WHERE nonce = ?", (nonce,)).fetchone()
            if row is None or not row[0] or (row[1] != agent and self._at_work(connection, row[1])):
                return False
            connection.execute("UPDATE part SET agent = ? WHERE nonce = ?", (agent, nonce))
        return True

    def close(self, nonce: str, cost: float | None) -> None:
        """Mark a part as harvested, and give up its claims."""
        with self._transaction() as connection:
            connection.execute("UPDATE part SET open = 0, agent = 0, cost = ? WHERE nonce = ?", (cost, nonce))
            _release(connection, nonce)

    def drop(self, nonce: str) -> None:
        """Forget a part that never became a batch, and give up its claims."""
        with self._transaction() as connection:
            _release(connection, nonce)
            connection.execute("DELETE FROM part WHERE nonce = ?", (nonce,))

    def known(self, *, only_open: bool = False) -> list[Part]:
        """List parts, oldest first."""
        return self._select("WHERE open ORDER BY id" if only_open else "ORDER BY id")

    def get(self, nonce: str) -> Part:
        return self._select("WHERE nonce = ?", nonce)[0]

    def find(self, nonce: str) -> Part | None:
        return next(iter(self._select("WHERE nonce = ?", nonce)), None)

    def find_batch(self, batch: str) -> Part | None:
        return next(iter(self._select("WHERE batch = ?", batch)), None)

    def _select(self, which: str, *values: object) -> list[Part]:
        with self._reading() as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM part {which}", values).fetchall()  # noqa: S608
        return [Part(*row)._replace(open=bool(row[-2]), cancelled=bool(row[-1])) for row in rows]

    def keys(self, nonce: str) -> list[Key]:
        """Give the requests that a part has claimed."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT key FROM claim WHERE owner = (SELECT owner FROM part WHERE nonce = ?)", (nonce,)
            ).fetchall()
        return [key for (key,) in rows]

    def _at_work(self, connection: sqlite3.Connection, agent: int) -> bool:
        row = connection.execute("SELECT machine, pid, lease FROM owner WHERE id = ?", (agent,)).fetchone()
        return row is not None and self._presence.there(agent, *row)

    def of_owners(self, owners: Collection[int]) -> list[str]:
        """Name the parts behind these owners of claims."""
        if not owners:
            return []
        marks = ",".join("?" for _ in owners)
        with self._reading() as connection:
            rows = connection.execute(
                f"SELECT nonce FROM part WHERE owner IN ({marks})",  # noqa: S608
                tuple(owners),
            ).fetchall()
        return [nonce for (nonce,) in rows]


def _enter(connection: sqlite3.Connection, nonce: str, agent: int, label: Label, requests: int) -> int:
    owner = connection.execute(
        "INSERT INTO owner (machine, pid, lease) VALUES (?, 0, ?)", (_PLACE, inf)
    ).lastrowid
    connection.execute(
        "INSERT INTO part (nonce, owner, agent, recipe, server, model, title, created, state, requests, "
        "completed, failed, open, cancelled) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'intended', ?, 0, 0, 1, 0)",
        (nonce, owner, agent, label.recipe, label.server, label.model, label.title, time.time(), requests),
    )
    return owner or 0


def _claim(connection: sqlite3.Connection, keys: Iterable[Key], owner: int) -> None:
    rows = ((key, owner) for key in keys)
    connection.executemany("INSERT OR IGNORE INTO claim (key, owner) VALUES (?, ?)", rows)


def _release(connection: sqlite3.Connection, nonce: str) -> None:
    for (owner,) in connection.execute("SELECT owner FROM part WHERE nonce = ?", (nonce,)).fetchall():
        connection.execute("DELETE FROM claim WHERE owner = ?", (owner,))
        connection.execute("DELETE FROM owner WHERE id = ?", (owner,))
