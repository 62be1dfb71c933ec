"""Counts of requests and responses, readable from any thread."""

from __future__ import annotations

import threading
import time
from array import array
from collections import Counter
from math import fsum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from llmframe.testing._wire.bills import BilledTokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmframe.testing._wire.bills import Bill

_FACTORS = MappingProxyType({"batch": 0.5, "flex": 0.5, "priority": 2.0})
_BODIES_KEPT = 100_000


class Ledger:
    """Counts of requests that arrived, were answered and would have been billed.

    Read it from any thread; `LocalServer.reset` clears it. Counters, lists and arrays are copies.

    Attributes
    ----------
    requests : int
        POSTs that arrived. These and the following counts exclude requests to files and batches.
    answered : int
        Status 200 with the whole body sent.
    billed : int
        Completions that were made, also when their answer was lost (reset, truncated, garbled), and finished
        rows of batches.
    abandoned : int
        Requests whose client closed the connection before the answer was ready. They are not billed.
    in_flight, max_in_flight : int
        POSTs being answered, now and at most.
    tokens : int
        Billed tokens, prompts and answers together; `billed_tokens` has them by what they cost, and `dollars` the sum.
    uploads, downloads, files_deleted : int
        Files that were stored, contents that were sent, and files that were deleted; also when the answer was
        lost.
    batches_created, batches_cancelled : int
        Batches that were created, and batches that were cancelled; also when the answer was lost.
    """

    def __init__(self, *, keep_bodies: bool = True) -> None:
        self._changed = threading.Condition()
        self._keep_bodies = keep_bodies
        self.in_flight = 0
        self._clear()

    def _clear(self) -> None:
        self.requests = self.answered = self.billed = self.abandoned = self.tokens = 0
        self.max_in_flight = self.in_flight
        self.uploads = self.downloads = self.files_deleted = 0
        self.batches_created = self.batches_cancelled = 0
        self._statuses: Counter[int] = Counter()
        self._billed_by_request: Counter[str] = Counter()
        self._billed_tokens: dict[tuple[str, str, str], BilledTokens] = {}
        self._arrivals: array[float] = array("d")
        self._bodies: list[dict[str, Any]] = []
        self._headers: Mapping[str, str] = {}

    @property
    def statuses(self) -> Counter[int]:
        """How many POSTs were answered with each status."""
        with self._changed:
            return self._statuses.copy()

    @property
    def billed_by_request(self) -> Counter[str]:
        """How often each distinct body was billed, by `llmframe.testing.request_digest`."""
        with self._changed:
            return self._billed_by_request.copy()

    @property
    def billed_tokens(self) -> dict[tuple[str, str, str], BilledTokens]:
        """Billed tokens by their classes, for each model, lane ("live" or "batch") and tier."""
        with self._changed:
            return self._billed_tokens.copy()

    def dollars(
        self, prices: Mapping[str, Mapping[str, float]], factors: Mapping[str, float] = _FACTORS
    ) -> float:
        """Return what was billed in US dollars.

        Parameters
        ----------
        prices
            US dollars per million tokens by model, as `llmframe.options.prices` has them.
        factors
            What a lane or a tier costs of that: by default half for "batch" and "flex", and twice for "priority". A row
            of a batch has the factor of batches alone.

        Examples
        --------
        >>> Ledger().dollars({"gpt-6-luna": {"input": 0.1, "output": 0.5}})
        0.0
        """
        return fsum(
            factors.get(lane if lane == "batch" else tier, 1.0) * billed.dollars(prices[model])
            for (model, lane, tier), billed in self.billed_tokens.items()
        )

    @property
    def arrivals(self) -> array[float]:
        """When each POST arrived, in seconds of `time.monotonic`."""
        with self._changed:
            return self._arrivals[:]

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The first 100,000 valid bodies, including those of batches, in the order in which the server began to answer."""
        with self._changed:
            return self._bodies.copy()

    @property
    def headers(self) -> dict[str, str]:
        """The last POST's headers, with lower-case names."""
        with self._changed:
            return {name.lower(): value for name, value in self._headers.items()}

    def wait_for(self, condition: Callable[[Ledger], object], timeout: float = 5.0) -> bool:
        """Wait until a condition holds, and return whether it did.

        Parameters
        ----------
        condition
            A function of the ledger, called again after every change.
        timeout
            Seconds.

        Examples
        --------
        >>> Ledger().wait_for(lambda ledger: ledger.requests == 0)
        True
        """
        with self._changed:
            return bool(self._changed.wait_for(lambda: condition(self), timeout))

    def as_dict(self, *, full: bool = False) -> dict[str, Any]:
        """Return the counts as JSON values; `full` adds arrivals and each request's count."""
        with self._changed:
            counts: dict[str, Any] = {name: getattr(self, name) for name in _COUNTS}
            counts["statuses"] = {str(status): count for status, count in self._statuses.items()}
            counts["distinct_billed"] = len(self._billed_by_request)
            counts["first_arrival"] = self._arrivals[0] if self._arrivals else None
            counts["last_arrival"] = self._arrivals[-1] if self._arrivals else None
            if full:
                counts["arrivals"] = self._arrivals.tolist()
                counts["billed_by_request"] = dict(self._billed_by_request)
            return counts

    def clear(self) -> None:
        """Set all counts to zero except the requests in flight."""
        with self._changed:
            self._clear()

    def request_arrived(self, headers: Mapping[str, str]) -> None:
        with self._changed:
            self.requests += 1
            self._arrivals.append(time.monotonic())
            self._headers = headers
            self.in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self.in_flight)
            self._changed.notify_all()

    def body_accepted(self, body: dict[str, Any]) -> None:
        with self._changed:
            if self._keep_bodies and len(self._bodies) < _BODIES_KEPT:
                self._bodies.append(body)

    def completion_billed(self, bill: Bill) -> None:
        with self._changed:
            self.billed += 1
            self.tokens += bill.tokens
            self._billed_by_request[bill.digest] += 1
            kind = (bill.model, bill.lane, bill.tier)
            self._billed_tokens[kind] = self._billed_tokens.get(kind, BilledTokens()).plus(bill.billed)
            self._changed.notify_all()

    def count(self, name: str) -> None:
        """Add one to the attribute of that name."""
        with self._changed:
            setattr(self, name, getattr(self, name) + 1)
            self._changed.notify_all()

    def request_ended(self, status: int | None, *, answered: bool, abandoned: bool) -> None:
        with self._changed:
            self.in_flight -= 1
            if status is not None:
                self._statuses[status] += 1
            self.answered += answered
            self.abandoned += abandoned
            self._changed.notify_all()


_COUNTS = (
    "requests",
    "answered",
    "billed",
    "abandoned",
    "tokens",
    "in_flight",
    "max_in_flight",
    "uploads",
    "downloads",
    "files_deleted",
    "batches_created",
    "batches_cancelled",
)
