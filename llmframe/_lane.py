"""What a lane is: it takes requests from a feed and emits an outcome for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from llmframe._pacing.retry import Stop
    from llmframe._values import Request


class Feed(Protocol):
    """Where a lane gets its requests."""

    def ready(self) -> Request | None:
        """Return the next request if one is at hand and there is nothing to be done for those after it."""

    async def next(self, *, patient: bool = True) -> Request | None:
        """Return the next request, claimed and ready to send; `None` when there are no more.

        An impatient lane does not wait for those that others have claimed, and gets `None` instead.
        """

    @property
    def more(self) -> bool:
        """Whether others have claimed requests that may still come."""

    @property
    def parts(self) -> AbstractSet[str]:
        """The open parts of batches, by nonce, that hold some of those."""

    def lapsed_since(self, moment: float) -> bool:
        """Whether others may have taken over what was fed by then (seconds, `time.monotonic`)."""

    def put_back(self, indices: Iterable[int]) -> None:
        """Take requests that are to be fed, and claimed, once more."""

    def end(self) -> None:
        """Bring no more: whoever waits for the next request is told that there is none."""


@dataclass(slots=True)
class Traffic:
    """What has happened on the wire so far."""

    sent: int = 0
    """Requests that left at least once."""
    retries: int = 0
    limited: int = 0
    uncertain: int = 0
    """Attempts whose outcome is unknown, and which may have been billed."""


class Lane(Protocol):
    """A way to get requests answered."""

    traffic: Traffic
    stopped: Stop | None

    @property
    def in_flight(self) -> int: ...
    @property
    def ahead(self) -> int:
        """Requests that are answered as far as is known, though their answers are not here yet."""

    @property
    def waited_seconds(self) -> float: ...
    def waiting(self) -> str:
        """Say what it waits for, if for anything but answers."""

    def stop(self, reason: Stop) -> None:
        """Send nothing more."""

    async def run(self, feed: Feed) -> None:
        """Work until the feed is exhausted or the run is stopped."""
