"""The pace of an account: all that limits it together, and when the next request of one of its runs may leave."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Protocol

from llmframe._pacing.sharing import share
from llmframe._pacing.stated_limit import StatedLimit
from llmframe._pacing.ticket import Ticket
from llmframe._pacing.unstated_limit import UnstatedLimit
from llmframe._pacing.window import START_REQUESTS, START_SECONDS, Window
from llmframe._values import LearntPace, UsageReport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmframe._pacing.headers import RateHeaders
    from llmframe._values import LearntLimit

_AT_ONCE = 1e-6
"""Seconds; a shorter wait counts as none."""
_LONGEST = 1.0
"""Seconds; a request that must wait asks again at the latest after this time."""
_FULL = 0.02
"""Seconds after which a request asks again when enough are in flight."""
_RECENT_SECONDS = 1.0
_STARTING_SECONDS = 2.0  # in which a run's need is still unknown
_REFUSED_SECONDS = 10.0  # in which a refused request may wait for its retry


class InFlightBound(Protocol):
    """Bounds a run's requests in flight until something about them is known."""

    @property
    def most_in_flight(self) -> int | None:
        """How many may be in flight; `None`: any number."""


class Pace:
    """The pace of all runs of a process that share server, key, model and event loop.

    Parameters
    ----------
    local
        Whether the server is the user's own, which queues requests and does not refuse them.
    learnt, now
        What an earlier process has learnt, and when it was read.

    Examples
    --------
    >>> run = Pace().join()
    >>> run.admit(0.0, tokens=100)
    0.0
    >>> ticket = run.send(0.0, tokens=100)
    >>> round(run.admit(0.0, tokens=100), 4)
    0.0047
    >>> run.on_answer(0.2, ticket, None, tokens_used=90)
    >>> run.admit(0.2, tokens=100)
    0.0
    """

    def __init__(self, *, local: bool = False, learnt: LearntPace | None = None, now: float = 0.0) -> None:
        learnt = learnt or LearntPace(0)
        self.runs: list[RunPace] = []
        self.proven = set[bytes]()
        """The recipes of which a request was answered."""
        self._window = Window(local=local, learnt=learnt.window)
        self._by_second_until = now + learnt.by_second_seconds
        self._share = 1.0
        self._requests = self._learnt_limit(learnt.requests, now, charged=1.0)
        self._tokens = self._learnt_limit(learnt.tokens, now, charged=None)
        self._confirmed = False
        """Whether an answer has shown which limits the server states now."""
        self._most_requests: StatedLimit | None = None
        self._most_tokens: StatedLimit | None = None
        self._stated: list[tuple[StatedLimit, bool]] = []
        """The four above that are known, and whether they count tokens."""
        self._unstated = UnstatedLimit(learnt.unstated)
        self._sent = 0
        self._tokens_sent = 0
        self._unlimited_at, self._unlimited = 0.0, 0
        """When the newest request was sent whose answer stated no limit, and its number; the first one's time before it."""
        self._held_at = self._refused_at = self._began_at = self._reported_at = -inf
        self._reported = 0
        self._list_limits()

    @property
    def in_flight(self) -> int:
        return self._window.in_flight

    @property
    def window(self) -> Window:
        return self._window

    def join(
        self,
        max_concurrency: int | None = None,
        *,
        recipe: bytes = b"",
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        rungs: InFlightBound | None = None,
        warming: InFlightBound | None = None,
        call: object = None,
    ) -> RunPace:
        """Add a run, with what its user allows at most; it ends with `leave`.

        Parameters
        ----------
        max_concurrency
            How many of its requests may be in flight. `None`: as many as the server accepts, up to 1,000.
        recipe
            Identifies what its requests have in common.
        requests_per_minute, tokens_per_minute
            Ceilings of all runs together: the least of those that are stated by a run going on.
        rungs
            Bounds the requests in flight until it is known whether the server holds to what is asked for.
        warming
            Bounds them until what they have in common is in the provider's cache.
        call
            What `max_concurrency` bounds, where that is several runs: those of a file's chunks.
        """
        if not self.runs:
            self._window = self._window.again()
        run = RunPace(
            self,
            max_concurrency,
            recipe,
            (requests_per_minute, tokens_per_minute),
            (rungs, warming),
            call=call,
        )
        self.runs.append(run)
        self._apply_ceilings()
        return run

    def leave(self, run: RunPace) -> None:
        self.runs.remove(run)
        self._apply_ceilings()

    def admit(self, now: float, run: RunPace, tokens: int) -> float:
        """Decide when a run's request of this many estimated tokens may leave: in this many seconds, or now (0.0).

        A request waits while its run has enough in flight; while the account has, unless the run has less than an
        equal part; while the account or the run has only just started, or every request fails; and as long as the
        limits say that the server or the user states, or that refusals have taught.
        """
        window = self._window
        if run.in_flight >= run.window or self._enough_of_call(run):
            return _FULL
        if run.most is None and window.in_flight >= window.size <= run.in_flight * len(self.runs):
            return _FULL
        wait = max(window.spacing(now), run.until_started(now))
        limited = self._unstated.wait(now)
        for limit, counts_tokens in self._stated:
            limited = max(limited, limit.wait(now, tokens if counts_tokens else 1.0))
        if limited > _AT_ONCE:
            self._held_at = now
            run.hold(now)
            window.open()
        wait = max(wait, limited)
        return min(wait, _LONGEST) if wait > _AT_ONCE else 0.0

    def _enough_of_call(self, run: RunPace) -> bool:
        """Return whether the runs of a call have as many requests in flight as its user allows."""
        if run.most is None or run.call is None:
            return False
        return sum(other.in_flight for other in self.runs if other.call is run.call) >= run.most

    def send(self, now: float, tokens: int) -> Ticket:
        """Charge the limits for a request as it is sent; `tokens` is the estimate of its cost."""
        if not self._sent:
            self._unlimited_at = now
        self._sent += 1
        self._tokens_sent += tokens
        self._window.on_send(now)
        self._unstated.charge(now)
        charges = tuple(
            (limit, limit.charge(now, tokens if counts else 1.0)) for limit, counts in self._stated
        )
        ahead = max((limit.ahead(now) for limit, _ in charges), default=0.0)
        return Ticket(self._sent, now, tokens, self._tokens_sent, ahead, charges)

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
            What it used. `None`: unknown.
        """
        self._window.on_end()
        self._window.on_answer(now, ticket.number, self._sent)
        if not self._confirmed:
            self._confirm(headers)
        if headers is not None:
            self._read(now, ticket, headers)
        if self._requests is None and ticket.number > self._unlimited:
            self._unlimited_at, self._unlimited = ticket.sent_at, ticket.number
        self._unstated.on_accepted(ticket)
        for limit, charged in ticket.charges:
            limit.on_answer(ticket.ahead)
            if tokens_used:
                limit.on_used(ticket.tokens, charged, tokens_used)

    def on_limit(
        self, now: float, ticket: Ticket, headers: RateHeaders | None, retry_after: float | None
    ) -> None:
        """Learn from a 429; `retry_after` is the seconds that the server asks to wait, if it states any.

        A 429 that says that nothing remains is the end of what could be used: another client took the rest. One that
        says that something remains, of a request that left ahead of an even pace, shows a limit that is enforced by
        the second. Any other is of a limit that is not stated.
        """
        self._window.on_end()
        self._window.on_refusal()
        self._refused_at = now
        stated = []
        for limit, counts_tokens in self._stated:
            limit.on_refused(ticket.tokens if counts_tokens else 1.0)
        if headers is not None:
            self._read(now, ticket, headers)
            stated = [
                (limit, limit.lacks(now, ticket.tokens if tokens else 1.0)) for limit, tokens in self._stated
            ]
        if any(lacks for _, lacks in stated):
            for limit, lacks in stated:
                if lacks:
                    limit.hold(now, retry_after)
        elif self._requests is not None and not ticket.charges:
            return  # it left before the limit was known, which has counted it since
        elif not any(limit.on_early_refusal(now, ticket.ahead) for limit, _ in stated):
            self._unstated.on_refused(now, ticket, self._sent, retry_after)

    def on_fault(self, now: float, ticket: Ticket, headers: RateHeaders | None = None) -> None:
        """Learn from a passing fault: a 5xx, a reset or a timeout."""
        self._window.on_end()
        if headers is not None:
            self._read(now, ticket, headers)
        self._window.on_fault(now, ticket.number, self._sent)

    def on_cancel(self) -> None:
        """Remove a cancelled request; its charge stays."""
        self._window.on_end()

    def learnt(self, now: float) -> LearntPace | None:
        """Return what the next process may start with; `None`: nothing was answered."""
        window = self._window
        if not window.answered:
            return None
        by_second_until = max((limit.by_second_until for limit, _ in self._stated), default=now)
        requests, tokens = (
            None if limit is None else limit.learnt(now) for limit in (self._requests, self._tokens)
        )
        unstated = self._unstated.learnt() if self._requests is self._tokens is None else None
        return LearntPace(window.best, max(0.0, by_second_until - now), requests, tokens, unstated)

    def usage_report(self, now: float) -> UsageReport | None:
        """Report the use of the limits since the last report to the processes that share them; `None`: no use."""
        if self._began_at == -inf:
            self._began_at = self._reported_at = now
        seconds = max(now - self._reported_at, 1e-3)
        load = max((limit.load(seconds) for limit in (self._requests, self._tokens) if limit), default=0.0)
        used, self._reported = self._sent - self._reported, self._sent
        needs_more = self._held_at >= self._reported_at or now - self._began_at < _STARTING_SECONDS
        needs_more = needs_more or now - self._refused_at < _REFUSED_SECONDS
        self._reported_at = now
        return UsageReport(load, needs_more) if used or needs_more else None

    def divide(self, own: UsageReport | None, others: Sequence[UsageReport]) -> None:
        """Divide the limits with the other processes."""
        if own is None:
            return
        self._share = share(own, others)
        for limit, _ in self._stated:
            limit.divide(self._share)

    def _read(self, now: float, ticket: Ticket, headers: RateHeaders) -> None:
        requests, tokens = headers.requests, headers.tokens
        if requests[0] is not None:
            first = self._requests is None
            self._requests = self._requests or self._new_limit(requests[0], now, charged=1.0)
            self._requests.read(now, ticket.sent_at, requests, total=ticket.number, sent=self._sent)
            if first:
                self._requests.begin(self._unlimited_at, self._sent - self._unlimited)
                self._list_limits()
        if tokens[0] is not None:
            if self._tokens is None:
                self._tokens = self._new_limit(tokens[0], now, charged=None)
                self._list_limits()
            self._tokens.read(now, ticket.sent_at, tokens, total=ticket.tokens_so_far, sent=self._tokens_sent)

    def _new_limit(self, limit: float, now: float, *, charged: float | None) -> StatedLimit:
        return StatedLimit(limit, now, self._share, charged=charged, by_second_until=self._by_second_until)

    def _learnt_limit(
        self, learnt: LearntLimit | None, now: float, *, charged: float | None
    ) -> StatedLimit | None:
        if learnt is None:
            return None
        limit = self._new_limit(learnt.limit, now, charged=charged)
        limit.begin_with(learnt, now)
        return limit

    def _confirm(self, headers: RateHeaders | None) -> None:
        """Forget the limits that the server stated to an earlier process, and does not state any more."""
        self._confirmed = True
        if headers is None or headers.limit_requests is None:
            self._requests = None
        if headers is None or headers.limit_tokens is None:
            self._tokens = None
        self._list_limits()

    def _apply_ceilings(self) -> None:
        """Apply the least ceilings of the runs that are going on."""
        self._most_requests = self._ceiling(self._most_requests, 0, charged=1.0)
        self._most_tokens = self._ceiling(self._most_tokens, 1, charged=None)
        self._list_limits()

    def _ceiling(self, limit: StatedLimit | None, unit: int, *, charged: float | None) -> StatedLimit | None:
        least = min((most for run in self.runs if (most := run.ceilings[unit])), default=None)
        if least is None or (limit is not None and limit.limit == least):
            return limit if least is not None else None
        return StatedLimit(least, -inf, self._share, charged=charged)

    def _list_limits(self) -> None:
        limits = [(self._requests, False), (self._tokens, True)]
        limits += [(self._most_requests, False), (self._most_tokens, True)]
        self._stated = [(limit, counts_tokens) for limit, counts_tokens in limits if limit is not None]


class RunPace:
    """One run's part in its account's pace: it counts its own requests, and keeps its own bound on them.

    Only the first waiting request calls `admit`, sleeps, and calls `admit` again; when the wait is 0, `send`. Each
    ticket is returned once, to `on_answer`, `on_limit`, `on_fault` or `on_cancel`.

    Attributes
    ----------
    waited_seconds : float
        How long its requests were held back by rate limits.
    """

    def __init__(
        self,
        pace: Pace,
        most: int | None,
        recipe: bytes,
        ceilings: tuple[float | None, float | None],
        bounds: Sequence[InFlightBound | None] = (),
        *,
        call: object = None,
    ) -> None:
        self.most = most
        self.call = call
        self._bounds = [bound for bound in bounds if bound is not None]
        self.ceilings = ceilings
        self.in_flight = 0
        self.waited_seconds = 0.0
        self.account = pace
        self._recipe = recipe
        self._started = recipe in pace.proven
        self._sent = 0
        self._began_at = -inf
        self._held_since: float | None = None
        self._released_at = -inf

    @property
    def window(self) -> int:
        """How many requests may be in flight now."""
        window = self.account.window
        size = window.size if self.most is None else self.most
        if window.stopped:
            size = min(window.size, size)
        for bound in self._bounds:
            if (most := bound.most_in_flight) is not None:
                size = min(size, most)
        return size

    def until_started(self, now: float) -> float:
        """Return the seconds until further requests may leave: few do before it is known whether they are refused."""
        if self._started or self._sent < START_REQUESTS:
            return 0.0
        return self._began_at + START_SECONDS - now

    def hold(self, now: float) -> None:
        """Note that a rate limit holds the first waiting request back."""
        if self._held_since is None:
            self._held_since = now

    def waiting_for_limit(self, now: float) -> bool:
        """Whether a rate limit holds requests back now, or did within the last second."""
        return self._held_since is not None or now - self._released_at < _RECENT_SECONDS

    def admit(self, now: float, tokens: int) -> float:
        """Return the seconds after which a request may leave, or ask again, at most 1.0; 0.0: it may leave now."""
        return self.account.admit(now, self, tokens)

    def send(self, now: float, tokens: int) -> Ticket:
        """Count a request as it is sent."""
        if self._held_since is not None:
            self.waited_seconds += now - self._held_since
            self._held_since, self._released_at = None, now
        if not self._sent:
            self._began_at = now
        self._sent += 1
        self.in_flight += 1
        return self.account.send(now, tokens)

    def on_answer(
        self, now: float, ticket: Ticket, headers: RateHeaders | None, tokens_used: int | None
    ) -> None:
        """Pass on a response that is neither a 429 nor a passing fault."""
        self.in_flight -= 1
        if not self._started:
            self._started = True
            self.account.proven.add(self._recipe)
        self.account.on_answer(now, ticket, headers, tokens_used)

    def on_limit(
        self, now: float, ticket: Ticket, headers: RateHeaders | None, retry_after: float | None
    ) -> None:
        self.in_flight -= 1
        self.account.on_limit(now, ticket, headers, retry_after)

    def on_fault(self, now: float, ticket: Ticket, headers: RateHeaders | None = None) -> None:
        self.in_flight -= 1
        self.account.on_fault(now, ticket, headers)

    def on_cancel(self) -> None:
        """Remove a cancelled request; its charge stays."""
        self.in_flight -= 1
        self.account.on_cancel()

    def leave(self) -> None:
        self.account.leave(self)
