"""Refusals that no pace avoids: a proxy or other clients may bring a 429 now and then, however slowly we go.

Taken for a limit of ours, each would slow the run down, and a run that meets them all the time would crawl.
They are known by this: single ones go on coming although the rate has been cut well below that of the first.
From then on about as many as came are let pass.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from math import inf

_BELOW = 3
"""So many single refusals at a rate well below that of the first are no limit's."""
_WELL_BELOW = 0.6
_DENSE = 0.25
_DENSE_REFUSALS = 3
"""So many refusals, or more, that are more than this share of the requests are a limit's."""
_LONGEST_ROW = 2
"""Refusals of more requests in a row are a limit's too."""
_MEMORY = 200
"""Requests over which the share of refusals is remembered."""
_REQUESTS = 50
"""So many requests or more tell what share of refusals is usual."""
_MARGIN, _MOST_TOLERATED = 0.03, 0.25
"""So much more than half as many again as is usual may pass; but never more than the second share."""


class RefusalCause(Enum):
    """What brought a 429 about."""

    LIMIT = auto()
    STRAY = auto()
    UNAVOIDABLE = auto()
    """A stray, and those before it were taken for a limit wrongly."""


class Stray429s:
    """Tells refusals that come at any pace from those that a slower pace avoids."""

    def __init__(self) -> None:
        self.cleared = 0.0
        """The rate, requests per second, that was cut wrongly when a refusal was last found unavoidable."""
        self._recent = deque[int]()
        self._row = 0
        self._tolerated = 0.0
        self._highest = 0.0
        """The rate at which the series of single refusals began; 0.0: there is none."""
        self._first = self._refusals = self._below = 0  # of the series

    def judge(self, number: int, rate: float, *, news: bool) -> RefusalCause:
        """Decide what brought a 429 about.

        Parameters
        ----------
        number
            Of the request, in the order in which they were sent.
        rate
            Requests per second when it was sent, of all runs that share the limit; while that is not known,
            infinity, and the refusal tells nothing of whether any pace avoids it.
        news
            Whether it was sent since the rate was last cut.
        """
        self._row = self._row + 1 if self._recent and abs(number - self._recent[-1]) <= 1 else 1
        self._recent.append(number)
        while self._recent[0] <= number - _MEMORY:
            self._recent.popleft()
        self._refusals += 1
        if self._row > _LONGEST_ROW or self._is_dense(number):
            self._highest = 0.0
        elif len(self._recent) <= self._tolerated * min(number, _MEMORY):
            return RefusalCause.STRAY
        elif rate == inf:
            self._highest = 0.0
        elif news and self._row == 1:
            return self._single(number, rate)
        return RefusalCause.LIMIT

    def _is_dense(self, number: int) -> bool:
        return self._refusals >= max(_DENSE_REFUSALS, _DENSE * (number - self._first + 1))

    def _single(self, number: int, rate: float) -> RefusalCause:
        if rate > self._highest:
            self._highest = rate
            self._first, self._refusals, self._below = number, 1, 0
            return RefusalCause.LIMIT
        self._below += rate <= _WELL_BELOW * self._highest
        requests = number - self._first + 1
        if self._below < _BELOW or requests < _REQUESTS:
            return RefusalCause.LIMIT
        self._tolerated = min(1.5 * self._refusals / requests + _MARGIN, _MOST_TOLERATED)
        self.cleared, self._highest = self._highest, 0.0
        return RefusalCause.UNAVOIDABLE
