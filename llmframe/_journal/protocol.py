"""What a run needs of a journal: every paid answer, the claimed requests, and the parts of batches.

A store implements `Journal`; other rooms depend on nothing else. Every method is awaitable and may be called from
any loop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from llmframe._values import Answer, BatchState, Key, LearntPace, Usage, UsageReport, Verdict

PricedAnswer: TypeAlias = "tuple[Answer, float | None]"
"""An answer to be kept, and its cost in US dollars; `None` where its model's price or its tokens are unknown."""

Judge: TypeAlias = "Callable[[Mapping[str, Any]], Verdict]"
"""A verb's judgement of a stored body."""


class StoredAnswer(NamedTuple):
    """An answer that was read from the journal."""

    key: Key
    body: bytes
    created: float
    """When its request was sent or it was kept, in seconds since the epoch."""
    usage: Usage
    cost: float | None
    """US dollars that it cost then; `None`: unknown."""
    output_bound: int | None
    """As of an answer."""


class Spend(NamedTuple):
    """What the answers of one day, model, verb and lane took."""

    day: int
    """Days since 1970-01-01, UTC."""
    model: str
    """The model that was asked."""
    verb: str | None
    """`None`: unknown, as of a batch that another journal's call submitted."""
    lane: str
    """`"live"`, `"batch"`, or `"flex"` for answers at that tier."""
    answers: int
    """The paid answers, also those that broke off and were asked again."""
    usage: Usage
    cost: float | None
    """US dollars of those whose cost is known; `None`: of none."""
    unpriced: int


class PastAnswer(NamedTuple):
    """What an answer in the journal took."""

    key: Key
    usage: Usage
    request_bytes: int | None
    """The size of its request's body; `None`: unknown, as of a batch."""
    output_bound: int | None
    """As of an answer."""
    model: str | None
    """The model that answered, as the response named it."""


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """The result of claiming requests."""

    granted: Sequence[Key]
    answered: Sequence[StoredAnswer]
    held: Sequence[Key]
    """Requests that another run or an open batch has claimed."""
    uncertain: int
    """The number of granted requests that an owner which no longer exists may have sent; those that it recorded
    as unsent do not count."""
    parts: Sequence[str] = ()
    """The open parts of batches, by nonce, that hold some of `held`."""


@dataclass(frozen=True, slots=True)
class Session:
    """One run as the journal registered it."""

    recipe: int
    owner: int
    run: int
    since: float
    """Only answers from this time on count: 0, or the time when a fresh run first began."""
    obstacle: str | None = None
    """Why answers cannot be kept, so that nothing may be sent."""
    began: float = 0.0
    """When the run began, in seconds since the epoch."""
    digest: bytes = b""
    """Identifies the recipe in every journal."""
    until: float = math.inf
    """Only answers up to this time count."""


@dataclass(frozen=True, slots=True)
class PartLabel:
    """Distinguishes the parts of one call from those of others."""

    recipe: int
    server: str
    model: str
    title: str
    """The columns' names, for display."""


class BatchPart(NamedTuple):
    """A part of a batch run as the journal keeps it."""

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
    """Id of the batch; `None` until its creation is known."""
    state: str
    """The batch's status as the API reports it, or `"intended"`."""
    requests: int
    completed: int
    failed: int
    cost: float | None
    """US dollars of the collected answers; `None` before, and where a price is unknown."""
    open: bool
    """Whether it is still to be collected."""
    cancelled: bool
    """Whether llmframe has cancelled it."""


class BatchStore(Protocol):
    """The parts of batch runs: the requests that are in the Batch API, so that nothing is paid twice.

    A part is added with its nonce before anything is uploaded, and its batch's id is written before any process
    waits for it. From then on the part itself claims its requests, until it is collected: the processes may end
    before. A run that submits or collects a part holds the part's lease meanwhile.
    """

    async def add_intent(self, nonce: str, owner: int, label: PartLabel, keys: Sequence[Key]) -> None:
        """Add a part before it is uploaded; it takes over the owner's claims on its requests."""

    async def adopt(self, nonce: str, label: PartLabel, state: BatchState, keys: Sequence[Key]) -> None:
        """Add a part that another journal's run submitted; it claims its requests that no living run has claimed."""

    async def set_file(self, nonce: str, file: str) -> None:
        """Write the id of the input file."""

    async def set_batch(self, nonce: str, batch: str) -> None:
        """Write the id of the batch."""

    async def set_state(self, nonce: str, state: BatchState) -> None:
        """Write the status and progress of a batch."""

    async def reset_intent(self, nonce: str, new_nonce: str) -> None:
        """Reset a part whose batch was refused, so that it can be submitted again from the same file."""

    async def mark_cancelled(self, nonce: str) -> None:
        """Mark a part as cancelled: its rows are no longer needed."""

    async def acquire_part(self, nonce: str, owner: int) -> bool:
        """Acquire a part's lease; false while another living run holds it, or when the part was collected."""

    async def release_part(self, nonce: str) -> None:
        """Release a part's lease, so that other runs may submit or collect it."""

    async def close_part(self, nonce: str, cost: float | None) -> None:
        """Mark a part as collected, and release its claims."""

    async def delete_part(self, nonce: str) -> None:
        """Delete a part without a batch, and release its claims."""

    async def list_parts(self, *, only_open: bool = False) -> list[BatchPart]:
        """List parts, oldest first."""

    async def find_part(self, nonce: str) -> BatchPart | None:
        """Return a part by its nonce."""

    async def find_batch(self, batch: str) -> BatchPart | None:
        """Return a part by its batch's id."""

    async def parts_with(self, keys: Sequence[Key]) -> set[str]:
        """Return the nonces of the open parts that have claimed some of these requests."""

    async def claimed(self, keys: Sequence[Key]) -> set[Key]:
        """Return those of these requests that open parts have claimed."""


