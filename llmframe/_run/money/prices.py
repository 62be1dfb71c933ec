"""The cost of answers as numbers and as text, by genai-prices' dated table or the user's own prices."""

from __future__ import annotations

import logging
from math import inf
from reprlib import Repr
from typing import TYPE_CHECKING, TypeAlias

from llmframe._loop import log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmframe._values import Answer, LaneName, RunView, Usage

_shortener = Repr()
_shortener.maxdict, _shortener.maxother = 8, 200

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
    price_list
        genai-prices' name of the list; `None`: the one that a model belongs to.
    """

    def __init__(self, own: Mapping[str, Mapping[str, float]], price_list: str | None = None) -> None:
        self._own = own
        self._price_list = price_list
        self._known: dict[tuple[str | None, str, LaneName, str | None], Price | None] = {}
        self._logged: set[str] = set()

    def cost(self, answer: Answer, requested: str) -> float | None:
        """Return US dollars, at least 0; never raise.

        `None`: neither the answering nor the requested model has a price, or the answer's tokens are unknown.
        """
        if answer.impossible_usage is not None:
            self._log_once(
                "usage", "The server states a usage that cannot be right: %s", answer.impossible_usage
            )
        if not answer.usage.prompt:
            return None
        names = (answer.model, requested, answer.lane, answer.tier)
        try:
            try:
                price = self._known[names]
            except KeyError:
                price = self._known[names] = self._find(*names)
            return None if price is None else _possible(price(answer.usage))
        except Exception as error:  # noqa: BLE001 (a price table may raise anything, and a paid answer is worth more)
            self._log_once(requested, "An answer of %s cannot be priced: %s", requested, error)
            return None

    def price_of(
        self, model: str, lane: LaneName, tier: str | None = None, *, answering: str | None = None
    ) -> Price | None:
        """Return US dollars as a function of an answer's tokens, at least one of them the prompt's; `None`: no price is known.

        Parameters
        ----------
        answering
            The model that has answered requests for this one, as responses name it.
        """
        return self._find(answering, model, lane, tier)

    def _find(self, answering: str | None, requested: str, lane: LaneName, tier: str | None) -> Price | None:
        own = self._own.get(requested) or self._own.get(answering or "")
        if own is not None:
            dollars = own["input"]
            return _linear(
                dollars, own.get("cached_input", dollars), own.get("cache_write", dollars), own["output"]
            )
        context = _context(lane, tier)
        return next(
            (price for model in (answering, requested) if model and (price := self._look_up(model, context))),
            None,
        )

    def _look_up(self, model: str, context: dict[str, str]) -> Price | None:
        try:
            return _table_price(model, context, self._price_list)
        except LookupError:
            return None
        except Exception as error:  # noqa: BLE001 (as above; the other model's price may still be known)
            self._log_once(model, "The price of %s cannot be found: %s", model, error)
            return None

    def _log_once(self, about: str, message: str, *values: object) -> None:
        if about not in self._logged:
            self._logged.add(about)
            log(logging.WARNING, message, *map(_shortener.repr, values))


def _possible(dollars: float) -> float:
    if not 0 <= dollars < inf:
        raise ValueError(f"{dollars} is not a cost")
    return dollars


def _context(lane: LaneName, tier: str | None) -> dict[str, str]:
    # A wrong key silently gives the full price (genai-prices 0.2.3); tests check known sums.
    if lane == "batch":
        return {"processing": "batch"}
    return {"service_tier": tier} if tier not in {None, "default", "auto"} and tier is not None else {}


def _linear(
    prompt: float, cached: float, written: float, completion: float, *, beyond: Price | None = None
) -> Price:
    """Return a price function by these rates, in US dollars per million tokens; `beyond` applies above `_LINEAR_TOKENS`."""

    def price(usage: Usage) -> float:
        prompt_tokens, completion_tokens, cached_tokens, _, written_tokens = usage
        if beyond is not None and prompt_tokens > _LINEAR_TOKENS:
            return beyond(usage)
        dollars = (prompt_tokens - cached_tokens - written_tokens) * prompt + completion_tokens * completion
        return (dollars + cached_tokens * cached + written_tokens * written) / 1e6

    return price


def _table_price(model: str, context: dict[str, str], price_list: str | None) -> Price:
    """Return the price of a model by genai-prices; raise LookupError if it has none, and whatever else it raises."""
    from genai_prices import Usage as Tokens  # noqa: PLC0415 (it takes a quarter of a second to import)
    from genai_prices import calc_price  # noqa: PLC0415

    def price(prompt: int, cached: int, written: int, completion: int) -> float:
        tokens = Tokens(
            input_tokens=prompt,
            cache_read_tokens=cached,
            cache_write_tokens=written,
            output_tokens=completion,
        )
        return float(
            calc_price(tokens, model, provider_id=price_list, price_context=context or None).total_price
        )

    def exact(usage: Usage) -> float:
        return price(usage.prompt, usage.cached, usage.cache_write, usage.completion)

    rates = _rates(price, _PROBE_TOKENS)
    return _linear(*rates, beyond=exact) if rates == _rates(price, _LINEAR_TOKENS) else exact


def _rates(price: Callable[[int, int, int, int], float], tokens: int) -> tuple[float, float, float, float]:
    """Probe US dollars per million tokens: prompt, cached prompt, prompt written into the cache, completion."""
    million = 1e6 / tokens
    return (
        round(price(tokens, 0, 0, 0) * million, 9),
        round(price(tokens, tokens, 0, 0) * million, 9),
        round(price(tokens, 0, tokens, 0) * million, 9),
        round((price(tokens, 0, 0, tokens) - price(tokens, 0, 0, 0)) * million, 9),
    )


def dollars(amount: float, unpriced: int = 0) -> str:
    """Return US dollars as text, with more digits for small amounts; `unpriced` answers are not part of them."""
    digits = 2 if amount >= 1 else 4 if amount >= 0.0001 or not amount else 6
    exact = f"${amount:,.{digits}f}"
    return f"at least {exact}" if unpriced else exact


def cost_text(run: RunView, model: str) -> str:
    """Return what a run cost; nothing where it paid nothing."""
    if run.cost is not None:
        return dollars(run.cost, run.unpriced) if run.cost or run.unpriced else ""
    if run.tokens.total:
        return f"the price of {model} is unknown"
    return "at an unknown cost (the answers do not state their tokens)"
