"""The claims in a journal's database, a row each: those of runs and those of parts of batches alike.

Keys are claimed by an insertion, in their order, which waits for whoever is adding or deleting the same key. It is
committed before the answers are looked up: an answer that is not found then can only come from a run that has
claimed its request later.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmframe._journal.liveness import machine
from llmframe._journal.postgres.database import Keys

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from psycopg import Cursor

    from llmframe._journal.liveness import Liveness
    from llmframe._values import Key

BATCH_MACHINE = "batch"
"""The `machine` of an owner that is not a process."""

_ROUNDS = 3
"""How often keys are claimed that were released while they were found to be claimed."""

_OWNERS = "SELECT id, sends, machine, pid, lease FROM llmframe.owner"


@dataclass
class Holders:
    """Who holds keys after an owner has claimed them."""

    own: set[Key] = field(default_factory=set)
    uncertain: set[Key] = field(default_factory=set)
    """Of these, those that an owner which no longer exists may have sent."""
    others: dict[Key, int] = field(default_factory=dict)
    """The owners of the other keys."""


def add(cursor: Cursor, owner: int, keys: Collection[Key]) -> int:
    """Claim the requests that nobody has claimed; return how many those are."""
    cursor.execute(
        "WITH added AS (INSERT INTO llmframe.claim (key, owner, sent) SELECT key, %s, TRUE FROM unnest(%s) AS key "
        "ORDER BY key ON CONFLICT (key) DO NOTHING RETURNING 1) SELECT count(*) FROM added",
        (owner, Keys(keys)),
    )
    return int(cursor.fetchall()[0][0])


def take(cursor: Cursor, owner: int, keys: Sequence[Key], liveness: Liveness, now: float) -> Holders:
    """Claim requests, also those whose owner no longer exists."""
    holders = Holders()
    rest: Collection[Key] = keys
    for _ in range(_ROUNDS):
        found = _claimed(cursor, rest)
        holders.own |= {key for key, holder in found.items() if holder == owner}
        others = {key: holder for key, holder in found.items() if holder != owner}
        ended = _ended_owners(cursor, set(others.values()), liveness, now)
        _take_over(cursor, owner, [key for key, holder in others.items() if holder in ended], ended, holders)
        holders.others.update((key, other) for key, other in others.items() if key not in holders.own)
        rest = [key for key in rest if key not in found]
        if not rest:
            break
        add(cursor, owner, rest)
    holders.others.update(dict.fromkeys(rest, 0))
    if holders.own:
        cursor.execute(
            "UPDATE llmframe.claim SET sent = TRUE WHERE key = ANY(%s) AND owner = %s AND NOT sent",
            (Keys(holders.own), owner),
        )
    return holders


def _claimed(cursor: Cursor, keys: Iterable[Key]) -> dict[Key, int]:
    cursor.execute("SELECT key, owner FROM llmframe.claim WHERE key = ANY(%s)", (Keys(keys),))
    return dict(cursor.fetchall())


def _take_over(
    cursor: Cursor, owner: int, keys: Collection[Key], ended: dict[int, bool], holders: Holders
) -> None:
    if not keys:
        return
    cursor.execute(
        "WITH left_over AS (SELECT key, owner, sent FROM llmframe.claim WHERE key = ANY(%s) AND owner = ANY(%s) "
        "ORDER BY key FOR UPDATE) "
        "UPDATE llmframe.claim SET owner = %s, sent = TRUE FROM left_over WHERE claim.key = left_over.key "
        "RETURNING left_over.key, left_over.owner, left_over.sent",
        (Keys(keys), list(ended), owner),
    )
    for key, holder, sent in cursor.fetchall():
        holders.own.add(key)
        if sent and ended[holder]:
            holders.uncertain.add(key)


def _ended_owners(cursor: Cursor, owners: set[int], liveness: Liveness, now: float) -> dict[int, bool]:
    """Map the owners that no longer exist to whether they may have sent the requests they claimed.

    Their rows stay locked: an owner that renews its lease meanwhile finds its claims taken over, or keeps them.
    """
    if not owners:
        return {}
    cursor.execute(f"{_OWNERS} WHERE id = ANY(%s) ORDER BY id", (list(owners),))
    known = {owner: (process, sends) for owner, sends, *process in cursor.fetchall()}
    alive = {owner for owner, (process, _) in known.items() if liveness.is_alive(owner, *process, now=now)}
    if late := known.keys() - alive:
        cursor.execute(f"{_OWNERS} WHERE id = ANY(%s) ORDER BY id FOR UPDATE", (list(late),))
        alive |= {
            owner for owner, _, *process in cursor.fetchall() if liveness.is_alive(owner, *process, now=now)
        }
    return {owner: known[owner][1] if owner in known else True for owner in owners - alive}


def drop(cursor: Cursor, owner: int, keys: Iterable[Key]) -> None:
    """Delete an owner's claims on these requests, if it has any."""
    cursor.execute(
        "DELETE FROM llmframe.claim WHERE key IN (SELECT key FROM llmframe.claim WHERE key = ANY(%s) AND owner = %s "
        "ORDER BY key FOR UPDATE)",
        (Keys(keys), owner),
    )


def remove_ended(cursor: Cursor, liveness: Liveness, now: float) -> None:
    """Delete the owners that no longer exist; the claims that they leave are free to be taken over."""
    cursor.execute(
        f"{_OWNERS} WHERE lease < %s OR machine = %s ORDER BY id FOR UPDATE SKIP LOCKED", (now, machine())
    )
    ended = {
        owner: sends
        for owner, sends, *process in cursor.fetchall()
        if not liveness.is_alive(owner, *process, now=now)
    }
    unsent = [owner for owner, sends in ended.items() if not sends]
    if unsent:
        cursor.execute("UPDATE llmframe.claim SET sent = FALSE WHERE owner = ANY(%s)", (unsent,))
    if ended:
        remove_owners(cursor, list(ended))


def remove_owners(cursor: Cursor, owners: Sequence[int]) -> None:
    cursor.execute(
        "WITH reports AS (DELETE FROM llmframe.usage_report WHERE owner = ANY(%(owners)s)) "
        "DELETE FROM llmframe.owner WHERE id = ANY(%(owners)s)",
        {"owners": owners},
    )
