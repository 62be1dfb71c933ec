"""What a run may still spend: its cap, less what it has spent and what its requests in flight may cost at most."""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from llmframe._values import Stop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_USED_UP = 0.95
"""From this share of the cap on, a request that does not fit ends the run; before it, smaller ones may still fit."""


OVER_BUDGET = Stop("max_cost", "the cap on the cost is reached", "run the call again with a higher max_cost")


class Fit(Enum):
    """Whether a request's worst case fits into what is left of a cap."""

    NOW = "now"
    LATER = "later"
    """It may fit when requests in flight turn out to cost less than was reserved for them."""
    NEVER = "never"


class Budget:
    """The cap on what a run spends. Every attempt reserves its worst case before it is sent.

    An answer replaces its reservation by its cost. An attempt of which nobody knows whether it was billed keeps the
    reservation, and so does an answer without a price.

    Parameters
    ----------
    cap
        US dollars.
    worst
        The most that a request may cost, by the bytes of its body, in US dollars.
    untold
        How many times that it costs if the server bills it by a dearer tier, which only an answer tells. Until there is
        one, requests in flight beside each other leave room for that.

    Attributes
    ----------
    spent : float
        US dollars of the answers.

    Examples
    --------
    >>> budget = Budget(1.0, lambda size: size / 100)
    >>> budget.reserve(0, 60)
    >>> budget.fit(60), budget.fit(110)
    (<Fit.LATER: 'later'>, <Fit.NEVER: 'never'>)
    >>> budget.settle(0, 0.2)
    >>> budget.fit(60)
    <Fit.NOW: 'now'>
    """

    def __init__(
        self, cap: float = inf, worst: Callable[[int], float] = lambda _: 0.0, *, untold: float = 1.0
    ) -> None:
        self.cap = cap
        self.spent = 0.0
        self._worst = worst
        self._untold = untold
        self._reserved: dict[int, float] = {}
        """The worst case of each attempt in flight. It, their sum, and that of lost attempts are before the factor."""
        self._in_flight = 0.0
        self._lost = 0.0
        self._answers = 0
        self.largest_refused = 0.0
        self.waiting: WeakSet[asyncio.Event] = WeakSet()
        """Set when a reservation ends, which may be another run's."""
        self._factor = 1.0
        """By how much an answer has exceeded its worst case: a server may not hold to the bound on its tokens."""

    @property
    def capped(self) -> bool:
        return self.cap < inf

    @property
    def open(self) -> int:
        """How many attempts have a reservation."""
        return len(self._reserved)

    @property
    def unknown(self) -> float:
        """US dollars that are reserved for good."""
        return self._lost * self._factor

    @property
    def reserved(self) -> float:
        """US dollars that attempts in flight, and those with an unknown outcome, may cost."""
        return (self._lost + self._in_flight) * self._factor

    @property
    def used_up(self) -> bool:
        """Whether hardly anything is left, or less than any request costs at most."""
        used = self.spent + self.unknown
        return used >= _USED_UP * self.cap or used + self._most(0) > self.cap

    def fit(self, size: int) -> Fit:
        """Return whether a request with a body of this many bytes may be sent."""
        if not self.capped:
            return Fit.NOW
        most = self.spent + self.unknown + self._most(size)
        if self._times_told(most + self._in_flight * self._factor) <= self.cap:
            return Fit.NOW
        if self._reserved and most <= self.cap:
            return Fit.LATER
        self.largest_refused = max(self.largest_refused, self._most(size))
        return Fit.NEVER

    def reserve(self, number: int, size: int) -> None:
        """Reserve the worst case of a request that is about to be sent."""
        if self.capped:
            self._reserved[number] = self._worst(size)
            self._in_flight += self._reserved[number]

    def settle(self, number: int, cost: float | None) -> None:
        """Replace a reservation by what the answer costs; `None`: unknown."""
        reserved = self._release(number)
        if reserved is None:
            return
        if cost is None:
            self._lost += reserved
            return
        self.spent += cost
        self._answers += 1
        if reserved:
            self._factor = max(self._factor, cost / reserved)

    def end(self, number: int, *, uncertain: bool) -> None:
        """End an attempt without an answer: it may have been billed, or was surely not."""
        reserved = self._release(number)
        if reserved is not None and uncertain:
            self._lost += reserved

    def to_finish(self, requests: int) -> float:
        """Estimate in US dollars what this many further requests cost, by those that were answered."""
        return requests * (self.spent / self._answers if self._answers else self.largest_refused)

    def of_cap(self, left: int) -> dict[str, float]:
        """Return in US dollars what was spent, what is reserved, and what this many further requests would cost."""
        return {"spent": self.spent, "reserved": self.reserved, "to_finish": self.to_finish(left)}

    def _most(self, size: int) -> float:
        return self._worst(size) * self._factor

    def _times_told(self, dollars: float) -> float:
        """Return the most that requests cost of which the first answer is still to tell by which tier they are billed."""
        return dollars * self._untold if self._reserved and not self._answers else dollars

    def _release(self, number: int) -> float | None:
        reserved = self._reserved.pop(number, None)
        if reserved is not None:
            self._in_flight = self._in_flight - reserved if self._reserved else 0.0
            for event in self.waiting:
                event.set()
        return reserved


_NUMBERS = 1 << 40
"""More than a run has requests."""


class BudgetShare(Budget):
    """A budget that several runs have in common, as one of them uses it: the runs number their attempts alike."""

    def __init__(self, common: Budget, run: int) -> None:
        self._common = common
        self._first = run * _NUMBERS

    def __getattr__(self, name: str) -> Any:
        return getattr(self._common, name)

    def fit(self, size: int) -> Fit:
        return self._common.fit(size)

    def reserve(self, number: int, size: int) -> None:
        self._common.reserve(self._first + number, size)

    def settle(self, number: int, cost: float | None) -> None:
        self._common.settle(self._first + number, cost)

    def end(self, number: int, *, uncertain: bool) -> None:
        self._common.end(self._first + number, uncertain=uncertain)
