"""What a call will cost, before it is made: `dry_run=True`."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isnan
from typing import TYPE_CHECKING, NamedTuple

from llmframe._errors import counted
from llmframe._run import card
from llmframe._run.money import dollars

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Range(NamedTuple):
    """A number that is not known before, in US dollars or in tokens."""

    expected: float
    high: float
    """Hardly ever exceeded: with the answers that may run away up to the bound on their tokens."""
    ceiling: float
    """Never exceeded, faults of the server aside; infinite where nothing bounds the answers' tokens."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Estimate:
    """What a call would still ask, and what that would cost.

    It is shown as a card in a notebook, and as lines of text elsewhere.

    Attributes
    ----------
    title : str
        What would be written where, and the model.
    rows : int
        The selected rows.
    skipped : dict
        Rows that are not sent because a cell is missing or blank, by column.
    distinct, from_journal, to_ask : int
        Different requests; those whose answer the journal has; those that would be sent.
    in_batches : int
        Requests in batches that are open: they are paid already, and the call would wait for them.
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
        US dollars of the call's own way; `nan` where no price is known. `high` is hardly ever exceeded, and `ceiling` never,
        except by requests that faults of the network or the server make it bill twice; it is infinite where nothing bounds the
        answers' tokens.
    seconds : float or None
        What the account's limits make it take at least, as far as they are known.
    sample_cost : float or None
        US dollars that the sample took (`dry_run=20`); they are not part of the rest's.

    Examples
    --------
    >>> import llmframe
    >>> estimate = llmframe.complete(
    ...     ["Name a color.", "Name a fish.", None], model="gpt-6-luna", max_completion_tokens=50, journal=False, dry_run=True
    ... )
    >>> estimate.to_ask, estimate.skipped, estimate.lane, list(estimate.lanes)
    (2, {'prompt': 1}, 'live', ['live', 'batch', 'flex'])
    >>> estimate.expected <= estimate.high <= estimate.ceiling < 0.001
    True
    """

    title: str = ""
    rows: int
    skipped: Mapping[str, int]
    distinct: int
    from_journal: int
    to_ask: int
    in_batches: int = 0
    input_tokens: float
    output_tokens: Range
    counted_by: str
    lane: str
    lanes: Mapping[str, Range]
    seconds: float | None = None
    sample_cost: float | None = None

    @property
    def expected(self) -> float:
        return self.lanes[self.lane].expected

    @property
    def high(self) -> float:
        return self.lanes[self.lane].high

    @property
    def ceiling(self) -> float:
        return self.lanes[self.lane].ceiling

    def __repr__(self) -> str:
        rows = [
            (name, *map(_money, self.lanes[name]), "← this call" * (name == self.lane)) for name in self.lanes
        ]
        table = [("", "expected", "high", "ceiling", ""), *rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(
                [
                    row[0].ljust(widths[0]),
                    *(cell.rjust(width) for cell, width in zip(row[1:4], widths[1:4], strict=True)),
                    row[4],
                ]
            )
            for row in table
        ]
        notes = [f"{name}: {value}" for name, value in self._notes()]
        return "\n".join([f"Estimate of {self.title}: {self._counts}", *map(str.rstrip, lines), *notes])

    def _repr_html_(self) -> str:
        requests = counted(self.to_ask, "request")
        head = (
            f"{requests} at an unknown price"
            if isnan(self.expected)
            else f"{_money(self.expected)} for {requests}"
        )
        lanes = [
            (
                name + " (this call)" * (name == self.lane),
                f"{_money(cost.expected)} · high {_money(cost.high)} · ceiling {_money(cost.ceiling)}",
            )
            for name, cost in self.lanes.items()
        ]
        return card.estimate_html(self.title, head, self._parts(), [*lanes, *self._notes()])

    @property
    def _counts(self) -> str:
        unsent = sum(self.skipped.values())
        stored = f", {self.from_journal:,} from the journal" if self.from_journal else ""
        stored += f", {self.in_batches:,} in open batches" if self.in_batches else ""
        skipped = (
            f", {counted(unsent, 'row')} not sent ({', '.join(self.skipped)} missing or blank)"
            if unsent
            else ""
        )
        return f"{counted(self.to_ask, 'request')} to ask for {counted(self.rows, 'row')}{stored}{skipped}"

    def _parts(self) -> list[tuple[str, int, str]]:
        """Return the card's bar: colour, size and text."""
        unsent = sum(self.skipped.values())
        why = f" ({', '.join(self.skipped)} missing or blank)" if unsent else ""
        return [
            (card.AMBER, self.to_ask, f"{counted(self.to_ask, 'request')} to ask"),
            (card.BLUE, self.from_journal, f"{self.from_journal:,} from the journal"),
            (card.AMBER, self.in_batches, f"{self.in_batches:,} in open batches"),
            (card.GREY, unsent, f"{counted(unsent, 'row')} not sent{why}"),
        ]

    def _notes(self) -> Iterator[tuple[str, str]]:
        output = self.output_tokens
        if self.to_ask:
            most = "no ceiling" if output.ceiling == inf else f"ceiling {output.ceiling:,.0f}"
            yield (
                "tokens",
                f"{self.input_tokens:,.0f} in, {output.expected:,.0f} out (high {output.high:,.0f}, {most})",
            )
            yield "counted", self.counted_by
            if output.ceiling == inf and self.ceiling == inf:
                yield "ceiling", "none without max_completion_tokens="
        if self.seconds is not None:
            yield "time", f"at least {card.duration(self.seconds)} by the limits"
        if self.sample_cost is not None:
            yield "the sample took", _money(self.sample_cost)


def _money(amount: float) -> str:
    if isnan(amount):
        return "unknown"
    return "none" if amount == inf else dollars(amount)
