"""What a call will cost, before it is made: `dry_run=True`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Range(NamedTuple):
    """A number that is not known before, in US dollars or in tokens."""

    expected: float
    high: float
    """Hardly ever exceeded: with the answers that may run away up to the bound on their tokens."""
    ceiling: float
    """Never exceeded; infinite where nothing bounds the answers' tokens."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a call would still ask, and what that would cost.

    Attributes
    ----------
    rows : int
        The selected rows.
    skipped : dict
        Rows that are not sent because a cell is missing or blank, by column.
    distinct, from_journal, to_ask : int
        Different requests; those whose answer the journal has; those that would be sent.
    input_tokens : float
        The tokens of the prompts to be sent, as expected.
    output_tokens : Range
        The tokens of the answers to come.
    counted_by : str
        What these numbers rest on.
    lane : str
        The call's own way: `"live"`, `"batch"` or `"flex"`.
    lanes : dict of str to Range
        US dollars for each way that the call could go.
    expected, high, ceiling : float
        US dollars of the call's own way; `nan` where no price is known.
    seconds : float or None
        What the account's limits make it take at least, as far as they are known.
    sample_cost : float or None
        US dollars that the sample took (`dry_run=20`); they are not part of the rest's.
    """

    rows: int
    skipped: Mapping[str, int]
    distinct: int
    from_journal: int
    to_ask: int
    input_tokens: float
    output_tokens: Range
    counted_by: str
    lane: str
    lanes: Mapping[str, Range]
    seconds: float | None = None
    sample_cost: float | None = None

    @property
    def expected(self) -> float:
        return self._own.expected

    @property
    def high(self) -> float:
        return self._own.high

    @property
    def ceiling(self) -> float:
        return self._own.ceiling

    @property
    def _own(self) -> Range:
        unknown = float("nan")
        return self.lanes.get(self.lane, Range(unknown, unknown, unknown))
