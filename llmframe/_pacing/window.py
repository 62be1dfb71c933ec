"""How many requests may be in flight, and how far apart they are sent before the first success."""

from __future__ import annotations

from math import inf

_FIRST_WINDOW = 20  # until the first success
_SMALLEST_WINDOW = 4
_LARGEST_WINDOW = 1_000
_FASTEST_GROWTH = 0.35  # seconds in which the window grows e-fold at most
_FULL_WINDOW_DELAY = 0.02
_OUTAGE = 20  # faults in succession
_FIRST_SPACING = 1 / 20  # seconds between requests until the first success
_PROBE_SPACING = 1 / 4  # seconds between requests during an outage


class Window:
    """Limits the requests in flight: the window doubles each round trip at first, and is cut when many fail.

    Attributes
    ----------
    size, in_flight : int
        How many requests may be, and are, in flight.
    """

    __slots__ = (
        "_allowed_growth",
        "_bad",
        "_exact_size",
        "_faults_in_succession",
        "_fixed",
        "_good",
        "_grown_at",
        "_most",
        "_round_trip_start",
        "_slow_start",
        "in_flight",
        "size",
    )

    def __init__(self, most: int | None) -> None:
        self.in_flight = 0
        self._fixed = most is not None
        self._most = _LARGEST_WINDOW if most is None else most
        self.size = min(_FIRST_WINDOW, self._most)
        self._exact_size = float(self.size)
        self._slow_start = True
        self._grown_at = 0.0
        self._allowed_growth = 0.0
        self._good = self._bad = 0
        self._round_trip_start = 0  # the newest request when this round trip began
        self._faults_in_succession = 0  # faults since the last success

    def wait(self, now: float, tokens: int) -> float:  # noqa: ARG002 (as every limit)
        return _FULL_WINDOW_DELAY if self.in_flight >= self.size else 0.0

    @property
    def outage(self) -> bool:
        return self._faults_in_succession >= _OUTAGE

    def open(self) -> None:
        """Open fully, because another limit holds requests back."""
        if self._slow_start:
            self._exact_size = self._most
            self.size = self._most
            self._slow_start = False

    def on_answer(self, now: float, number: int, sent: int) -> None:
        """Learn from request `number` of `sent`, which was answered and is no longer in flight."""
        self._faults_in_succession = 0
        self._good += 1
        if self._fixed:
            self.size = self._most
            return
        if self._slow_start and 2 * (self.in_flight + 1) > self.size:
            self._grow(now)
        if number > self._round_trip_start:
            self._end_round_trip(sent)

    def on_fault(self, number: int, sent: int) -> None:
        self._faults_in_succession += 1
        self._bad += 1
        if number > self._round_trip_start and not self._fixed and not self.outage:
            self._end_round_trip(sent)

    def _grow(self, now: float) -> None:
        """Grow by one per success, which doubles the window each round trip, up to the fastest growth."""
        allowed = self._allowed_growth + self._exact_size * (now - self._grown_at) / _FASTEST_GROWTH
        growth = min(1.0, allowed)
        self._allowed_growth = min(allowed, self._exact_size) - growth
        self._grown_at = now
        self._resize(self._exact_size + growth)

    def _end_round_trip(self, sent: int) -> None:
        outcomes = self._good + self._bad
        if outcomes < 10:
            return
        if 3 * self._bad > outcomes:
            self._slow_start = False
            self._resize(self._exact_size * 0.7)
        elif not self._slow_start and 5 * self._bad <= outcomes:
            self._resize(self._exact_size * 1.05)
        self._good = self._bad = 0
        self._round_trip_start = sent

    def _resize(self, size: float) -> None:
        self._exact_size = min(max(size, _SMALLEST_WINDOW), self._most)
        self.size = int(self._exact_size)


class Spacing:
    """Spaces requests until the first success, and while nearly every request fails."""

    __slots__ = ("_seconds", "_sent_at")

    def __init__(self) -> None:
        self._seconds = _FIRST_SPACING
        self._sent_at = -inf

    def wait(self, now: float, tokens: int) -> float:  # noqa: ARG002 (as every limit)
        return self._sent_at + self._seconds - now if self._seconds else 0.0

    def on_send(self, now: float) -> None:
        self._sent_at = now

    def end(self) -> None:
        self._seconds = 0.0

    def probe(self) -> None:
        """Send only occasional requests, during an outage."""
        self._seconds = _PROBE_SPACING
