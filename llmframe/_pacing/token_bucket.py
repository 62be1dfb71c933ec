"""Rates that are known: smooth pacing at one rate."""

from __future__ import annotations

from typing import NamedTuple

_SLACK = 0.05  # seconds that may be caught up after a hiccup
_SMALLEST_BURST = 0.1  # seconds of allowance that the strictest server grants at once


class Ticket(NamedTuple):
    """One request that left: given by `Pace.sent`, handed back with its outcome."""

    number: int
    sent_at: float
    estimate: int
    reserved: float


class Bucket:
    """Smooth pacing at one rate (GCRA): who is late catches up a little, nobody is early."""

    __slots__ = ("_paid_at", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._paid_at = now

    def wait(self, now: float, cost: float) -> float:
        """Seconds until something of this cost may leave; 0 or less is now."""
        early = self._paid_at - now
        if early <= 0.0:  # the slack could only make it earlier
            return early
        return early - min(_SLACK, max(0.0, _SMALLEST_BURST - cost / self.rate))

    def take(self, now: float, cost: float) -> None:
        self._paid_at = max(self._paid_at, now) + cost / self.rate

    def empty(self, now: float) -> None:
        """Leave nothing to catch up."""
        self._paid_at = now + _SLACK

    def settle(self, difference: float) -> None:
        """Take (or give back) what a request cost beyond its reservation."""
        self._paid_at += difference / self.rate
