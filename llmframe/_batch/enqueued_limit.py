"""Which part of a batch run may be submitted now: the account's limits on enqueued requests, learnt from refusals.

This module only decides; it does not wait or send.
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
"""A batch's tokens may still count for this time after its end."""


@dataclass(frozen=True, slots=True)
class SubmitLater:
    """Submit the part again after `seconds`, or when another batch has ended."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Halve:
    """Submit its requests in two parts."""


class EnqueuedLimit:
    """The account's limits as one run has learnt them."""

    def __init__(self, tuning: Tuning) -> None:
        self._tuning = tuning
        self.limited = False
        """Whether the account has refused a part of this run."""
        self.refusal: BatchRefusal | None = None
        """The last refusal."""
        self._accepted = BatchSize(0, 0)
        self._most_requests = inf
        self._most_tokens = inf

    def fits(self, size: BatchSize) -> bool:
        """Return whether a part of this size may be accepted."""
        return size.requests <= self._most_requests and size.tokens <= self._most_tokens

    def on_accepted(self, size: BatchSize) -> None:
        """Learn from a part that the account accepted."""
        known = self._accepted
        self._accepted = BatchSize(max(known.requests, size.requests), max(known.tokens, size.tokens))

    def room(self, size: BatchSize, enqueued: Sequence[BatchSize]) -> bool:
        """Return whether a part may be submitted beside the enqueued ones."""
        if self.refusal is None or self.refusal.limit is None or not enqueued:
            return True
        total = [*enqueued, size]
        return not self.refusal.too_large(
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
            How many of these in succession occurred while no other batch of the account was enqueued; 0 when
            one is enqueued now.
        lagging
            Whether a batch ended lately and may still count.
        """
        self.limited = True
        self.refusal = refusal
        if refusal.too_large(size) or (alone and (not lagging or alone >= self._tuning.lone_refusals)):
            self._shrink(refusal, size)
            return Halve()
        first = self._tuning.first_resubmit_seconds
        return SubmitLater(min(LONGEST_WAIT_SECONDS, first * 2.0 ** min(refusals - 1, 10)))

    def _shrink(self, refusal: BatchRefusal, size: BatchSize) -> None:
        """Make later parts smaller, but not smaller than an accepted one; a single request teaches nothing."""
        if size.requests == 1:
            return
        half = refusal.amount(size) // 2
        while refusal.limit is not None and half > refusal.limit:
            half //= 2
        if refusal.requests:
            self._most_requests = max(1, half, self._accepted.requests)
        else:
            self._most_tokens = max(1, half, self._accepted.tokens)
