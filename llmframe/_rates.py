"""Rates that are known: smooth pacing at one rate, and the limits that a server states."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from llmframe._headers import StatedHeaders

_AIM = 0.99  # of a stated limit
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


class StatedLimit:
    """A limit that the server's headers state, in requests or in tokens."""

    __slots__ = ("_bucket", "_held_until", "_left", "_left_at", "_limit", "_refill", "_share", "_taken")

    def __init__(self, limit: int, now: float, share: float) -> None:
        self._limit = limit
        self._share = share
        self._bucket = Bucket(_AIM * share * limit / 60, now)
        self._taken = 0.0  # since `load` was last asked for
        self._held_until = now
        self._left = 0.0
        self._left_at = now
        self._refill = 0.0  # per second, of a limit whose period is far over a minute; else 0

    @property
    def rate(self) -> float:
        return self._bucket.rate

    def wait(self, now: float, cost: float) -> float:
        wait = max(self._bucket.wait(now, cost), self._held_until - now)
        if self._refill:
            refill = self._share * self._refill
            missing = cost - self._left - refill * (now - self._left_at)
            wait = max(wait, missing / refill)
        return wait

    def divide(self, share: float) -> None:
        """Keep to a share of the limit: others have the rest."""
        self._share = share
        self._bucket.rate = _AIM * share * self._limit / 60

    def load(self, seconds: float) -> float:
        """Say what share of the whole limit was taken in these last seconds."""
        taken, self._taken = self._taken, 0.0
        return max(0.0, taken) / (self._limit / 60 * seconds)

    def take(self, now: float, cost: float) -> None:
        self._bucket.take(now, cost)
        self._left -= cost
        self._taken += cost

    def settle(self, difference: float) -> None:
        difference = min(difference, self._limit)  # no server lets in what costs more than all
        self._bucket.settle(difference)
        self._left -= difference
        self._taken += difference

    def heard(self, now: float, said: StatedHeaders, *, cost: float, unseen: float) -> None:
        """Follow an answer's headers; `cost` is its request's, `unseen` that of what left after it."""
        limit, remaining, reset = said
        if limit is None:
            return
        if limit != self._limit:
            self._limit = limit
            self._bucket.rate = _AIM * self._share * limit / 60
        self._refill = 0.0
        if remaining is None or not reset:
            return
        if reset > 90:  # what remains may be used at once, then only what flows back
            self._refill = max(limit - remaining, 1) / reset
            self._left, self._left_at = self._share * (remaining - unseen), now
        elif remaining < cost and 1 < reset <= 45:  # a fixed window: nothing flows back before its end
            self._held_until = now + reset
