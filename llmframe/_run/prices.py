"""The cost of answers, by genai-prices' dated table or the user's own prices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmframe._values import LaneName, Usage

Price: TypeAlias = "Callable[[Usage], float]"

_PROBE_TOKENS = 1_000
_LINEAR_TOKENS = 32_000
"""Prices start to depend on a request's length only well above this number of tokens."""


class Prices:
    """The price table that a run uses; each model's price is looked up once.

    Parameters
    ----------
    own
        `options.prices`: US dollars per million tokens, by model.
    """

    def __init__(self, own: Mapping[str, Mapping[str, float]]) -> None:
        self._own = own
        self._known: dict[tuple[str | None, str, LaneName, str | None], Price | None] = {}

    def cost(
        self, answering: str | None, requested: str, usage: Usage, lane: LaneName, tier: str | None
    ) -> float | None:
        """Return US dollars, or `None` where neither the answering nor the requested model has a price."""
        names = (answering, requested, lane, tier)
        try:
            price = self._known[names]
        except KeyError:
            price = self._known[names] = self._find(*names)
        return None if price is None else price(usage)

    def _find(self, answering: str | None, requested: str, lane: LaneName, tier: str | None) -> Price | None:
        own = self._own.get(requested) or self._own.get(answering or "")
        if own is not None:
            return _linear(own["input"], own.get("cached_input", own["input"]), own["output"])
        context = _context(lane, tier)
        return next(
            (price for model in (answering, requested) if model and (price := _table_price(model, context))),
            None,
        )


def _context(lane: LaneName, tier: str | None) -> dict[str, str]:
    # A wrong key silently gives the full price (genai-prices 0.2.3); tests check known sums.
    if lane == "batch":
        return {"processing": "batch"}
    return {"service_tier": tier} if tier not in {None, "default", "auto"} and tier is not None else {}


def _linear(prompt: float, cached: float, completion: float, *, beyond: Price | None = None) -> Price:
    """Return a price function by these rates, in US dollars per million tokens; `beyond` applies above `_LINEAR_TOKENS`."""

    def price(usage: Usage) -> float:
        prompt_tokens, completion_tokens, cached_tokens = usage[:3]
        if beyond is not None and prompt_tokens > _LINEAR_TOKENS:
            return beyond(usage)
        uncached_tokens = prompt_tokens - cached_tokens
        return (uncached_tokens * prompt + cached_tokens * cached + completion_tokens * completion) / 1e6

    return price


def _table_price(model: str, context: dict[str, str]) -> Price | None:
    from genai_prices import Usage as Tokens  # noqa: PLC0415 (it takes a quarter of a second to import)
    from genai_prices import calc_price  # noqa: PLC0415

    def price(prompt: int, cached: int, completion: int) -> float:
        tokens = Tokens(input_tokens=prompt, cache_read_tokens=cached, output_tokens=completion)
        return float(calc_price(tokens, model, price_context=_price_context(context)).total_price)

    try:
        rates = _rates(price, _PROBE_TOKENS)
    except LookupError:
        return None

    def exact(usage: Usage) -> float:
        return price(usage.prompt, usage.cached, usage.completion)

    return _linear(*rates, beyond=exact) if rates == _rates(price, _LINEAR_TOKENS) else exact


def _price_context(context: dict[str, str]) -> Any:
    return context or None


def _rates(price: Callable[[int, int, int], float], tokens: int) -> tuple[float, float, float]:
    """Probe US dollars per million tokens: prompt, cached prompt, completion."""
    million = 1e6 / tokens
    return (
        round(price(tokens, 0, 0) * million, 9),
        round(price(tokens, tokens, 0) * million, 9),
        round((price(tokens, 0, tokens) - price(tokens, 0, 0)) * million, 9),
    )
