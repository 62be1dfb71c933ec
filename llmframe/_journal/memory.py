"""The journal of `journal=False`: claims and parts of batches in memory, and no answers."""

from __future__ import annotations

import time
from itertools import count
from typing import TYPE_CHECKING, Any

from llmframe._journal.protocol import BatchPart, ClaimResult, PartLabel, Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from llmframe._journal.protocol import Judge, PricedAnswer, StoredAnswer
    from llmframe._values import BatchState, Key, UsageReport


class MemoryJournal:
    """Knows who is asking what, for as long as it exists, and keeps no answer."""

    place = "memory"

    def __init__(self) -> None:
        self._numbers = count(1)
        self._recipes: dict[bytes, int] = {}
        self._claims: dict[Key, int] = {}
        self._owners: set[int] = set()
        self._reports: dict[tuple[bytes, int], UsageReport] = {}
        self.batches = MemoryBatchStore(self._claims, self._owners)

    async def begin(
        self,
        digest: bytes,
        description: Mapping[str, Any],
        *,
        fresh: bytes = b"",
        sends: bool = True,  # noqa: ARG002 (an owner here does not vanish)
    ) -> Session:
        now, owner = time.time(), next(self._numbers)
        self._owners.add(owner)
        recipe = await self.add_recipe(digest, description)
        return Session(recipe, owner, owner, now if fresh else 0.0, began=now, digest=digest)

    async def add_recipe(self, digest: bytes, description: Mapping[str, Any]) -> int:  # noqa: ARG002
        return self._recipes.setdefault(digest, len(self._recipes) + 1)

    async def lookup(self, session: Session, keys: Sequence[Key]) -> list[StoredAnswer]:  # noqa: ARG002
        return []

    async def claim(
        self,
        session: Session,
        keys: Sequence[Key],
        *,
        is_failure: Callable[[bytes], bool] | None = None,  # noqa: ARG002 (there are no bodies to judge)
        looked_up: bool = False,  # noqa: ARG002
    ) -> ClaimResult:
        claims, mine = self._claims, session.owner
        parts = await self.batches.parts_with(keys)
        in_parts = self.batches.keys_of(parts)
        held = [key for key in keys if key in in_parts or claims.get(key, mine) != mine]
        taken = frozenset(held)
        granted = [key for key in keys if key not in taken] if taken else keys
        claims.update(dict.fromkeys(granted, mine))
        return ClaimResult(granted, (), held, 0, sorted(parts))

    async def record(
        self, session: Session, answers: Sequence[PricedAnswer], released: Sequence[Key]
    ) -> None:
        for answer, _ in answers:
            self._drop(answer.key, session.owner)
        for key in released:
            self._drop(key, session.owner)

    def _drop(self, key: Key, owner: int) -> None:
        if self._claims.get(key) == owner:
            del self._claims[key]

    async def exchange(
        self, session: Session, group: bytes, mine: UsageReport | None
    ) -> Mapping[int, UsageReport]:
        self._reports.pop((group, session.owner), None)
        others = {owner: report for (theirs, owner), report in self._reports.items() if theirs == group}
        if mine is not None:
            self._reports[group, session.owner] = mine
        return others

    async def renew(self, session: Session) -> None:
        """Leave claims as they are: they end with the process."""

    async def end(self, session: Session, counts: Mapping[str, Any], *, finished: bool) -> None:  # noqa: ARG002
        self._owners.discard(session.owner)
        for key in [key for key, owner in self._claims.items() if owner == session.owner]:
            del self._claims[key]
        for place in [place for place in self._reports if place[1] == session.owner]:
            del self._reports[place]

    async def summary(self, judge: Judge) -> dict[str, Any]:  # noqa: ARG002
        empty = dict.fromkeys(("answers", "without_text", "prompt_tokens", "completion_tokens"), 0)
        nothing = dict.fromkeys(("cost", "oldest", "newest"))
        return {**empty, **nothing, "claims": len(self._claims), "runs": len(self._owners)}

    async def export(self, judge: Judge) -> AsyncIterator[dict[str, Any]]:  # noqa: ARG002
        for record in list[dict[str, Any]]():
            yield record

    async def prune(self, before: float) -> int:  # noqa: ARG002
        return 0


