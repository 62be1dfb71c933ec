"""429s that no rate avoids: a proxy or other clients can cause some however slowly this run sends.

If each of them cut the rate, a run that receives them regularly would nearly stop. They are recognised when single
refusals continue although the rate was cut well below the rate at the first one. From then on, about the same share
of refusals is tolerated.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from math import inf

_SLOWER_REFUSALS = 3
"""This many single refusals at a rate well below that of the first are not caused by a limit."""
_WELL_BELOW = 0.6
"""Share of the first rate."""
_DENSE_SHARE = 0.25
_DENSE_REFUSALS = 3
"""At least this many refusals, of more than this share of the requests, are caused by a limit."""
_LONGEST_SUCCESSION = 2
"""Refusals of more requests in succession are caused by a limit too."""
_REMEMBERED_REQUESTS = 200
"""The share of refusals is counted over this many requests."""
_SMALLEST_SAMPLE = 50
"""At least this many requests give the usual share of refusals."""
_MARGIN, _MOST_TOLERATED = 0.03, 0.25
"""Tolerated are 1.5 times the usual share plus the first value, and at most the second value."""


class RefusalCause(Enum):
    """What caused a 429."""

    LIMIT = auto()
    STRAY = auto()
    UNAVOIDABLE = auto()
    """A stray 429; earlier ones were wrongly taken for a limit."""


class Stray429s:
    """Distinguishes refusals that occur at any rate from those that a lower rate avoids."""

    def __init__(self) -> None:
        self.cleared = 0.0
        """The rate, in requests per second, that was wrongly cut before the last refusal found unavoidable."""
        self._recent = deque[int]()
        self._succession = 0
        self._tolerated = 0.0
        self._highest = 0.0
        """The rate at which the series of single refusals began; 0.0: there is no series."""
        self._series_start = self._refusals = self._slower = 0  # of the series

    def judge(self, number: int, rate: float, *, after_cut: bool) -> RefusalCause:
        """Decide what caused a 429.

        Parameters
        ----------
        number
            The request's number in the order of sending.
        rate
            Requests per second at that time, of all runs that share the limit; infinity while unknown: the
            refusal then does not show whether a lower rate avoids it.
        after_cut
            Whether the request was sent after the rate was last cut.
        """
        self._succession = self._succession + 1 if self._recent and abs(number - self._recent[-1]) <= 1 else 1
        self._recent.append(number)
        while self._recent[0] <= number - _REMEMBERED_REQUESTS:
            self._recent.popleft()
        self._refusals += 1
        if self._succession > _LONGEST_SUCCESSION or self._is_dense(number):
            self._highest = 0.0
        elif len(self._recent) <= self._tolerated * min(number, _REMEMBERED_REQUESTS):
            return RefusalCause.STRAY
        elif rate == inf:
            self._highest = 0.0
        elif after_cut and self._succession == 1:
            return self._judge_single(number, rate)
        return RefusalCause.LIMIT

    def _is_dense(self, number: int) -> bool:
        return self._refusals >= max(_DENSE_REFUSALS, _DENSE_SHARE * (number - self._series_start + 1))

    def _judge_single(self, number: int, rate: float) -> RefusalCause:
        if rate > self._highest:
            self._highest = rate
            self._series_start, self._refusals, self._slower = number, 1, 0
            return RefusalCause.LIMIT
        self._slower += rate <= _WELL_BELOW * self._highest
        requests = number - self._series_start + 1
        if self._slower < _SLOWER_REFUSALS or requests < _SMALLEST_SAMPLE:
            return RefusalCause.LIMIT
        self._tolerated = min(1.5 * self._refusals / requests + _MARGIN, _MOST_TOLERATED)
        self.cleared, self._highest = self._highest, 0.0
        return RefusalCause.UNAVOIDABLE
