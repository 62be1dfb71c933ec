"""Which part of a batch run may be submitted now: the account's limits on what is enqueued, learnt from refusals.

A model's enqueued tokens and requests are limited over all of an account's batches. Going over a
limit does not fail the creation of a batch: the batch turns `failed` some time later. Decisions
only: nothing here waits or sends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmframe._values import BatchError

FIRST_WAIT_SECONDS = 2.0
LONGEST_WAIT_SECONDS = 60.0
LAG_SECONDS = 600.0
"""How long after a batch's end its tokens may still count."""
LONELY_REFUSALS = 8
"""So many refusals of a part that is alone, although an earlier batch may still count, mean that it is too large."""

_STATED = re.compile(r"limit:?\s*(?:of\s*)?(?P<limit>\d[\d,]*)", re.IGNORECASE)
_TOO_MANY = frozenset({"too_many_tasks", "file_too_large", "too_many_requests_in_file"})


@dataclass(frozen=True, slots=True)
class Size:
    """How large a part is."""

    requests: int
    tokens: int
    """Estimated from the bytes of the prompts."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A batch that failed because it was too much for the account at that time, or at any."""

    code: str
    message: str
    requests: bool
    """Whether it is about requests, and not tokens."""
    limit: int | None
    """The limit that the message states."""
    never: bool
    """Whether no waiting helps."""

    def too_large(self, size: Size) -> bool:
        """Tell whether a part of this size can never pass."""
        return self.never or (self.limit is not None and self.amount(size) > self.limit)

    def amount(self, size: Size) -> int:
        return size.requests if self.requests else size.tokens


def refusal(errors: Sequence[BatchError]) -> Refusal | None:
    """Read a failed batch's errors; `None` where it failed for another reason."""
    for error in errors:
        never = error.code in _TOO_MANY
        enqueued = error.code.endswith("limit_exceeded") or "enqueued" in error.message.lower()
        if error.line is None and (never or enqueued):
            stated = _STATED.search(error.message)
            limit = int(stated["limit"].replace(",", "")) if stated and not never else None
            about = f"{error.code} {error.message.partition(' limit')[0]}".lower()
            return Refusal(error.code, error.message, "request" in about or "task" in about, limit, never)
    return None


@dataclass(frozen=True, slots=True)
class Submit:
    """Submit the part again when `seconds` are over, or when something else has ended."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Halve:
    """Submit its requests in two parts."""


class Queue:
    """What was learnt of the account's limits during one run."""

    def __init__(self) -> None:
        self.limited = False
        """Whether the account has refused a part of this run."""
        self._limit: Refusal | None = None
        self._accepted = Size(0, 0)
        self._most_requests = inf
        self._most_tokens = inf

    def fits(self, size: Size) -> bool:
        """Tell whether a part may have this size, as far as is known."""
        return size.requests <= self._most_requests and size.tokens <= self._most_tokens

    def accepted(self, size: Size) -> None:
        """Take note of a part that the account took."""
        known = self._accepted
        self._accepted = Size(max(known.requests, size.requests), max(known.tokens, size.tokens))

    def room(self, size: Size, enqueued: Sequence[Size]) -> bool:
        """Tell whether a part may go beside those that are enqueued."""
        if self._limit is None or self._limit.limit is None or not enqueued:
            return True
        total = [*enqueued, size]
        return not self._limit.too_large(
            Size(sum(each.requests for each in total), sum(each.tokens for each in total))
        )

    def refused(
        self, refusal: Refusal, size: Size, *, refusals: int, lonely: int, lagging: bool
    ) -> Submit | Halve:
        """Decide about a part that the account refused.

        Parameters
        ----------
        refusals
            How often this part was refused, this time included.
        lonely
            How often of that in succession nothing else of the account was enqueued, as far as is known;
            0 when something is now.
        lagging
            Whether something ended lately, and may still count.
        """
        self.limited = True
        self._limit = refusal
        if refusal.too_large(size) or (lonely and (not lagging or lonely >= LONELY_REFUSALS)):
            self._shrink(refusal, size)
            return Halve()
        return Submit(min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(refusals - 1, 10)))

    def _shrink(self, refusal: Refusal, size: Size) -> None:
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
