"""The pace of a run: when the next request may leave and how many may be in flight.

Pure decisions: no clock, no I/O, no event loop. Callers pass `now`, seconds on a monotonic clock.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from llmframe._pacing.adaptive_rate import LearntRate
from llmframe._pacing.header_limit import StatedLimits
from llmframe._pacing.headers import RateHeaders, retry_after
from llmframe._pacing.sharing import Report, rate, share
from llmframe._pacing.stray_429s import Strays, Verdict
from llmframe._pacing.token_bucket import Ticket

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Pace", "RateHeaders", "Ticket", "retry_after"]

_FIRST_WINDOW = 20  # until the first success
_SMALLEST_WINDOW = 4
_LARGEST_WINDOW = 1_000
_FASTEST_GROWTH = 0.35  # seconds in which the window grows e-fold at most
_FIRST_SPACING = 1 / 20  # seconds between requests until the first success
_PROBE_SPACING = 1 / 4  # seconds between requests of an outage
_OUTAGE = 20  # faults in a row
_LONGEST_DELAY = 1.0
_FULL_WINDOW_DELAY = 0.02
_MOST_USED = (
    100_000  # tokens that one answer says others may cost: hard to reason for longer, easy to talk nonsense
)
_REST = 10.0  # seconds in which a refused request may rest before it is tried again
_YOUNG = 2.0  # seconds in which nobody knows yet what a run needs


class Window:
    """How many requests may be in flight: doubled each round trip at first, cut when most of them fail."""

    __slots__ = (
        "_bad",
        "_epoch",
        "_exact",
        "_fixed",
        "_good",
        "_grown_at",
        "_most",
        "_room",
        "_slow_start",
        "_streak",
        "size",
    )

    def __init__(self, most: int | None) -> None:
        self._fixed = most is not None
        self._most = _LARGEST_WINDOW if most is None else most
        self.size = min(_FIRST_WINDOW, self._most)
        self._exact = float(self.size)
        self._slow_start = True
        self._grown_at = 0.0
        self._room = 0.0
        self._good = self._bad = 0
        self._epoch = 0  # the newest request when this round trip began
        self._streak = 0  # faults since the last success

    @property
    def outage(self) -> bool:
        return self._streak >= _OUTAGE

    def open(self) -> None:
        """Open fully: something else limits the sending."""
        if self._slow_start:
            self._exact = self._most
            self.size = self._most
            self._slow_start = False

    def answered(self, now: float, number: int, sent: int, in_flight: int) -> None:
        self._streak = 0
        self._good += 1
        if self._fixed:
            self.size = self._most
            return
        if self._slow_start and 2 * in_flight > self.size:
            self._grow(now)
        if number > self._epoch:
            self._end_round_trip(sent)

    def faulted(self, number: int, sent: int) -> None:
        self._streak += 1
        self._bad += 1
        if number > self._epoch and not self._fixed and not self.outage:
            self._end_round_trip(sent)

    def _grow(self, now: float) -> None:
        """Grow by one each success, which doubles the window a round trip, but no faster than by time."""
        room = self._room + self._exact * (now - self._grown_at) / _FASTEST_GROWTH
        growth = min(1.0, room)
        self._room = min(room, self._exact) - growth
        self._grown_at = now
        self._resize(self._exact + growth)

    def _end_round_trip(self, sent: int) -> None:
        outcomes = self._good + self._bad
        if outcomes < 10:
            return
        if 3 * self._bad > outcomes:
            self._slow_start = False
            self._resize(self._exact * 0.7)
        elif not self._slow_start and 5 * self._bad <= outcomes:
            self._resize(self._exact * 1.05)
        self._good = self._bad = 0
        self._epoch = sent

    def _resize(self, size: float) -> None:
        self._exact = min(max(size, _SMALLEST_WINDOW), self._most)
        self.size = int(self._exact)


class TokenEstimate:
    """What requests cost, over what was estimated and on average, learnt from the last 500 or so."""

    __slots__ = ("_count", "_estimated", "_used", "ratio")

    def __init__(self) -> None:
        self.ratio = 1.0
        self._count = self._estimated = self._used = 0.0

    @property
    def mean(self) -> float:
        """Tokens of a request; 0.0 while unknown."""
        return self._used / self._count if self._count else 0.0

    def learn(self, estimate: int, used: int) -> None:
        self._count += 1 - self._count / 500
        self._estimated += estimate - self._estimated / 500
        self._used += min(used, _MOST_USED) - self._used / 500
        self.ratio = max(self._used / self._estimated, 0.01)


class Pace:
    """When the next request may leave, and how many may be in flight.

    Only the head of the line asks: `delay`, sleep, `delay` again, and when it is 0, `sent`. Each ticket is
    handed back once, to `answered`, `limited`, `faulted` or `abandoned`.

    Parameters
    ----------
    max_concurrency
        How many requests may be in flight at most, from the first success on. None: as many as the server
        bears, up to 1,000.

    Attributes
    ----------
    in_flight
        How many requests are in flight now.
    waited_seconds
        How long the line was held back by limits.

    Examples
    --------
    >>> pace = Pace()
    >>> pace.delay(0.0, tokens=100)
    0.0
    >>> ticket = pace.sent(0.0, tokens=100)
    >>> pace.delay(0.0, tokens=100)
    0.05
    >>> pace.answered(0.2, ticket, None, tokens_used=90)
    >>> pace.delay(0.2, tokens=100)
    0.0
    """

    def __init__(self, max_concurrency: int | None = None) -> None:
        self.waited_seconds = 0.0
        self.in_flight = 0
        self._window = Window(max_concurrency)
        self._learnt = LearntRate()
        self._strays = Strays()
        self._estimate = TokenEstimate()
        self._stated = StatedLimits()
        self._sent = 0
        self._sent_at = -inf
        self._spacing = _FIRST_SPACING
        self._limited = False  # whether any limit is known
        self._held_at: float | None = None  # since when a limit holds the head of the line back
        self._released_at = -inf
        self._others: Mapping[int, Report] = {}
        self._reported = 0  # requests sent, when last asked
        self._began_at = self._reported_at = self._refused_at = -inf

    @property
    def window(self) -> int:
        """How many requests may be in flight now."""
        return self._window.size

    def waiting_for_limit(self, now: float) -> bool:
        """Whether a limit holds requests back now, or did within the last second."""
        return self._held_at is not None or now - self._released_at < 1.0

    def report(self, now: float) -> Report | None:
        """Say what was used of the limits since the last report, for the runs that share them; None: nothing."""
        if self._began_at == -inf:
            self._began_at = self._reported_at = now
        seconds = max(now - self._reported_at, 1e-3)
        load = self._stated.load(seconds)
        held = self._held_at is not None or self._released_at >= self._reported_at
        used, self._reported = (self._sent - self._reported) / seconds, self._sent
        self._reported_at = now
        hungry = held or now - self._began_at < _YOUNG or now - self._refused_at < _REST
        if not used and not hungry:
            return None
        learnt = self._learnt.rate if self._learnt.active else None
        parties = len(self._others) + 1
        return Report(load, hungry, learnt, parties, used, self._learnt.measured)

    def divide(self, now: float, mine: Report | None, others: Mapping[int, Report]) -> None:
        """Leave the other runs, known by their numbers, their share of the limits."""
        if mine is None:
            return
        self._stated.divide(share(mine, list(others.values())))
        moved = rate(mine, self._others, others)
        if moved is not None:
            measured = all(report.measured for report in others.values() if report.rate is not None)
            self._learnt.moved(now, self._sent, moved, measured=measured)
            self._limited = True
        self._others = others

    def delay(self, now: float, tokens: int) -> float:
        """Seconds to wait before asking again, at most 1.0; 0.0: the next request may leave now."""
        wait = self._limit_wait(now, tokens) if self._limited else 0.0
        if wait > 1e-6 and self._held_at is None:
            self._held_at = now
        if self._spacing:
            wait = max(wait, self._sent_at + self._spacing - now)
        if self.in_flight >= self._window.size:
            wait = max(wait, _FULL_WINDOW_DELAY)
        return min(wait, _LONGEST_DELAY) if wait > 1e-6 else 0.0

    def sent(self, now: float, tokens: int) -> Ticket:
        """Take a request's share as it leaves; `tokens` is the estimate of what it costs."""
        if not self._sent:
            self._learnt.start(now)
        self._sent += 1
        self._sent_at = now
        self.in_flight += 1
        reserved = self._take(now, tokens) if self._limited else 0.0
        return Ticket(self._sent, now, tokens, reserved)

    def answered(
        self, now: float, ticket: Ticket, headers: RateHeaders | None, tokens_used: int | None
    ) -> None:
        """Learn from any answer that is neither a 429 nor a passing fault.

        Parameters
        ----------
        now, ticket
            When it came, and for which request.
        headers
            What its headers said of limits.
        tokens_used
            What it cost, which replaces the estimate. None: unknown.
        """
        self._landed()
        self._window.answered(now, ticket.number, self._sent, self.in_flight + 1)
        self._spacing = 0.0
        if headers is not None:
            self._heard(now, ticket, headers)
            if self._limited:
                self._window.open()
        if self._learnt.active:
            self._learnt.accepted(ticket)
        if tokens_used and ticket.estimate > 0:
            self._estimate.learn(ticket.estimate, tokens_used)
        if ticket.reserved and tokens_used is not None:
            self._stated.settle(tokens_used - ticket.reserved)

    def limited(
        self, now: float, ticket: Ticket, headers: RateHeaders | None, retry_after: float | None
    ) -> None:
        """Learn from a 429; `retry_after` is the seconds that the server asks to wait, if it does."""
        self._landed()
        self._refused_at = now
        if headers is not None:
            self._heard(now, ticket, headers)
        mine = (self._sent - ticket.number + 1) / max(now - ticket.sent_at, 1e-3)
        mine = min(mine, self._learnt.rate)
        others = self._rate_of_others(mine)
        verdict = self._strays.refused(ticket.number, mine + others, news=ticket.number > self._learnt.cut)
        if verdict is Verdict.LIMIT:
            self._learnt.refused(now, ticket, self._sent, self._stated_rate(), retry_after)
            self._limited = True
        else:
            cleared = self._strays.cleared - others if verdict is Verdict.UNAVOIDABLE else None
            self._learnt.strayed(ticket, cleared)

    def faulted(self, now: float, ticket: Ticket, headers: RateHeaders | None = None) -> None:
        """Learn from a passing fault: a 5xx, a reset, a timeout."""
        self._landed()
        if headers is not None:
            self._heard(now, ticket, headers)
        self._window.faulted(ticket.number, self._sent)
        if self._window.outage:
            self._spacing = _PROBE_SPACING

    def abandoned(self, now: float, ticket: Ticket) -> None:  # noqa: ARG002 one signature for all outcomes
        """Forget a request that was cancelled; what it took stays taken."""
        self._landed()

    def _landed(self) -> None:
        if self.in_flight:
            self.in_flight -= 1

    def _stated_rate(self) -> float:
        """Say how many requests per second the headers allow; infinity when they state nothing."""
        return self._stated.rate(self._estimate.mean)

    def _rate_of_others(self, mine: float) -> float:
        """Say how many requests per second those send who share an unstated limit; infinity while that is not known.

        Who has measured no rate counts with what it sent lately, unless it sends more than this run: it is still
        finding out how fast it may go.
        """
        if not self._others or self._stated_rate() < inf:
            return 0.0
        if not self._learnt.measured:
            return inf
        total = 0.0
        for report in self._others.values():
            if report.measured and report.rate is not None:
                total += report.rate
            else:
                total += report.used if 0 < report.used <= mine else inf
        return total

    def _limit_wait(self, now: float, tokens: int) -> float:
        wait = self._stated.wait(now, tokens * self._estimate.ratio)
        if self._learnt.active:
            wait = max(wait, self._learnt.wait(now))
        return wait

    def _take(self, now: float, tokens: int) -> float:
        if self._held_at is not None:
            self.waited_seconds += now - self._held_at
            self._held_at = None
            self._released_at = now
        reserved = self._stated.take(now, tokens * self._estimate.ratio)
        if self._learnt.active:
            self._learnt.take(now, self._stated_rate())
        return reserved

    def _heard(self, now: float, ticket: Ticket, headers: RateHeaders) -> None:
        tokens = ticket.estimate * self._estimate.ratio
        if self._stated.heard(now, headers, tokens=tokens, unseen=self._sent - ticket.number):
            self._limited = True
