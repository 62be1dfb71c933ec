"""A rate that is learnt from what a server without headers accepts and refuses."""

from __future__ import annotations

from math import inf, sqrt

from llmframe._pacing.token_bucket import Ticket, TokenBucket

_MEASURED_REQUESTS = 10  # accepted requests that make a rate a measurement
_SAFETY_FACTOR = 0.97  # share of a measured rate at which sending continues
_DENSE_RATIO = 0.2  # refused requests per accepted one, above which an interval is mostly waiting
_BUCKET_SECONDS = 0.3  # seconds of allowance that a server is assumed to accumulate
_LONG_STALL_SECONDS = 3.0  # a longer stall is the wait for a window's end
_LONGEST_PROBE_SECONDS = 2.0  # between probes while everything is refused
_LONGEST_HOLD_SECONDS = 3_600.0
_RECOVERY_SECONDS = 20.0  # in which a cut rate grows back to the rate that was refused
_STABLE_SECONDS = 20.0  # without a refusal, after which the limit may have risen
_STABLE_REQUESTS = 1_000  # that were also sent without a refusal
_LARGEST_GROWTH_FACTOR = 10.0  # times the usual growth
_PROBE_REQUESTS = 4  # requests of a probe at most, while none of them is answered


class AdaptiveRate:
    """The rate that a server without headers accepts.

    A refusal is a mark: the server's allowance was used up when that request was sent. Every later request may
    count against the limit, refused or not, so sending continues only when they are paid for at the rate; while
    everything is still refused (a stall), each hold is as long as all earlier ones together. What was accepted
    from mark to mark is the limit, or less; the rate starts a little below it and grows until the next refusal.

    Attributes
    ----------
    active
        Whether a rate is learnt and limits the sending.
    measured
        Whether the rate was measured, and is not a first guess.
    """

    def __init__(self) -> None:
        self.active = self.measured = False
        self._bucket = TokenBucket(1.0, 0.0)
        self._rate = 1.0
        self._growth = 0.0  # share of the rate per second
        self._taken_at = 0.0
        self._round_trip = 1.0  # seconds, of the last refusal that counted
        self.cut = 0  # the newest request at the last cut; refusals of earlier ones cut no more
        self._held_until = 0.0
        self._cut_before = False  # whether the rate was ever cut
        self._mark = Ticket(0, 0.0, 0, 0.0)
        self._refused = 0  # of the requests sent after the mark
        self._all_refused = 0
        self._stalls = 0  # cuts in succession with nothing accepted between them
        self._newest_at_stall = 0  # the newest request at the first of these cuts
        self._long_stall = False  # whether the last stall was long
        self._accepted_at_stall_end = 0  # accepted requests at the end of the last long stall
        self._stall_ended_at = 0.0

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

    def charge(self, now: float, stated: float) -> None:
        """Charge a request as it is sent; the rate grows only while it is in use."""
        if not self._stalls:
            growth = self._growth * self._growth_factor(now)
            self._rate *= 1 + growth * min(now - self._taken_at, 2 / self._rate)
            self._bucket.rate = self._rate
        self._taken_at = now
        self._bucket.charge(now, 1.0)
        self.active = self._rate < stated

    def on_accepted(self, ticket: Ticket) -> None:
        """Learn that the server accepted a request, which ends a stall."""
        if not self._stalls or ticket.number <= self._newest_at_stall:
            return
        seconds = max(ticket.sent_at - self._mark.sent_at, 1e-3)
        self._long_stall = self._stalls >= 3 and seconds > _LONG_STALL_SECONDS
        if not self.measured:
            accepted_rate = (ticket.number - self._mark.number) / seconds
            self._rate = min(self._rate, max(accepted_rate, self._rate / 2**self._stalls))
            self._growth = self._fast_growth()
        self._stalls = 0
        if self._long_stall:
            self._continue_after_stall(ticket)
        self._bucket.rate = self._rate

    def on_refused(self, now: float, ticket: Ticket, sent: int, stated: float, pause: float | None) -> None:
        """Learn from a 429.

        Parameters
        ----------
        now, ticket
            When the refusal arrived, and for which request.
        sent
            The number of the newest request.
        stated
            The rate that the headers state, or infinity.
        pause
            The server's `retry-after` in seconds, or `None`.
        """
        self._count_refusal(ticket)
        if ticket.number <= self.cut:
            return
        self.cut = sent
        self._round_trip = max(now - ticket.sent_at, 1e-3)
        accepted = ticket.number - self._mark.number - self._refused
        if not self._cut_before:
            self._cut_first(ticket, sent, stated)
        elif accepted >= _MEASURED_REQUESTS and not (self._stalls and self.active):
            self._measure(ticket, accepted)
        else:
            self._cut_again(ticket, sent, accepted)
        self._hold_until_paid(now, ticket, sent, pause)
        self.active = True

    def on_stray(self, ticket: Ticket, cleared: float | None) -> None:
        """Count a refusal that does not depend on the rate; restore `cleared`, the rate that such refusals had cut."""
        self._count_refusal(ticket)
        if cleared is None:
            return
        self._rate = max(self._rate, cleared)
        self._bucket.rate = self._rate
        self._growth = self._fast_growth()
        self._held_until = ticket.sent_at
        self.measured, self._long_stall, self._stalls = True, False, 0
        self._set_mark(ticket)

    def continue_at(self, now: float, sent: int, rate: float, *, measured: bool) -> None:
        """Continue at another rate, because runs that share the limit started or ended; `measured` is of their rate."""
        self.measured = self.measured if self.active else measured
        self.active = self._cut_before = True
        self._rate = self._bucket.rate = rate
        self._growth = self._slow_growth() if self.measured else self._fast_growth()
        self._long_stall, self._stalls = False, 0
        self.cut = sent
        self._bucket.drain(now)
        self._set_mark(Ticket(sent, now, 0, 0.0))

    def _count_refusal(self, ticket: Ticket) -> None:
        self._all_refused += 1
        self._refused += ticket.number > self._mark.number

    def _cut_first(self, ticket: Ticket, sent: int, stated: float) -> None:
        """Cut the rate for the first time; part of what was accepted so far was the server's initial allowance."""
        in_flight = (sent - ticket.number + 1) / self._round_trip
        so_far = ticket.number / max(ticket.sent_at - self._mark.sent_at, 1e-3)
        self._cut_before = True
        self.measured = stated < inf
        self._rate = stated if self.measured else max(in_flight, so_far) / 2
        self._growth = self._slow_growth()
        self._stalls, self._newest_at_stall = 1, sent
        self._set_mark(ticket)

    def _measure(self, ticket: Ticket, accepted: int) -> None:
        """Start again below what was accepted since the mark; the rate grows faster where less was accepted."""
        rate = _SAFETY_FACTOR * accepted / max(ticket.sent_at - self._mark.sent_at, 1e-3)
        sent_rate = self._rate / (1 + self._growth * self._round_trip)
        if not self.measured and not self._long_stall:  # in pauses some allowance was lost
            dense = self._refused > _DENSE_RATIO * accepted
            rate = max(rate, sent_rate / (2 if dense else 1 + sqrt(2 * _BUCKET_SECONDS * self._growth)))
        self._rate = max(rate, 1e-3)
        self.measured, self._long_stall = True, False
        uncertain = self._fast_growth() / (1 + accepted / (5 + self._refused))
        recovery = min(self._fast_growth(), (sent_rate / self._rate - 1) / _RECOVERY_SECONDS)
        self._growth = max(self._slow_growth(), uncertain, recovery)
        self._set_mark(ticket)

    def _cut_again(self, ticket: Ticket, sent: int, accepted: int) -> None:
        if not self._stalls:
            self._newest_at_stall = sent
            if not self.measured:
                seconds = max(ticket.sent_at - self._mark.sent_at, 1e-3)
                self._rate = max(self._rate / 2, accepted / seconds)
                self._set_mark(ticket)
        self._stalls += 1

    def _hold_until_paid(self, now: float, ticket: Ticket, sent: int, pause: float | None) -> None:
        """Hold until all requests since the mark are paid for; after each refused probe the hold is longer."""
        hold = (sent - self._mark.number + 2) / self._rate
        self._bucket.rate = self._rate
        if self._stalls:
            stalled = ticket.sent_at - self._mark.sent_at
            hold = max(hold, 2 * stalled)
            probes = 1 if stalled > _LONG_STALL_SECONDS else _PROBE_REQUESTS
            self._bucket.rate = min(self._rate, probes / self._round_trip)
        self._held_until = min(self._mark.sent_at + hold, now + _LONGEST_PROBE_SECONDS)
        self._bucket.drain(self._held_until)
        if self._stalls >= 4 and pause is not None:  # `pause` may be rounded up to a second
            self._held_until = max(self._held_until, now + min(pause - 1, _LONGEST_HOLD_SECONDS))

    def _continue_after_stall(self, ticket: Ticket) -> None:
        """Continue after a long stall; the average from the end of one to the end of the next is the limit."""
        accepted = ticket.number - self._all_refused
        if self._accepted_at_stall_end:
            seconds = max(ticket.sent_at - self._stall_ended_at, 1e-3)
            few = accepted - self._accepted_at_stall_end < _MEASURED_REQUESTS
            self._rate = max(_SAFETY_FACTOR * (accepted - self._accepted_at_stall_end) / seconds, 1e-3)
            self._growth = self._fast_growth() if few else self._slow_growth()
            self.measured = True
            self._set_mark(ticket)
        self._accepted_at_stall_end, self._stall_ended_at = accepted, ticket.sent_at

    def _set_mark(self, ticket: Ticket) -> None:
        self._mark, self._refused = ticket, 0

    def _growth_factor(self, now: float) -> float:
        """Return how much faster the rate grows after a long time without a refusal: the limit may have changed."""
        seconds = now - self._mark.sent_at
        periods = min(seconds / _STABLE_SECONDS, seconds * self._rate / _STABLE_REQUESTS)
        stable = periods > 1 and not self._accepted_at_stall_end
        return min(periods * periods, _LARGEST_GROWTH_FACTOR) if stable else 1.0

    def _slow_growth(self) -> float:
        """Return the growth of a well-measured rate: half a percent a second at most."""
        return min(0.005, self._rate * 0.0005, 0.002 / self._round_trip)

    def _fast_growth(self) -> float:
        """Return the growth of an uncertain rate: a 200th per request, and less with long round trips."""
        by_request = inf if self._long_stall else max(self._rate / 200, 0.06)
        return min(0.5, 0.15 / self._round_trip, by_request)
