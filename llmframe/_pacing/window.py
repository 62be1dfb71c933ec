"""How many requests may be in flight, and how far apart they leave while nothing is known of the server."""

from __future__ import annotations

from math import inf

_FIRST_WINDOW = 20  # until the first success
_SMALLEST_WINDOW = 4
_LARGEST_WINDOW = 1_000
_FASTEST_GROWTH = 0.35  # seconds in which the window grows e-fold at most
_FULL_WINDOW_DELAY = 0.02
_OUTAGE = 20  # faults in a row
_FIRST_SPACING = 1 / 20  # seconds between requests until the first success
_PROBE_SPACING = 1 / 4  # seconds between requests of an outage


class Window:
    """Limits how many requests are in flight: doubled each round trip at first, cut when most of them fail.

    Attributes
    ----------
    size, in_flight : int
        How many requests may be in flight, and how many are.
    """

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
        "in_flight",
        "size",
    )

    def __init__(self, most: int | None) -> None:
        self.in_flight = 0
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

    def wait(self, now: float, tokens: int) -> float:  # noqa: ARG002 (as every limit)
        return _FULL_WINDOW_DELAY if self.in_flight >= self.size else 0.0

    @property
    def outage(self) -> bool:
        return self._streak >= _OUTAGE

    def open(self) -> None:
        """Open fully, because something else limits the sending."""
        if self._slow_start:
            self._exact = self._most
            self.size = self._most
            self._slow_start = False

    def on_answer(self, now: float, number: int, sent: int) -> None:
        """Learn from request `number`, of `sent`, which was answered and is no longer in flight."""
        self._streak = 0
        self._good += 1
        if self._fixed:
            self.size = self._most
            return
        if self._slow_start and 2 * (self.in_flight + 1) > self.size:
            self._grow(now)
        if number > self._epoch:
            self._end_round_trip(sent)

    def on_fault(self, number: int, sent: int) -> None:
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


class Spacing:
    """Keeps requests apart until the first success, and while nearly everything fails."""

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
        """Let a request leave now and then during an outage."""
        self._seconds = _PROBE_SPACING
