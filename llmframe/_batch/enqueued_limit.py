"""Which part of a batch run may be submitted now: the account's limits on what is enqueued, learnt from refusals.

Decisions only: nothing here waits or sends.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from llmframe._api import BatchRefusal, BatchSize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmframe._options import Tuning

LONGEST_WAIT_SECONDS = 60.0
LAG_SECONDS = 600.0
"""How long after a batch's end its tokens may still count."""


@dataclass(frozen=True, slots=True)
class SubmitLater:
    """Submit the part again when `seconds` are over, or when something else has ended."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Halve:
    """Submit its requests in two parts."""


class EnqueuedLimit:
    """What was learnt of the account's limits during one run."""

    def __init__(self, tuning: Tuning) -> None:
        self._tuning = tuning
        self.limited = False
        """Whether the account has refused a part of this run."""
        self._limit: BatchRefusal | None = None
        self._accepted = BatchSize(0, 0)
        self._most_requests = inf
        self._most_tokens = inf

    def fits(self, size: BatchSize) -> bool:
        """Tell whether a part may have this size, as far as is known."""
        return size.requests <= self._most_requests and size.tokens <= self._most_tokens

    def on_accepted(self, size: BatchSize) -> None:
        """Learn from a part that the account accepted."""
        known = self._accepted
        self._accepted = BatchSize(max(known.requests, size.requests), max(known.tokens, size.tokens))

    def room(self, size: BatchSize, enqueued: Sequence[BatchSize]) -> bool:
        """Tell whether a part may go beside those that are enqueued."""
        if self._limit is None or self._limit.limit is None or not enqueued:
            return True
        total = [*enqueued, size]
        return not self._limit.too_large(
            BatchSize(sum(each.requests for each in total), sum(each.tokens for each in total))
        )

    def on_refused(
        self, refusal: BatchRefusal, size: BatchSize, *, refusals: int, alone: int, lagging: bool
    ) -> SubmitLater | Halve:
        """Decide about a part that the account refused.

        Parameters
        ----------
        refusals
            How often this part was refused, this time included.
        alone
            How often of that in succession nothing else of the account was enqueued, as far as is known;
            0 when something is now.
        lagging
            Whether something ended lately, and may still count.
        """
        self.limited = True
        self._limit = refusal
        if refusal.too_large(size) or (alone and (not lagging or alone >= self._tuning.lone_refusals)):
            self._shrink(refusal, size)
            return Halve()
        first = self._tuning.first_resubmit_seconds
        return SubmitLater(min(LONGEST_WAIT_SECONDS, first * 2.0 ** min(refusals - 1, 10)))

    def _shrink(self, refusal: BatchRefusal, size: BatchSize) -> None:
        """Make later parts smaller; what was accepted once may be so again, and one request is no measure."""
        if size.requests == 1:
            return
        half = refusal.amount(size) // 2
        while refusal.limit is not None and half > refusal.limit:
            half //= 2
        if refusal.requests:
            self._most_requests = max(1, half, self._accepted.requests)
        else:
            self._most_tokens = max(1, half, self._accepted.tokens)
