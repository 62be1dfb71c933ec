"""Whether a request may leave now: one decision over any number of limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

_AT_ONCE = 1e-6
"""Seconds; a shorter wait counts as none."""
_LONGEST = 1.0
"""Seconds; a request that must wait asks again at the latest after this time."""


class Limit(Protocol):
    """One reason for which a request may have to wait: a window, a stated limit, a learnt rate, a budget."""

    def wait(self, now: float, tokens: int) -> float:
        """Return the seconds until a request of this many estimated tokens may leave; 0 or less means now."""


class Admission(NamedTuple):
    """The verdict on one request."""

    seconds: float
    """0.0: the request may leave now. Otherwise it asks again after this many seconds, at most 1.0."""
    held_by: tuple[Limit, ...]
    """The limits that hold it back."""


_ADMITTED = Admission(0.0, ())


def admit(limits: Iterable[Limit], now: float, tokens: int) -> Admission:
    """Decide whether a request may leave now; every limit must allow it."""
    longest = 0.0
    held_by: tuple[Limit, ...] = ()
    for limit in limits:
        wait = limit.wait(now, tokens)
        if wait > _AT_ONCE:
            held_by = (*held_by, limit)
            longest = max(longest, wait)
    return Admission(min(longest, _LONGEST), held_by) if held_by else _ADMITTED
