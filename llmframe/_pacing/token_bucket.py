"""Token buckets: sending at one known rate, and the cost of requests."""

from __future__ import annotations

from typing import NamedTuple

_SLACK = 0.05  # seconds of delay that may be caught up
_SMALLEST_BURST = 0.1  # seconds of allowance that the strictest server grants at once
_MOST_USED = 100_000  # tokens of one answer that are learnt at most: few answers cost more, and some servers report impossible values
_REMEMBERED = 500  # answers, approximately, from which the cost of a request is learnt


class Ticket(NamedTuple):
    """One request that was sent: returned by `Pace.send`, and passed back with its outcome."""

    number: int
    sent_at: float
    estimate: int
    reserved: float


class TokenBucket:
    """Smooth pacing at one rate (GCRA): a late request catches up a little; none leaves early."""

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

    def charge(self, now: float, cost: float) -> None:
        self._paid_at = max(self._paid_at, now) + cost / self.rate

    def drain(self, now: float) -> None:
        """Remove the delay that may be caught up."""
        self._paid_at = now + _SLACK

    def adjust(self, difference: float) -> None:
        """Charge (or refund) what a request cost beyond its reservation."""
        self._paid_at += difference / self.rate


class TokenEstimate:
    """The cost of requests, relative to their estimates and on average, learnt from the newest answers."""

    __slots__ = ("_count", "_estimated", "_used", "ratio")

    def __init__(self) -> None:
        self.ratio = 1.0
        self._count = self._estimated = self._used = 0.0

    @property
    def mean(self) -> float:
        """The average tokens of a request; 0.0 while unknown."""
        return self._used / self._count if self._count else 0.0

    def learn(self, estimate: int, used: int) -> None:
        self._count += 1 - self._count / _REMEMBERED
        self._estimated += estimate - self._estimated / _REMEMBERED
        self._used += min(used, _MOST_USED) - self._used / _REMEMBERED
        self.ratio = max(self._used / self._estimated, 0.01)
