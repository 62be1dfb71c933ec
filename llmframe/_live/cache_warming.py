"""The warming of the provider's prompt cache: what a call's requests have in common is written by one of them, and read by the others."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_WARM_SECONDS = 300.0
"""A prefix counts as kept for so long after an answer; the provider keeps it for half an hour from its last use."""


class CacheWarming:
    """Bounds the requests in flight until the prefixes of a run are in the provider's cache.

    Parameters
    ----------
    prefixes
        The prefixes' digests, by draw: the request with the number n has that of the draw n modulo their number. `None`:
        these requests have none.
    answered
        When a request with a prefix was answered last, by digest, in seconds of `time.monotonic`; it is kept up.
    now
        The time.
    """

    def __init__(self, prefixes: Sequence[bytes | None], answered: dict[bytes, float], now: float) -> None:
        self._prefixes = prefixes
        self._answered = answered
        self._cold = {
            prefix
            for prefix in prefixes
            if prefix is not None and now - answered.get(prefix, -inf) >= _WARM_SECONDS
        }

    @property
    def most_in_flight(self) -> int | None:
        """One request for each prefix that is not in the cache yet; `None`: any number."""
        return len(self._cold) or None

    def on_answer(self, number: int, now: float) -> None:
        """Note the answer to a request, by its number."""
        prefix = self._prefixes[number % len(self._prefixes)]
        if prefix is not None:
            self._answered[prefix] = now
            self._cold.discard(prefix)

    def give_up(self) -> None:
        """Hold nothing back any longer: the answer that is to warm the cache does not come."""
        self._cold.clear()
