"""The account of a run: what its answers cost, and what it did not have to pay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmframe._values import Saved, Usage

if TYPE_CHECKING:
    from llmframe._run.money.prices import Prices
    from llmframe._values import Answer


class Account:
    """Sums what a run pays and what it is spared, answer by answer.

    Parameters
    ----------
    model
        The model that is asked.

    Attributes
    ----------
    prices : Prices
        What the answers are priced by.
    unpriced : int
        Paid answers whose cost is unknown.
    """

    def __init__(self, prices: Prices, model: str) -> None:
        self.unpriced = 0
        self.prices = prices
        self._model = model
        self._paid = 0
        self._spent = 0.0
        self._tokens = [0] * len(Usage._fields)
        self._journal = self._duplicates = self._cache = self._batch = 0.0

    @property
    def cost(self) -> float | None:
        """US dollars of the paid answers whose cost is known; `None` where that is none of them."""
        return None if self.unpriced and self.unpriced == self._paid else self._spent

    @property
    def tokens(self) -> Usage:
        """Tokens of the paid answers."""
        return Usage(*self._tokens)

    @property
    def saved(self) -> Saved:
        return Saved(self._journal, self._duplicates, self._cache, self._batch)

    def price(self, answer: Answer) -> float | None:
        """Return the cost of an answer in US dollars; `None` where its model's price or its tokens are unknown."""
        return self.prices.cost(answer, self._model)

    def add_paid(self, answer: Answer, cost: float | None, copies: int = 0) -> None:
        """Add a paid answer, and its cost if that is known; `copies` are the further rows that have it."""
        self._paid += 1
        for place, count in enumerate(answer.usage):
            if count:
                self._tokens[place] += count
        if cost is None:
            self.unpriced += 1
            return
        self._spent += cost
        self._duplicates += copies * cost
        usage = answer.usage
        if usage.cached or usage.cache_write:
            uncached = answer._replace(usage=usage._replace(cached=0, cache_write=0))
            self._cache += (self.price(uncached) or cost) - cost
        if answer.lane == "batch":
            self._batch += (self.price(answer._replace(lane="live")) or cost) - cost

    def add_stored(self, cost: float | None, copies: int = 0) -> None:
        """Add an answer from the journal by what it had cost, if that is known."""
        if cost is not None:
            self._journal += cost
            self._duplicates += copies * cost
