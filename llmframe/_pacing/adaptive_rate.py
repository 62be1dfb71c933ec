"""A rate that is learnt: from what a server without headers accepts and refuses."""

from __future__ import annotations

from math import inf, sqrt

from llmframe._pacing.token_bucket import Ticket, TokenBucket

_MEASURED = 10  # accepted requests that make a rate a measurement
_BELOW = 0.97  # of a measured rate, where sending goes on
_DENSE = 0.2  # refused requests for each accepted one, above which an interval is mostly waiting
_BUCKET = 0.3  # seconds of allowance that a server is taken to save up
_LONG = 3.0  # seconds of a stall after which it is a window's end rather than a debt
_LONGEST_PROBE = 2.0  # seconds between probes while everything is refused
_LONGEST_HOLD = 3_600.0
_RETURN = 20.0  # seconds in which a cut rate grows back to where it was refused
_CALM = 20.0  # seconds without a refusal, after which a limit may have risen
_CALM_REQUESTS = 1_000  # and so many requests
_BOLDEST = 10.0  # times as fast as a rate grows otherwise
_PROBES = 4  # requests of a probe at most, while none of them is answered


class AdaptiveRate:
    """The rate that a server without headers bears.

    A refusal is a mark: when that request left, the server's allowance was used up. What left since then may
    all count against the limit, refused or not, so sending goes on only when that is paid for at the rate, and
    while still everything is refused (a stall) each silence is as long as all before. What was accepted from
    mark to mark is the limit, or less; from a little below it the rate creeps up until the next refusal.

    Attributes
    ----------
    active
        Whether there is such a rate, and it is what limits the sending.
    measured
        Whether it is what was accepted, and not a first guess.
    """

    def __init__(self) -> None:
        self.active = self.measured = False
        self._bucket = TokenBucket(1.0, 0.0)
        self._rate = 1.0
        self._growth = 0.0  # of the rate, as a share of it per second
        self._taken_at = 0.0
        self._round_trip = 1.0  # of the last refusal that counted
        self.cut = 0  # the newest request when the rate was last cut: refusals of earlier ones are no news
        self._held_until = 0.0
        self._begun = False  # whether there ever was such a rate
        self._mark = Ticket(0, 0.0, 0, 0.0)
        self._refused = 0  # of the requests that left after the mark
        self._all_refused = 0
        self._stalls = 0  # cuts in a row with nothing accepted between
        self._stalled = 0  # the newest request at the first of them
        self._long = False  # whether the last stall was long
        self._resumed = 0  # what was accepted before the end of the last long stall
        self._resumed_at = 0.0

    @property
    def rate(self) -> float:
        """Requests per second; infinity while none is learnt."""
        return self._rate if self.active else inf

    def start(self, now: float) -> None:
        self._mark = Ticket(0, now, 0, 0.0)

    def wait(self, now: float, tokens: int) -> float:  # noqa: ARG002 (as every limit)
        if not self.active:
            return 0.0
        return max(self._bucket.wait(now, 1.0), self._held_until - now)

    def take(self, now: float, stated: float) -> None:
        """Charge a request as it leaves; the rate creeps up for the time that it is in use."""
        if not self._stalls:
            growth = self._growth * self._boldness(now)
            self._rate *= 1 + growth * min(now - self._taken_at, 2 / self._rate)
            self._bucket.rate = self._rate
        self._taken_at = now
        self._bucket.take(now, 1.0)
        self.active = self._rate < stated

    def on_accepted(self, ticket: Ticket) -> None:
        """Learn that the server let a request in, which ends a stall."""
        if not self._stalls or ticket.number <= self._stalled:
            return
        seconds = max(ticket.sent_at - self._mark.sent_at, 1e-3)
        self._long = self._stalls >= 3 and seconds > _LONG
        if not self.measured:
            paid = (ticket.number - self._mark.number) / seconds
            self._rate = min(self._rate, max(paid, self._rate / 2**self._stalls))
            self._growth = self._fastest()
        self._stalls = 0
        if self._long:
            self._resume(ticket)
        self._bucket.rate = self._rate

    def on_refused(self, now: float, ticket: Ticket, sent: int, stated: float, pause: float | None) -> None:
        """Learn from a 429.

        Parameters
        ----------
        now, ticket
            When it came, and for which request.
        sent
            The number of the newest request.
        stated
            The rate that headers state, or infinity.
        pause
            The server's `retry-after`, if it gave one.
        """
        self._count(ticket)
        if ticket.number <= self.cut:
            return
        self.cut = sent
        self._round_trip = max(now - ticket.sent_at, 1e-3)
        accepted = ticket.number - self._mark.number - self._refused
        if not self._begun:
            self._begin(ticket, sent, stated)
        elif accepted >= _MEASURED and not (self._stalls and self.active):
            self._measure(ticket, accepted)
        else:
            self._stall(ticket, sent, accepted)
        self._repay(now, ticket, sent, pause)
        self.active = True

    def on_stray(self, ticket: Ticket, cleared: float | None) -> None:
        """Count a refusal that tells nothing of the rate; return to the rate that was cut for such ones, if any was."""
        self._count(ticket)
        if cleared is None:
            return
        self._rate = max(self._rate, cleared)
        self._bucket.rate = self._rate
        self._growth = self._fastest()
        self._held_until = ticket.sent_at
        self.measured, self._long, self._stalls = True, False, 0
        self._set_mark(ticket)

    def continue_at(self, now: float, sent: int, rate: float, *, measured: bool) -> None:
        """Go on at another rate, because runs that share the limit came or went; `measured` is theirs."""
        self.measured = self.measured if self.active else measured
        self.active = self._begun = True
        self._rate = self._bucket.rate = rate
        self._growth = self._creep() if self.measured else self._fastest()
        self._long, self._stalls = False, 0
        self.cut = sent
        self._bucket.drain(now)
        self._set_mark(Ticket(sent, now, 0, 0.0))

    def _count(self, ticket: Ticket) -> None:
        self._all_refused += 1
        self._refused += ticket.number > self._mark.number

    def _begin(self, ticket: Ticket, sent: int, stated: float) -> None:
        """Cut for the first time; what was accepted so far was in part the bucket's first filling."""
        in_flight = (sent - ticket.number + 1) / self._round_trip
        so_far = ticket.number / max(ticket.sent_at - self._mark.sent_at, 1e-3)
        self._begun = True
        self.measured = stated < inf
        self._rate = stated if self.measured else max(in_flight, so_far) / 2
        self._growth = self._creep()
        self._stalls, self._stalled = 1, sent
        self._set_mark(ticket)

    def _measure(self, ticket: Ticket, accepted: int) -> None:
        """Start again from below what was accepted since the mark, and creep faster the less that was."""
        rate = _BELOW * accepted / max(ticket.sent_at - self._mark.sent_at, 1e-3)
        left_at = self._rate / (1 + self._growth * self._round_trip)
        if not self.measured and not self._long:  # there were pauses in which the bucket ran over
            dense = self._refused > _DENSE * accepted
            rate = max(rate, left_at / (2 if dense else 1 + sqrt(2 * _BUCKET * self._growth)))
        self._rate = max(rate, 1e-3)
        self.measured, self._long = True, False
        unsure = self._fastest() / (1 + accepted / (5 + self._refused))
        back = min(self._fastest(), (left_at / self._rate - 1) / _RETURN)
        self._growth = max(self._creep(), unsure, back)
        self._set_mark(ticket)

    def _stall(self, ticket: Ticket, sent: int, accepted: int) -> None:
        if not self._stalls:
            self._stalled = sent
            if not self.measured:
                seconds = max(ticket.sent_at - self._mark.sent_at, 1e-3)
                self._rate = max(self._rate / 2, accepted / seconds)
                self._set_mark(ticket)
        self._stalls += 1

    def _repay(self, now: float, ticket: Ticket, sent: int, pause: float | None) -> None:
        """Hold until all that left since the mark is paid for, and longer after each probe in vain."""
        silence = (sent - self._mark.number + 2) / self._rate
        self._bucket.rate = self._rate
        if self._stalls:
            stalled = ticket.sent_at - self._mark.sent_at
            silence = max(silence, 2 * stalled)
            probes = 1 if stalled > _LONG else _PROBES
            self._bucket.rate = min(self._rate, probes / self._round_trip)
        self._held_until = min(self._mark.sent_at + silence, now + _LONGEST_PROBE)
        self._bucket.drain(self._held_until)
        if self._stalls >= 4 and pause is not None:  # it may be rounded up to a second
            self._held_until = max(self._held_until, now + min(pause - 1, _LONGEST_HOLD))

    def _resume(self, ticket: Ticket) -> None:
        """Go on after a long stall; from the end of one to the end of the next, the average is the limit."""
        accepted = ticket.number - self._all_refused
        if self._resumed:
            seconds = max(ticket.sent_at - self._resumed_at, 1e-3)
            few = accepted - self._resumed < _MEASURED
            self._rate = max(_BELOW * (accepted - self._resumed) / seconds, 1e-3)
            self._growth = self._fastest() if few else self._creep()
            self.measured = True
            self._set_mark(ticket)
        self._resumed, self._resumed_at = accepted, ticket.sent_at

    def _set_mark(self, ticket: Ticket) -> None:
        self._mark, self._refused = ticket, 0

    def _boldness(self, now: float) -> float:
        """Say how much faster a rate grows that has met no refusal for long: the limit may be another by now."""
        seconds = now - self._mark.sent_at
        calm = min(seconds / _CALM, seconds * self._rate / _CALM_REQUESTS)
        return min(calm * calm, _BOLDEST) if calm > 1 and not self._resumed else 1.0

    def _creep(self) -> float:
        """Say how fast a rate grows that is well measured: half a percent a second at most."""
        return min(0.005, self._rate * 0.0005, 0.002 / self._round_trip)

    def _fastest(self) -> float:
        """Say how fast a rate grows that is hardly known: by a 200th each request, slower over long lines."""
        by_request = inf if self._long else max(self._rate / 200, 0.06)
        return min(0.5, 0.15 / self._round_trip, by_request)
