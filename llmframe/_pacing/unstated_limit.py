"""A limit that the server does not state: a rate is learnt from what it accepts and refuses."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from llmframe._pacing.token_bucket import TokenBucket
from llmframe._values import LearntLimit

if TYPE_CHECKING:
    from llmframe._pacing.ticket import Ticket

_DECREASE = 0.83  # of the rate that was refused, at which sending continues
_MEASURED_REQUESTS = 10  # accepted requests that make a rate a measurement
_FASTEST_INCREASE = 0.04  # of the rate, per second
_INCREASE_PER_REQUEST = 0.00015  # of the rate, per second, for each request per second
_USUAL_GAIN = 0.15  # of the last refused rate in the usual one
_STEADY_SECONDS = 20.0  # without a cut, after which the increase grows: the limit may have risen
_LARGEST_STEADY_FACTOR = 10.0  # of the increase
_FASTEST_RECOVERY = 0.5  # of the rate, per second, up to just below the rate that was refused
_RECOVERY_PER_REQUEST = 0.0025  # of the rate, per second, for each request per second
_SHORT_MEASUREMENT = 5.0  # seconds; the first one may be mostly of waits or a pause, if it took no longer,
_FIRST_RECOVERY = 0.3  # so that the rate recovers by this part of it per second at least
_LEARNT_GROWTH = 1.0  # of a rate that an earlier process learnt, per second, until it is refused
_LONGEST_BUCKET_SECONDS = 60.0
_PROBES = 4  # requests in a round trip at most, while none is accepted
_LONGEST_HOLD_SECONDS = 2.0  # between probes, where the server does not ask for a longer wait
_LONGEST_RETRY_AFTER = 3_600.0  # seconds
_ACCEPTED_PER_LONE_429 = 16
_LONE_429S = 3.0  # that may come together


class UnstatedLimit:
    """A rate of requests: it increases evenly, and 429s cut it to what was accepted.

    After a cut nothing is sent until what was sent in vain would be paid for; from one request that was accepted
    after a cut to the next one that was, the server has accepted what its limit allows. A proxy answers 429 now and
    then however slowly requests are sent: one in 16 does not count.

    Parameters
    ----------
    learnt
        What an earlier process has learnt. As many requests leave at once as were accepted then before one was refused;
        the others at the rate, which grows quickly until one is refused, since the limit may not be there any more.

    Attributes
    ----------
    rate : float
        Requests per second; infinity while no limit is known.
    """

    def __init__(self, learnt: LearntLimit | None = None) -> None:
        rate = learnt.limit / 60 if learnt is not None else 0.0
        self.rate = rate or inf
        self._bucket = TokenBucket(rate or 1.0, 0.0)
        self._bucket_size = rate * learnt.bucket_seconds if learnt is not None else 0.0
        self._at_once = self._bucket_size
        """The requests that may still leave without a pace."""
        self._before_first_cut: tuple[int, float] | None = None
        """How many requests were accepted before the first cut, and in how many seconds."""
        self._increase = 0.0  # requests per second, each second
        self._increased_at = 0.0
        self._usual = rate  # requests per second at which it was refused
        self._recovers_until = inf if rate else 0.0  # requests per second; 0.0: no rate was measured so far
        self._least_recovery = _LEARNT_GROWTH if rate else 0.0  # of the rate, per second
        self._held_until = 0.0
        self._refused = 0
        self._cut = 0  # the newest request at the last cut: refusals of earlier ones cut no more
        self._first_cut = 0  # the same at the first cut since a request was accepted
        self._cut_at = 0.0  # when the request was sent that this cut is for
        self._cuts = 0  # since a request was accepted
        self._accepted_before = 0  # until sending last went on after a cut
        self._began_at: float | None = None  # when it did, or when the first request was sent
        self._round_trip = 1.0  # seconds, of a refusal
        self._lone_429s = _LONE_429S  # that may still come

    def wait(self, now: float) -> float:
        """Return the seconds until a request may leave; 0 or less means now."""
        if self.rate == inf or self._at_once >= 1:
            return 0.0
        return max(self._bucket.wait(now, 1.0), self._held_until - now)

    def charge(self, now: float) -> None:
        """Charge a request as it is sent; the rate increases only while it is in use."""
        if self._began_at is None:
            self._began_at = now
        if self.rate == inf:
            return
        if self._at_once >= 1:
            self._at_once -= 1
            return
        if not self._cuts:
            self.rate += self._increase_now(now) * min(now - self._increased_at, 2 / self.rate)
            self._bucket.rate = self.rate
        self._increased_at = now
        self._bucket.charge(now, 1.0)

    def _increase_now(self, now: float) -> float:
        steady = (now - self._cut_at) / _STEADY_SECONDS
        increase = self._increase * min(max(1.0, steady * steady), _LARGEST_STEADY_FACTOR)
        if self.rate >= self._recovers_until:
            return increase
        recovery = min(_FASTEST_RECOVERY, _RECOVERY_PER_REQUEST * self.rate)
        return max(increase, self.rate * max(self._least_recovery, recovery))

    def learnt(self) -> LearntLimit | None:
        """Return what the next process may begin with; `None`: nothing was refused."""
        if self.rate == inf:
            return None
        size = self._bucket_size
        if self._before_first_cut is not None:
            accepted, seconds = self._before_first_cut
            size = max(size, accepted - self.rate * seconds)
        return LearntLimit(60 * self.rate, min(size / self.rate, _LONGEST_BUCKET_SECONDS))

    def on_accepted(self, ticket: Ticket) -> None:
        self._lone_429s = min(self._lone_429s + 1 / _ACCEPTED_PER_LONE_429, _LONE_429S)
        if self._cuts and ticket.number > self._first_cut:
            self._measure(ticket)

    def on_refused(self, now: float, ticket: Ticket, sent: int, wait: float | None) -> None:
        """Learn from a 429.

        Parameters
        ----------
        now, ticket
            When the refusal arrived, and for which request.
        sent
            The number of the newest request.
        wait
            The server's `retry-after` in seconds, or `None`.
        """
        self._refused += 1
        if ticket.number <= self._cut:
            return
        self._lone_429s -= 1
        if self._lone_429s >= 0 and not self._cuts:
            return
        self._round_trip = max(now - ticket.sent_at, 1e-3)
        in_vain = sent - ticket.number + 1
        began = ticket.sent_at if self._began_at is None else self._began_at
        if self.rate == inf:  # a pause of the machine makes either rate far too low
            before = (ticket.number - self._refused) / max(ticket.sent_at - began, 1e-3)
            self.rate = max(in_vain / self._round_trip, before)
        hold = (in_vain + 1) / self.rate
        if self._cuts:  # as long as all before
            hold = max(hold, now - self._cut_at)
        else:
            self._cut_at, self._first_cut = ticket.sent_at, sent
            if self._before_first_cut is None:
                self._before_first_cut = ticket.number - self._refused, ticket.sent_at - began
                self._at_once = self._recovers_until = 0.0
        hold = min(hold, _LONGEST_HOLD_SECONDS)
        if self._cuts >= 2 and wait is not None:
            hold = max(hold, min(wait, _LONGEST_RETRY_AFTER) - 1.0)  # most servers round it up to a second
        self._cut = sent
        self._cuts += 1
        self._held_until = now + hold
        self._bucket.rate = min(self.rate, (_PROBES if self._cuts < 3 else 1) / self._round_trip)
        self._bucket.drain(self._held_until)

    def _measure(self, ticket: Ticket) -> None:
        """Continue after a cut: below the rate that was refused, or the rate of what was accepted.

        A first, short measurement is in doubt: the rate recovers quickly after it, until another one that counts.
        The rate that was refused counts for as much of the time as it was sent at: a long wait is one for a window's end.
        """
        began = ticket.sent_at if self._began_at is None else self._began_at
        accepted = max(ticket.number - self._refused - self._accepted_before, 1)
        seconds = max(ticket.sent_at - began, 1e-3)
        sending = (self._cut_at - began) / seconds if self._recovers_until else 0.0
        rate = _DECREASE * max(accepted / seconds, self.rate * sending)
        if not self._recovers_until:  # what an earlier process learnt holds unless it was itself refused
            rate = max(rate, min(self._usual, _DECREASE * self.rate))
        if accepted >= _MEASURED_REQUESTS:
            self._accepted_before, self._began_at = ticket.number - self._refused, ticket.sent_at
        else:
            rate = max(rate, self.rate / 2 ** min(self._cuts, 2))
        refused, self.rate = self.rate, min(rate, self.rate)
        usual = _USUAL_GAIN * refused + (1 - _USUAL_GAIN) * self._usual if self._recovers_until else self.rate
        self._usual = max(usual, self.rate)
        if accepted >= _MEASURED_REQUESTS or not self._recovers_until:  # fewer do not end a recovery
            doubtful = not self._recovers_until and seconds < _SHORT_MEASUREMENT
            self._least_recovery = _FIRST_RECOVERY if doubtful else 0.0
            self._recovers_until = _DECREASE * refused
        self._increase = self._usual * min(_FASTEST_INCREASE, _INCREASE_PER_REQUEST * self._usual)
        self._cuts, self._lone_429s = 0, _LONE_429S
        self._bucket.rate = self.rate
