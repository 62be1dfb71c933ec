"""Sending at one known rate."""

from __future__ import annotations

_SLACK = 0.05  # seconds of delay that may be caught up
_SMALLEST_BURST = 0.1  # seconds of allowance that the strictest server grants at once


class TokenBucket:
    """An even pace at one rate (GCRA): a late request catches up a little; none leaves early."""

    __slots__ = ("_paid_at", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._paid_at = now

    def wait(self, now: float, cost: float) -> float:
        """Return the seconds until a request of this cost may leave; 0 or less means now."""
        early = self._paid_at - now
        if early <= 0.0:  # the slack would only make it earlier
            return early
        return early - min(_SLACK, max(0.0, _SMALLEST_BURST - cost / self.rate))

    def ahead(self, now: float) -> float:
        """Return how many seconds the requests so far are ahead of the rate."""
        return self._paid_at - now

    def charge(self, now: float, cost: float) -> None:
        self._paid_at = max(self._paid_at, now) + cost / self.rate

    def drain(self, now: float) -> None:
        """Remove the delay that may be caught up."""
        self._paid_at = now + _SLACK

    def adjust(self, difference: float) -> None:
        """Charge (or refund) what a request cost beyond its estimate."""
        self._paid_at += difference / self.rate
