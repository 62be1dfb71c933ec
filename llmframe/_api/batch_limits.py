"""The size of a batch, and the API's refusal of one that is too large, temporarily or permanently.

A model's enqueued tokens and requests are limited over all batches of an account. Exceeding a limit does not fail the
creation of a batch: the batch becomes `failed` some time later.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmframe._values import BatchError

_STATED = re.compile(r"limit:?\s*(?:of\s*)?(?P<limit>\d[\d,]*)", re.IGNORECASE)
_TOO_MANY = frozenset({"too_many_tasks", "file_too_large", "too_many_requests_in_file"})


@dataclass(frozen=True, slots=True)
class BatchSize:
    """How large a batch is."""

    requests: int
    tokens: int
    """Estimated from the bytes of the prompts."""


@dataclass(frozen=True, slots=True)
class BatchRefusal:
    """A batch failed because it was too large for the account, at that time or always."""

    code: str
    message: str
    requests: bool
    """Whether the limit is on requests, and not on tokens."""
    limit: int | None
    """The limit that the message states."""
    never: bool
    """Whether waiting does not help."""

    def too_large(self, size: BatchSize) -> bool:
        """Return whether a batch of this size can never be accepted."""
        return self.never or (self.limit is not None and self.amount(size) > self.limit)

    def amount(self, size: BatchSize) -> int:
        return size.requests if self.requests else size.tokens


def batch_refusal(errors: Sequence[BatchError]) -> BatchRefusal | None:
    """Read a failed batch's errors; `None` where it failed for another reason."""
    for error in errors:
        never = error.code in _TOO_MANY
        enqueued = error.code.endswith("limit_exceeded") or "enqueued" in error.message.lower()
        if error.line is None and (never or enqueued):
            stated = _STATED.search(error.message)
            limit = int(stated["limit"].replace(",", "")) if stated and not never else None
            about = f"{error.code} {error.message.partition(' limit')[0]}".lower()
            return BatchRefusal(
                error.code, error.message, "request" in about or "task" in about, limit, never
            )
    return None