class Journal(Protocol):
    """Keeps every paid answer, and the claims on requests."""

    @property
    def place(self) -> str:
        """Where it is, for display."""

    @property
    def batches(self) -> BatchStore: ...

    async def begin(
        self, digest: bytes, description: Mapping[str, Any], *, fresh: bytes = b"", sends: bool = True
    ) -> Session:
        """Register a run.

        Parameters
        ----------
        digest, description
            The recipe's digest, and its description, which is kept as JSON.
        fresh
            Identifies the requests of a fresh run, which continues an equal one that did not finish. Empty: not fresh.
        sends
            Whether claimed requests may be sent, and billed, at once.
        """

    async def add_recipe(self, digest: bytes, description: Mapping[str, Any]) -> int:
        """Add a recipe if it is not known, and return its number."""

    async def lookup(self, session: Session, keys: Sequence[Key]) -> list[StoredAnswer]:
        """Return the answers to these requests; of several to one request, the newest comes last."""

    async def history(self, digest: bytes, limit: int) -> list[PastAnswer]:
        """Return what answers to requests of a recipe took, newest first.

        Parameters
        ----------
        digest
            The recipe's.
        limit
            At most so many; very old ones may be left out.
        """

    async def claim(
        self,
        session: Session,
        keys: Sequence[Key],
        *,
        is_failure: Callable[[StoredAnswer], bool] | None = None,
        again: AbstractSet[Key] = frozenset(),
        looked_up: bool = False,
    ) -> ClaimResult:
        """Claim requests before they are sent; the answers that other runs have recorded are returned instead.

        Parameters
        ----------
        is_failure
            Decides of a stored answer that it does not count, so that its request is asked again.
        again
            Requests that the run asks for once more, although it has recorded an answer itself.
        looked_up
            Whether the run has looked these up since it began and has sent none of them: they need no second
            lookup unless another connection has written.
        """

    async def mark_unsent(self, session: Session, keys: Sequence[Key]) -> None:
        """Note that claimed requests have not been sent, or that the server has surely not processed them.

        They stay claimed, but do not count as possibly sent until the session claims them again.
        """

    async def record(
        self,
        session: Session,
        answers: Sequence[PricedAnswer],
        released: Sequence[Key],
        spent: Sequence[PricedAnswer] = (),
    ) -> None:
        """Commit answers in one transaction, and release the session's claims on them and on `released`.

        Of `spent`, answers that broke off, only tokens and dollars are kept: their requests have no answer, and stay claimed.
        """

    async def longest_answer(self, recipe: int) -> int:
        """Return the most tokens of an answer by this recipe; where it has none, of any; 0: there is none."""

    async def exchange(
        self, session: Session, group: bytes, own: UsageReport | None
    ) -> Mapping[int, UsageReport]:
        """Write this run's report for its group, or delete it (`None`); return the other runs' reports, by owner."""

    async def learnt_pace(self, group: bytes) -> LearntPace | None:
        """Return what a process has learnt of a group's limits within a day."""

    async def keep_pace(self, group: bytes, learnt: LearntPace) -> None:
        """Keep what was learnt of a group's limits, in place of what was kept before."""

    async def kept_rung(self, server: str, model: str) -> str | None:
        """Return by which rung a model of a server gave an answer that fits; `None`: by none so far."""

    async def keep_rung(self, server: str, model: str, rung: str) -> None:
        """Keep by which rung a model of a server gave an answer that fits; what is kept already stands."""

    async def renew(self, session: Session) -> None:
        """Extend the lease on all claims of the session, also after it had expired."""

    async def end(self, session: Session, counts: Mapping[str, Any], *, finished: bool) -> None:
        """End a run: its counts are kept, its claims are released."""

    async def summary(self, judge: Judge) -> dict[str, Any]:
        """Count the answers, those without a value by `judge` or without a price, those that broke off, tokens, dollars and claims, with the dates."""

    async def spend(self) -> list[Spend]:
        """Sum what the kept answers took, and those that broke off, by day, model, verb and lane, in this order.

        The day is that of the request of a batch, and otherwise of the answer.
        """

    def export(self, judge: Judge) -> AsyncIterator[dict[str, Any]]:
        """Yield every answer with its recipe, and with `problem` and `detail` by `judge`, oldest first."""

    def answers_of(self, digest: bytes, until: float = math.inf) -> AsyncIterator[bytes]:
        """Yield the bodies of all answers to a recipe's requests, by the recipe's digest, that are from this time or before."""

    async def prune(self, before: float) -> int:
        """Delete the answers, and what was spent, from before this time (seconds since the epoch); return how many answers."""
