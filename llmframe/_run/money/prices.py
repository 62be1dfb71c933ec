"""The cost of answers as numbers and as text, by genai-prices' dated table or the user's own prices."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from math import inf
from reprlib import Repr
from typing import TYPE_CHECKING, TypeAlias

from llmframe._loop import log
from llmframe._values import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmframe._values import Answer, LaneName, RunView

_shortener = Repr()
_shortener.maxdict, _shortener.maxother = 8, 200

Price: TypeAlias = "Callable[[Usage], float]"

_PROBE_TOKENS = 1_000
_LINEAR_TOKENS = 32_000
"""Prices start to depend on a request's length only well above this number of tokens."""


_PROBE = Usage(_PROBE_TOKENS, _PROBE_TOKENS)
_PRICED_SECONDS = 900.0
"""A price is looked up again for each quarter of an hour: it may change by the day, and some by the time of day."""


class Prices:
    """The price table that a run uses: each answer costs what it cost at its time; `options.prices` hold at all times.

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
        self._known: dict[tuple[str | None, str, LaneName, str | None, int], Price | None] = {}
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
        moment = time.time() if answer.asked is None else answer.asked
        priced_as = (answer.model, requested, answer.lane, answer.tier, int(moment / _PRICED_SECONDS))
        try:
            try:
                price = self._known[priced_as]
            except KeyError:
                price = self._known[priced_as] = self._find(*priced_as)
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
        return self._find(answering, model, lane, tier, int(time.time() / _PRICED_SECONDS))

    def _find(
        self, answering: str | None, requested: str, lane: LaneName, tier: str | None, quarter: int
    ) -> Price | None:
        own = self._own.get(requested) or self._own.get(answering or "")
        if own is not None:
            dollars = own["input"]
            return _linear(
                dollars, own.get("cached_input", dollars), own.get("cache_write", dollars), own["output"]
            )
        context = _context(lane, tier)
        models = filter(None, (answering, requested))
        found = (self._look_up(model, context, quarter * _PRICED_SECONDS) for model in models)
        return next(filter(None, found), None)

    def _look_up(self, model: str, context: dict[str, str], moment: float) -> Price | None:
        try:
            return _dated_price(model, context, self._price_list, datetime.fromtimestamp(moment, UTC))
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


def _dated_price(model: str, context: dict[str, str], price_list: str | None, at: datetime) -> Price:
    """Return the price of a model at a time; raise as `_table_price` does.

    The table knows batches and tiers only since somebody looked their prices up. Before that they cost what they do now
    in relation to the usual price; the table would silently give the full one.
    """
    price = _table_price(model, context, price_list, at)
    if not context or price(_PROBE) != _table_price(model, {}, price_list, at)(_PROBE):
        return price
    now = datetime.now(UTC)
    reduced, usual = _table_price(model, context, price_list, now), _table_price(model, {}, price_list, now)
    return lambda usage: price(usage) * reduced(usage) / (usual(usage) or 1.0)


def _table_price(model: str, context: dict[str, str], price_list: str | None, at: datetime) -> Price:
    """Return the price of a model by genai-prices at a time; raise LookupError if it has none, and whatever else it raises."""
    from genai_prices import Usage as Tokens  # noqa: PLC0415 (it takes a quarter of a second to import)
    from genai_prices import calc_price  # noqa: PLC0415

    def price(prompt: int, cached: int, written: int, completion: int) -> float:
        tokens = Tokens(
            input_tokens=prompt,
            cache_read_tokens=cached,
            cache_write_tokens=written,
            output_tokens=completion,
        )
        priced = calc_price(
            tokens,
            model,
            provider_id=price_list,
            genai_request_timestamp=at,
            price_context=context or None,
        )
        return float(priced.total_price)

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
    """Return US dollars as text, with more digits for small amounts; `unpriced` answers are not part of them.

    Examples
    --------
    >>> dollars(1.25), dollars(0.00123), dollars(0.0), dollars(-0.5)
    ('$1.25', '$0.0012', '$0', '-$0.5000')
    """
    size = abs(amount)
    digits = 2 if size >= 1 else 4 if size >= 0.0001 else 6 if size else 0
    exact = f"{'-' if amount < 0 else ''}${size:,.{digits}f}"
    return f"at least {exact}" if unpriced else exact


def cost_text(run: RunView, model: str) -> str:
    """Return what a run cost; nothing where it paid nothing."""
    if run.cost is not None:
        paid = run.tokens.total or run.unpriced
        return dollars(run.cost, run.unpriced) if paid else ""
    if run.tokens.total:
        return f"the price of {model} is unknown"
    return "at an unknown cost (the answers do not state their tokens)"