class MemoryBatchStore:
    """The parts of one process's batch runs.

    Parameters
    ----------
    claims, owners
        What runs have claimed, and the runs that have not ended.
    """

    def __init__(self, claims: dict[Key, int], owners: set[int]) -> None:
        self._claims = claims
        self._owners = owners
        self._parts: dict[str, BatchPart] = {}
        self._keys: dict[str, frozenset[Key]] = {}
        self._leases: dict[str, int] = {}

    async def add_intent(self, nonce: str, owner: int, label: PartLabel, keys: Sequence[Key]) -> None:
        mine = frozenset(key for key in keys if self._claims.get(key) == owner)
        self._enter(nonce, label, mine, len(keys))
        self._leases[nonce] = owner

    async def adopt(self, nonce: str, label: PartLabel, state: BatchState, keys: Sequence[Key]) -> None:
        if nonce not in self._parts:
            free = frozenset(key for key in keys if self._claims.get(key) not in self._owners)
            self._enter(nonce, label, free, state.total or len(keys))
            self._set(nonce, batch=state.id, file=state.input_file, created=state.created, state=state.status)

    def _enter(self, nonce: str, label: PartLabel, keys: frozenset[Key], requests: int) -> None:
        for key in keys:
            self._claims.pop(key, None)
        self._keys[nonce] = keys
        self._parts[nonce] = BatchPart(
            nonce=nonce,
            recipe=label.recipe,
            server=label.server,
            model=label.model,
            title=label.title,
            created=time.time(),
            file=None,
            batch=None,
            state="intended",
            requests=requests,
            completed=0,
            failed=0,
            cost=None,
            open=True,
            cancelled=False,
        )

    def _set(self, nonce: str, **values: Any) -> None:
        self._parts[nonce] = self._parts[nonce]._replace(**values)

    async def set_file(self, nonce: str, file: str) -> None:
        self._set(nonce, file=file)

    async def set_batch(self, nonce: str, batch: str) -> None:
        self._set(nonce, batch=batch)

    async def set_state(self, nonce: str, state: BatchState) -> None:
        self._set(nonce, state=state.status, completed=state.completed, failed=state.failed)

    async def reset_intent(self, nonce: str, new_nonce: str) -> None:
        self._parts[new_nonce] = self._parts.pop(nonce)
        self._keys[new_nonce] = self._keys.pop(nonce)
        self._leases[new_nonce] = self._leases.pop(nonce, 0)
        part = self._parts[new_nonce]
        self._parts[new_nonce] = part._replace(nonce=new_nonce, batch=None, state="intended")

    async def mark_cancelled(self, nonce: str) -> None:
        self._set(nonce, cancelled=True)

    async def acquire_part(self, nonce: str, owner: int) -> bool:
        part, holder = self._parts.get(nonce), self._leases.get(nonce, 0)
        if part is None or not part.open or (holder != owner and holder in self._owners):
            return False
        self._leases[nonce] = owner
        return True

    async def release_part(self, nonce: str) -> None:
        self._leases.pop(nonce, None)

    async def close_part(self, nonce: str, cost: float | None) -> None:
        self._set(nonce, open=False, cost=cost)
        self._drop(nonce)

    async def delete_part(self, nonce: str) -> None:
        self._parts.pop(nonce, None)
        self._drop(nonce)

    def _drop(self, nonce: str) -> None:
        self._keys.pop(nonce, None)
        self._leases.pop(nonce, None)

    async def list_parts(self, *, only_open: bool = False) -> list[BatchPart]:
        return [part for part in self._parts.values() if part.open or not only_open]

    async def find_part(self, nonce: str) -> BatchPart | None:
        return self._parts.get(nonce)

    async def find_batch(self, batch: str) -> BatchPart | None:
        return next((part for part in self._parts.values() if part.batch == batch), None)

    async def parts_with(self, keys: Sequence[Key]) -> set[str]:
        return {nonce for nonce, claimed in self._keys.items() if not claimed.isdisjoint(keys)}

    def keys_of(self, nonces: Iterable[str]) -> frozenset[Key]:
        """Return the requests that these parts have claimed."""
        return frozenset().union(*(self._keys[nonce] for nonce in nonces))
