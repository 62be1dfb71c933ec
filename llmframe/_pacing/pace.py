"""The pace of a run: every limit together, and when the next request may leave."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from llmframe._pacing.adaptive_rate import AdaptiveRate
from llmframe._pacing.admission import Admission, Limit, admit
from llmframe._pacing.header_limit import HeaderLimits
from llmframe._pacing.sharing import divided_rate, share
from llmframe._pacing.stray_429s import RefusalCause, Stray429s
from llmframe._pacing.token_bucket import Ticket, TokenEstimate
from llmframe._pacing.window import Spacing, Window
from llmframe._values import UsageReport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmframe._pacing.headers import RateHeaders

_REFUSED_SECONDS = 10.0  # in which a refused request may wait for its retry
_STARTING_SECONDS = 2.0  # in which a run's need is still unknown
_RECENT_SECONDS = 1.0


class Pace:
    """Decides when the next request may leave, and learns from the result of each.

    Only the first waiting request calls `admit`, sleeps, and calls `admit` again; when the wait is 0, `send`. Each
    ticket is returned once, to `on_answer`, `on_limit`, `on_fault` or `on_cancel`.

    Parameters
    ----------
    max_concurrency
        How many requests may be in flight at most, from the first success on. `None`: as many as the server
        accepts, up to 1,000.

    Attributes
    ----------
    waited_seconds : float
        How long requests were held back by rate limits.

    Examples
    --------
    >>> pace = Pace()
    >>> pace.admit(0.0, tokens=100).seconds
    0.0
    >>> ticket = pace.send(0.0, tokens=100)
    >>> pace.admit(0.0, tokens=100).seconds
    0.05
    >>> pace.on_answer(0.2, ticket, None, tokens_used=90)
    >>> pace.admit(0.2, tokens=100).seconds
    0.0
    """

    def __init__(self, max_concurrency: int | None = None) -> None:
        self.waited_seconds = 0.0
        self._window = Window(max_concurrency)
        self._spacing = Spacing()
        self._estimate = TokenEstimate()
        self._headers = HeaderLimits(self._estimate)
        self._adaptive = AdaptiveRate()
        self._strays = Stray429s()
        self._limits: tuple[Limit, ...] = (self._window, self._spacing)
        self._rate_limited = False  # whether any rate limit is known
        self._sent = 0
        self._held_since: float | None = None  # since when a rate limit holds back the first waiting request
        self._released_at = -inf
        self._others: Mapping[int, UsageReport] = {}
        self._reported = 0  # requests sent by the last report
        self._began_at = self._reported_at = self._refused_at = -inf

    @property
    def window(self) -> int:
        """How many requests may be in flight now."""
        return self._window.size

    @property
    def in_flight(self) -> int:
        return self._window.in_flight

    def waiting_for_limit(self, now: float) -> bool:
        """Whether a rate limit holds requests back now, or did within the last second."""
        return self._held_since is not None or now - self._released_at < _RECENT_SECONDS

    def admit(self, now: float, tokens: int) -> Admission:
        """Decide whether a request of this many estimated tokens may leave now."""
        verdict = admit(self._limits, now, tokens)
        if verdict.held_by and self._held_since is None and self._rate_limited:
            limits = (self._headers, self._adaptive)
            if any(limit in limits for limit in verdict.held_by):
                self._held_since = now
        return verdict

    def send(self, now: float, tokens: int) -> Ticket:
        """Charge the limits for a request as it is sent; `tokens` is the estimate of its cost."""
        if not self._sent:
            self._adaptive.start(now)
        self._sent += 1
        self._window.in_flight += 1
        self._spacing.on_send(now)
        reserved = self._charge(now, tokens) if self._rate_limited else 0.0
        return Ticket(self._sent, now, tokens, reserved)

    def _charge(self, now: float, tokens: int) -> float:
        if self._held_since is not None:
            self.waited_seconds += now - self._held_since
            self._held_since = None
            self._released_at = now
        reserved = self._headers.charge(now, tokens)
        if self._adaptive.active:
            self._adaptive.charge(now, self._stated_rate())
        return reserved

    def on_answer(
        self, now: float, ticket: Ticket, headers: RateHeaders | None, tokens_used: int | None
    ) -> None:
        """Learn from any response that is neither a 429 nor a passing fault.

        Parameters
        ----------
        now, ticket
            When the response arrived, and for which request.
        headers
            The limits that its headers state.
        tokens_used
            Its cost, which replaces the estimate. `None`: unknown.
        """
        self._remove_from_flight()
        self._window.on_answer(now, ticket.number, self._sent)
        self._spacing.end()
        if headers is not None:
            self._read_headers(now, ticket, headers)
            if self._rate_limited:
                self._window.open()
        if self._adaptive.active:
            self._adaptive.on_accepted(ticket)
        if tokens_used and ticket.estimate > 0:
            self._estimate.learn(ticket.estimate, tokens_used)
        if ticket.reserved and tokens_used is not None:
            self._headers.adjust(tokens_used - ticket.reserved)

    def on_limit(
        self, now: float, ticket: Ticket, headers: RateHeaders | None, retry_after: float | None
    ) -> None:
        """Learn from a 429; `retry_after` is the seconds that the server asks to wait, if it states any."""
        self._remove_from_flight()
        self._refused_at = now
        if headers is not None:
            self._read_headers(now, ticket, headers)
        own = (self._sent - ticket.number + 1) / max(now - ticket.sent_at, 1e-3)
        own = min(own, self._adaptive.rate)
        others = self._rate_of_others(own)
        cause = self._strays.judge(ticket.number, own + others, after_cut=ticket.number > self._adaptive.cut)
        if cause is RefusalCause.LIMIT:
            self._adaptive.on_refused(now, ticket, self._sent, self._stated_rate(), retry_after)
            self._add_rate_limits()
        else:
            cleared = self._strays.cleared - others if cause is RefusalCause.UNAVOIDABLE else None
            self._adaptive.on_stray(ticket, cleared)

    def on_fault(self, now: float, ticket: Ticket, headers: RateHeaders | None = None) -> None:
        """Learn from a passing fault: a 5xx, a reset or a timeout."""
        self._remove_from_flight()
        if headers is not None:
            self._read_headers(now, ticket, headers)
        self._window.on_fault(ticket.number, self._sent)
        if self._window.outage:
            self._spacing.probe()

    def on_cancel(self) -> None:
        """Remove a cancelled request; its charge stays."""
        self._remove_from_flight()

    def usage_report(self, now: float) -> UsageReport | None:
        """Report the use of the limits since the last report to the runs that share them; `None`: no use."""
        if self._began_at == -inf:
            self._began_at = self._reported_at = now
        seconds = max(now - self._reported_at, 1e-3)
        load = self._headers.load(seconds)
        held = self._held_since is not None or self._released_at >= self._reported_at
        used, self._reported = (self._sent - self._reported) / seconds, self._sent
        self._reported_at = now
        needs_more = held or now - self._began_at < _STARTING_SECONDS
        needs_more = needs_more or now - self._refused_at < _REFUSED_SECONDS
        if not used and not needs_more:
            return None
        learnt = self._adaptive.rate if self._adaptive.active else None
        sharing_runs = len(self._others) + 1
        return UsageReport(load, needs_more, learnt, sharing_runs, used, self._adaptive.measured)

    def divide(self, now: float, own: UsageReport | None, others: Mapping[int, UsageReport]) -> None:
        """Divide the limits with the other runs, which are mapped from their numbers."""
        if own is None:
            return
        self._headers.divide(share(own, list(others.values())))
        rate = divided_rate(own, self._others, others)
        if rate is not None:
            measured = all(report.measured for report in others.values() if report.rate is not None)
            self._adaptive.continue_at(now, self._sent, rate, measured=measured)
            self._add_rate_limits()
        self._others = others

    def _remove_from_flight(self) -> None:
        if self._window.in_flight:
            self._window.in_flight -= 1

    def _add_rate_limits(self) -> None:
        if not self._rate_limited:
            self._rate_limited = True
            self._limits = (*self._limits, self._headers, self._adaptive)

    def _stated_rate(self) -> float:
        """Return how many requests per second the headers allow; infinity when they state nothing."""
        return self._headers.rate(self._estimate.mean)

    def _rate_of_others(self, own: float) -> float:
        """Return how many requests per second the runs send that share an unstated limit; infinity while unknown.

        A run without a measured rate counts with the requests it sent lately, unless it sends more than this run:
        its rate is still growing.
        """
        if not self._others or self._stated_rate() < inf:
            return 0.0
        if not self._adaptive.measured:
            return inf
        total = 0.0
        for report in self._others.values():
            if report.measured and report.rate is not None:
                total += report.rate
            else:
                total += report.used if 0 < report.used <= own else inf
        return total

    def _read_headers(self, now: float, ticket: Ticket, headers: RateHeaders) -> None:
        tokens = ticket.estimate * self._estimate.ratio
        if self._headers.update(now, headers, tokens=tokens, unseen=self._sent - ticket.number):
            self._add_rate_limits()
