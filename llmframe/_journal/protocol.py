"""What a run needs of a journal: every paid answer, and who is asking what right now.

`_file_journal` keeps it in a file, `_journals` shares a file's journal among the runs of a process.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from llmframe._journal.liveness import Presence
from llmframe._journal.sqlite.batch_store import Parts
from llmframe._journal.sqlite.schema import temporary

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from llmframe._pacing.sharing import Report
    from llmframe._values import Answer, Key

Priced: TypeAlias = "tuple[Answer, float | None]"
"""An answer to be kept, and what it cost in US dollars; `None` where its model's price is unknown."""

LEASE_SECONDS = 60.0
"""How long a claim stands after its owner was last heard of."""


class Kept(NamedTuple):
    """An answer as it is read back."""

    key: Key
    problem: str | None
    detail: str
    body: bytes
    created: float
    """When it was asked or kept, in seconds since the epoch."""
    checksum: int
    """Of key and body."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """What came of claiming requests."""

    granted: Sequence[Key]
    answered: Sequence[Kept]
    held: Sequence[Key]
    """Another run is asking these right now, or they are in an open batch."""
    uncertain: int
    """Granted ones that a vanished owner may have sent."""
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
    """What names the recipe in every journal."""
    others: tuple[int, ...] = ()
    """The state in which others had left the journal when the run began."""


class Journal(Protocol):
    """What a run needs of a journal; every method is called on `_journals.thread()`."""

    @property
    def path(self) -> Path | None: ...
    @property
    def parts(self) -> Parts: ...
    def recipe(self, digest: bytes, description: Mapping[str, Any]) -> int: ...
    def begin(
        self, digest: bytes, description: Mapping[str, Any], *, fresh: bytes, sends: bool
    ) -> Session: ...
    def lookup(self, session: Session, keys: Sequence[Key]) -> list[Kept]: ...
    def claim(
        self, session: Session, keys: Sequence[Key], *, retry_failed: bool, looked_up: bool
    ) -> Claimed: ...
    def holding(self, keys: Sequence[Key]) -> set[str]: ...
    def record(self, session: Session, answers: Sequence[Priced], released: Sequence[Key]) -> None: ...
    def exchange(self, session: Session, pool: bytes, mine: Report | None) -> Mapping[int, Report]: ...
    def renew(self, session: Session) -> None: ...
    def end(self, session: Session, counts: Mapping[str, Any], *, finished: bool) -> None: ...
    def close(self) -> None: ...


class NoJournal:
    """What `journal=False` gives: nothing is known and nothing is kept."""

    path: Path | None = None

    @property
    def parts(self) -> Parts:
        return Parts(_nothing, _nothing, Presence())

    def recipe(self, digest: bytes, description: Mapping[str, Any]) -> int:  # noqa: ARG002
        return 0

    def begin(self, *_: Any, **__: Any) -> Session:
        return Session(0, 0, 0, 0.0)

    def lookup(self, session: Session, keys: Sequence[Key]) -> list[Kept]:  # noqa: ARG002
        return []

    def claim(self, session: Session, keys: Sequence[Key], **_: Any) -> Claimed:  # noqa: ARG002
        return Claimed(keys, (), (), 0)

    def holding(self, keys: Sequence[Key]) -> set[str]:  # noqa: ARG002
        return set()

    def record(self, session: Session, answers: Sequence[Priced], released: Sequence[Key]) -> None:
        """Keep nothing."""

    def exchange(self, session: Session, pool: bytes, mine: Report | None) -> Mapping[int, Report]:  # noqa: ARG002
        return {}

    def renew(self, session: Session) -> None:
        """Claim nothing."""

    def end(self, session: Session, counts: Mapping[str, Any], *, finished: bool) -> None:
        """Leave no trace."""

    def close(self) -> None:
        """Hold nothing."""


@contextmanager
def _nothing() -> Iterator[sqlite3.Connection]:
    with closing(temporary()) as connection:
        yield connection
