"""What a run needs of a journal: every paid answer, who is asking what right now, and the parts of batches.

A store implements `Journal`; nothing outside this room knows more of storage. Every method is awaitable and may
be called from any loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from llmframe._values import Answer, BatchState, Key, UsageReport, Verdict

PricedAnswer: TypeAlias = "tuple[Answer, float | None]"
"""An answer to be kept, and what it cost in US dollars; `None` where its model's price is unknown."""

Judge: TypeAlias = "Callable[[Mapping[str, Any]], Verdict]"
"""What a verb makes of a stored body."""


class StoredAnswer(NamedTuple):
    """An answer as it is read back."""

    key: Key
    body: bytes
    created: float
    """When it was asked or kept, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """What came of claiming requests."""

    granted: Sequence[Key]
    answered: Sequence[StoredAnswer]
    held: Sequence[Key]
    """Another run is asking these right now, or they are in an open batch."""
    uncertain: int
    """How many granted ones a vanished owner may have sent."""
    parts: Sequence[str] = ()
    """The open parts of batches, by nonce, that hold some of `held`."""


@dataclass(frozen=True, slots=True)
class Session:
    """One run's standing in the journal."""

    recipe: int
    owner: int
    run: int
    since: float
    """Only answers from this time on count: 0, or when a fresh run first began."""
    obstacle: str | None = None
    """Why no answer could be kept, and so nothing may be sent."""
    began: float = 0.0
    """When the run began, in seconds since the epoch."""
    digest: bytes = b""
    """Names the recipe in every journal."""


@dataclass(frozen=True, slots=True)
class PartLabel:
    """Tells the parts of one call from those of others."""

    recipe: int
    server: str
    model: str
    title: str
    """The columns, as a person calls them."""


class BatchPart(NamedTuple):
    """A part of a batch run as the journal knows it."""

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
    """US dollars of what was collected; `None` before, and where a price is unknown."""
    open: bool
    """Whether it is still to be collected."""
    cancelled: bool
    """Whether llmframe was told to cancel it."""


class BatchStore(Protocol):
    """The parts of batch runs: what is on its way through the Batch API, so that nothing is paid twice.

    A part is entered with its nonce before anything is uploaded, and with its batch's id before anybody
    waits for it. From then on its requests are claimed by the part itself, whose claim ends when it is
    collected: processes come and go meanwhile. While a run submits or collects a part, it holds the part's lease.
    """

    async def add_intent(self, nonce: str, owner: int, label: PartLabel, keys: Sequence[Key]) -> None:
        """Enter a part before it is uploaded; it takes over the owner's claims on its requests."""

    async def adopt(self, nonce: str, label: PartLabel, state: BatchState, keys: Sequence[Key]) -> None:
        """Enter a part that another journal's run submitted; it claims what no living run has claimed."""

    async def set_file(self, nonce: str, file: str) -> None:
        """Keep the id of the input file."""

    async def set_batch(self, nonce: str, batch: str) -> None:
        """Keep the id of the batch."""

    async def set_state(self, nonce: str, state: BatchState) -> None:
        """Keep how far a batch is."""

    async def reset_intent(self, nonce: str, new_nonce: str) -> None:
        """Turn a part whose batch was refused into one that is still to be submitted, from the same file."""

    async def mark_cancelled(self, nonce: str) -> None:
        """Keep that its rows are not wanted any more."""

    async def acquire_part(self, nonce: str, owner: int) -> bool:
        """Acquire a part's lease; false while another living run has it, or when it was collected."""

    async def release_part(self, nonce: str) -> None:
        """Release a part's lease, so that others may submit or collect it."""

    async def close_part(self, nonce: str, cost: float | None) -> None:
        """Mark a part as collected, and drop its claims."""

    async def delete_part(self, nonce: str) -> None:
        """Forget a part that never became a batch, and drop its claims."""

    async def list_parts(self, *, only_open: bool = False) -> list[BatchPart]:
        """List parts, oldest first."""

    async def find_part(self, nonce: str) -> BatchPart | None:
        """Return a part by its nonce."""

    async def find_batch(self, batch: str) -> BatchPart | None:
        """Return a part by its batch's id."""

    async def parts_with(self, keys: Sequence[Key]) -> set[str]:
        """Name the open parts, by nonce, that have claimed some of these requests."""


class Journal(Protocol):
    """Keeps every paid answer, and who is asking what right now."""

    @property
    def place(self) -> str:
        """Where it is, as a person writes it."""

    @property
    def batches(self) -> BatchStore: ...

    async def begin(
        self, digest: bytes, description: Mapping[str, Any], *, fresh: bytes = b"", sends: bool = True
    ) -> Session:
        """Enter a run.

        Parameters
        ----------
        digest, description
            The recipe's name, and what is kept of it as JSON.
        fresh
            Names what a fresh run asks; it goes on where the last equal one was cut short. Empty: not fresh.
        sends
            Whether what the run claims may be sent, and billed, at once.
        """

    async def add_recipe(self, digest: bytes, description: Mapping[str, Any]) -> int:
        """Enter a recipe if it is not known, and return its number."""

    async def lookup(self, session: Session, keys: Sequence[Key]) -> list[StoredAnswer]:
        """Return what is known of these requests; of several answers the newest comes last."""

    async def claim(
        self,
        session: Session,
        keys: Sequence[Key],
        *,
        is_failure: Callable[[bytes], bool] | None = None,
        looked_up: bool = False,
    ) -> ClaimResult:
        """Claim requests before they are sent; what others answered meanwhile comes back instead.

        Parameters
        ----------
        is_failure
            With `retry_failed`: the verb's judgement of a stored body. A failure that is older than the run does
            not count as an answer.
        looked_up
            Whether the run has looked these up since it began and asked none of them since: they need not
            be looked up again while nobody else has written.
        """

    async def record(
        self, session: Session, answers: Sequence[PricedAnswer], released: Sequence[Key]
    ) -> None:
        """Commit answers in one transaction, and drop the session's claims on them and on `released`."""

    async def exchange(
        self, session: Session, group: bytes, mine: UsageReport | None
    ) -> Mapping[int, UsageReport]:
        """Leave a report for the other runs of a group, or none; return theirs, by owner."""

    async def renew(self, session: Session) -> None:
        """Extend the lease on all that the session has claimed."""

    async def end(self, session: Session, counts: Mapping[str, Any], *, finished: bool) -> None:
        """Leave a run: its counts stay, its claims go."""

    async def summary(self, judge: Judge) -> dict[str, Any]:
        """Count what is there: answers, those without a value by `judge`, tokens, dollars, claims, and dates."""

    def export(self, judge: Judge) -> AsyncIterator[dict[str, Any]]:
        """Yield every answer with its recipe, and with `problem` and `detail` by `judge`, oldest first."""

    async def prune(self, before: float) -> int:
        """Delete answers from before this time (seconds since the epoch); return how many."""
