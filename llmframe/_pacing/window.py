"""How many requests may be in flight, and how the first ones are spaced."""

from __future__ import annotations

from math import inf

START_SECONDS = 0.3  # in which refusals would have arrived
START_REQUESTS = 64  # that may leave in these seconds
FIRST_WINDOW = 300  # until the first answer
_ANSWERED_WINDOW = 20  # after an answer within the start, at least
_LOCAL_WINDOW = 16  # until the first answer of a server of the user's own
_SMALLEST_WINDOW = 4
_LARGEST_WINDOW = 1_000
_FASTEST_GROWTH = 0.4  # seconds in which the window grows e-fold at most
_LEAST_GAIN = 1.05  # of answers per second, for which a window beyond the first one grows
_OUTAGE = 20  # faults in succession
_OPEN_SPACING = 0.001  # seconds between requests after the start, until the first answer
_PROBE_SPACING = 1 / 4  # seconds between requests during an outage


class Window:
    """The requests in flight of one account.

    Before the first answer, which may take seconds, the absence of refusals, which take some hundred milliseconds, is
    all that there is to know: the window opens by time. A local server queues requests and does not refuse them: there
    the window grows by answers alone. It doubles each round trip up to 300; beyond that while the answers per second
    grow with it; and it is cut when many requests fail.

    Parameters
    ----------
    local
        Whether the server is the user's own.
    learnt
        The largest window that an earlier process used without refusals; 0: unknown.

    Attributes
    ----------
    size, in_flight : int
        How many requests may be, and are, in flight.
    stopped : bool
        Whether a request was refused or failed before any was answered.
    answered : bool
    """

    def __init__(self, *, local: bool = False, learnt: int = 0) -> None:
        self.in_flight = 0
        self.stopped = False
        self.answered = learnt > 0
        self.size = self._first = _LOCAL_WINDOW if local else FIRST_WINDOW
        self.best = learnt
        """The most requests in flight of which one was answered, since the window was last cut."""
        self._spaced = not local and not learnt
        self._began_at = self._sent_at = -inf
        self._doubling = True
        self._grown_at = 0.0
        self._allowed_growth = 0.0
        self._good = self._bad = 0
        self._round_trip_start = 0  # the newest request when this round trip began
        self._round_trip_at = -inf
        self._rate = 0.0  # answers per second in the last round trip
        self._faults_in_succession = 0
        self._exact_size = 0.0
        self._resize(max(self._first, learnt))

    def again(self) -> Window:
        """Return the window that the next run begins with, when no other is going on."""
        local = self._first == _LOCAL_WINDOW
        return Window(local=local, learnt=self.best if self.answered else 0)

    @property
    def outage(self) -> bool:
        return self._faults_in_succession >= _OUTAGE

    def spacing(self, now: float) -> float:
        """Return the seconds until the next request may leave as far as the start, or an outage, is concerned."""
        if not self._spaced and not self.outage:
            return 0.0
        if self.outage:
            return self._sent_at + _PROBE_SPACING - now
        started = now - self._began_at >= START_SECONDS
        if started and self.answered:
            self._spaced = False
        return self._sent_at + (_OPEN_SPACING if started else START_SECONDS / START_REQUESTS) - now

    def on_send(self, now: float) -> None:
        self.in_flight += 1
        self._sent_at = now
        if self._began_at == -inf:
            self._began_at = now

    def on_end(self) -> None:
        """Remove a request that is no longer in flight."""
        self.in_flight = max(0, self.in_flight - 1)  # one of a run that has left is not counted any more

    def open(self) -> None:
        """Open fully, because another limit holds requests back."""
        if self._doubling and self.answered:
            self._resize(_LARGEST_WINDOW)
            self._doubling = False

    def on_answer(self, now: float, number: int, sent: int) -> None:
        """Learn from request `number` of `sent`, which was answered and is no longer in flight."""
        self._faults_in_succession = 0
        if not self.answered and self._spaced and now - self._began_at < START_SECONDS:
            self._resize(max(_ANSWERED_WINDOW, self.in_flight + 1))  # from here on it grows by answers
        self.answered, self.stopped = True, False
        self._good += 1
        self.best = max(self.best, self.in_flight + 1)
        if self._doubling and 2 * (self.in_flight + 1) > self.size:
            self._grow(now)
        if number > self._round_trip_start:
            self._end_round_trip(now, sent)

    def on_refusal(self) -> None:
        """Stop the opening by time: a request was refused or failed before any was answered."""
        if not self.answered and not self.stopped:
            self.stopped = True
            self._resize(min(self.size, self.in_flight + 1))

    def on_fault(self, now: float, number: int, sent: int) -> None:
        self.on_refusal()
        self._faults_in_succession += 1
        self._bad += 1
        if number > self._round_trip_start and not self.outage:
            self._end_round_trip(now, sent)

    def _grow(self, now: float) -> None:
        """Grow by one per answer, which doubles the window each round trip, up to the fastest growth."""
        allowed = self._allowed_growth + self._exact_size * (now - self._grown_at) / _FASTEST_GROWTH
        growth = min(1.0, allowed)
        self._allowed_growth = min(allowed, self._exact_size) - growth
        self._grown_at = now
        self._resize(self._exact_size + growth)

    def _end_round_trip(self, now: float, sent: int) -> None:
        outcomes = self._good + self._bad
        if outcomes < 10:
            return
        rate, before = self._good / max(now - self._round_trip_at, 1e-3), self._rate
        if 3 * self._bad > outcomes:
            self._doubling = False
            self._resize(self._exact_size * 0.7)
            self.best = self.size
        elif self.size >= FIRST_WINDOW and rate < _LEAST_GAIN * before:
            self._doubling = False
        elif not self._doubling and 5 * self._bad <= outcomes:
            self._resize(self._exact_size * 1.05)
        self._good = self._bad = 0
        self._round_trip_start, self._round_trip_at, self._rate = sent, now, rate

    def _resize(self, size: float) -> None:
        self._exact_size = min(max(size, _SMALLEST_WINDOW), _LARGEST_WINDOW)
        self.size = int(self._exact_size)
