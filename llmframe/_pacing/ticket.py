"""One request that was sent, as its pace knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from llmframe._pacing.stated_limit import StatedLimit


class Ticket(NamedTuple):
    """One request that was sent: returned by `send`, and passed back with its outcome."""

    number: int
    sent_at: float
    tokens: int
    """Estimated."""
    tokens_so_far: int
    """Of all requests up to this one."""
    ahead: float
    """The seconds by which it left ahead of an even pace of the limits that the server states."""
    charges: tuple[tuple[StatedLimit, float], ...]
    """The limits that were charged, and what for it."""
