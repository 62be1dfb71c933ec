"""Which requests take so long that a second copy may be worth its price. Pure decisions: no clock, no I/O."""

from __future__ import annotations

from collections import deque

_REMEMBERED = 1_000
_NEEDED = 100
"""So many answers tell what is long."""
_LOOK = 50
"""After so many answers the percentile is looked up again."""
_PERCENTILE = 0.99


class Stragglers:
    """Knows how long answers take, and how many requests may be sent a second time.

    Parameters
    ----------
    share
        So many of the requests at most, as a share of those sent.

    Attributes
    ----------
    patience : float or None
        Seconds after which a request is a straggler: the 99th percentile of the last 1,000 answers.
        None: too few are known.
    copies : int
        How many were sent a second time.

    Examples
    --------
    >>> stragglers = Stragglers(share=0.02)
    >>> for hundredths in range(100):
    ...     stragglers.sent()
    ...     stragglers.answered(hundredths / 100)
    >>> stragglers.patience
    0.99
    >>> [stragglers.take_copy() for _ in range(3)]
    [True, True, False]
    """

    def __init__(self, share: float) -> None:
        self.patience: float | None = None
        self.copies = 0
        self._share = share
        self._sent = 0
        self._answered = 0
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)

    def sent(self) -> None:
        self._sent += 1

    def answered(self, seconds: float) -> None:
        """Learn how long an answer took, from the first copy's departure."""
        self._answered += 1
        self._seconds.append(seconds)
        if self._answered >= _NEEDED and not self._answered % _LOOK:
            self.patience = sorted(self._seconds)[int(_PERCENTILE * len(self._seconds))]

    def take_copy(self) -> bool:
        """Take one of the copies that may be sent; false when there is none left."""
        if self.copies + 1 > self._share * self._sent:
            return False
        self.copies += 1
        return True
