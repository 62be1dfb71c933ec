"""The cap on a call's cost: what must be known before anything is sent, and what is said when it is reached."""

from __future__ import annotations

from math import ceil, floor, log10
from typing import TYPE_CHECKING

import orjson

from llmframe._errors import counted, plain_repr, row_name
from llmframe._pacing import OVER_BUDGET, Budget
from llmframe._run.money.prices import dollars
from llmframe._values import Stop, Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmframe._columns import Plan
    from llmframe._journal import Journal, Session
    from llmframe._run.money.prices import Price, Prices
    from llmframe._run.settings import RunSettings
    from llmframe._values import LaneName

_TEXT_PARTS = frozenset({"text", "refusal"})
_NOT_IN_TOKENS = ("web_search_options", "audio", "modalities", "prediction")
"""Parameters by which an answer costs more than its bounded tokens."""
_USUAL_BOUND = 1_000
_DEARER_TIERS = ("priority", "fast")
_PROBE_BYTES = 1_000


async def make_budget(
    settings: RunSettings, plan: Plan, prices: Prices, journal: Journal, session: Session
) -> Budget:
    """Make what a run may spend.

    Raises
    ------
    ValueError
        When a request's worst case is unknown: its model's price, the bound on its answer, or the price of a part that
        is no text.
    """
    if settings.max_cost is None or settings.mode == "offline":
        return Budget()
    lane: LaneName = "batch" if settings.mode == "batch" else "live"
    found = [prices.price_of(settings.model, lane, tier) for tier in _tiers(settings)]
    if None in found:
        raise ValueError(
            f"max_cost: no price is known for {settings.model!r}, so that nothing can be kept within it; set "
            f"llmframe.options.prices = {{{settings.model!r}: {{'input': …, 'output': …}}}}, in US dollars per million "
            "tokens (0 for a server of your own)"
        )
    known = [price for price in found if price is not None]
    for name in _NOT_IN_TOKENS:
        if settings.params.get(name) is not None:
            raise ValueError(f"max_cost: nothing bounds what {name}= costs; leave it or max_cost= out")
    _refuse_other_parts(plan)
    output = settings.most_output
    if output is None:
        if any(price(Usage(1, 1_000)) > price(Usage(1, 0)) for price in known):
            longest = await journal.longest_answer(session.recipe)
            raise ValueError(
                f"max_cost: nothing bounds what an answer may cost; pass max_completion_tokens={_enough(longest)} as well"
                + (f" (the longest answer so far had {counted(longest, 'token')})" if longest else "")
            )
        output = 0
    worst = _worst(known, output)
    return Budget(settings.max_cost, worst, untold=_untold(settings, prices, worst, output))


def _untold(settings: RunSettings, prices: Prices, worst: Callable[[int], float], output: int) -> float:
    """Return how many times the worst case it is if the server bills a dearer tier than was asked for."""
    if settings.mode == "batch" or settings.params.get("service_tier") in _DEARER_TIERS:
        return 1.0
    dearer = [prices.price_of(settings.model, "live", tier) for tier in _DEARER_TIERS]
    most = max((_worst([price], output)(_PROBE_BYTES) for price in dearer if price is not None), default=0.0)
    return max(1.0, most / (worst(_PROBE_BYTES) or 1.0))


def _tiers(settings: RunSettings) -> list[str | None]:
    """List the tiers by which an answer may be billed: a request for another one may be served by the standard one."""
    asked = settings.params.get("service_tier")
    return [None, asked] if asked in _DEARER_TIERS else [None]


def _worst(prices: list[Price], output: int) -> Callable[[int], float]:
    """Return the most that a request may cost, by the bytes of its body: no text has more tokens than bytes."""

    def worst(size: int) -> float:
        classes = (Usage(size, output), Usage(size, output, size), Usage(size, output, 0, 0, size))
        return max(price(usage) for price in prices for usage in classes)

    return worst


def _enough(longest: int) -> int:
    """Return a bound well above the longest answer, with one digit."""
    if not longest:
        return _USUAL_BOUND
    unit = 10 ** int(log10(2 * longest))
    return int(ceil(2 * longest / unit) * unit)


def _cap_above(amount: float) -> str:
    """Return US dollars above an amount, as one writes them."""
    unit = 10.0 ** (floor(log10(amount)) - 1)
    return f"{ceil(amount / unit + 1e-6) * unit:.12f}".rstrip("0").rstrip(".")


def _refuse_other_parts(plan: Plan) -> None:
    for number, messages in enumerate(plan.kept or ()):
        if (kind := _other_part(messages)) is not None:
            row = row_name(plan.labels, int(plan.first[number]))
            raise ValueError(
                f"max_cost: {row} has a part of type {plain_repr(kind)}, and nothing bounds what that costs; leave such rows "
                "out with where=, or leave max_cost= out"
            )


def _other_part(messages: bytes) -> str | None:
    """Return the type of a part that is no text; `None`: there is none."""
    if b'"type":' not in messages:
        return None
    for message in orjson.loads(messages):
        for part in message["content"] if isinstance(message.get("content"), list) else ():
            if part.get("type") not in _TEXT_PARTS:
                return str(part.get("type"))
    return None


def cost_limit(budget: Budget, unfinished: int) -> Stop:
    """Return the stop of a run at its cap, with this many requests left."""
    finish = budget.to_finish(unfinished)
    if not (budget.spent or budget.reserved):
        return Stop(
            OVER_BUDGET.code,
            f"no request fits into the cap of {dollars(budget.cap)}: one may cost up to {dollars(budget.largest_refused)}",
            f"pass max_cost={_cap_above(budget.largest_refused)} or more, or a smaller max_completion_tokens",
        )
    reserved = (
        f", {dollars(budget.reserved)} reserved for requests that may have been billed"
        if budget.reserved
        else ""
    )
    message = (
        f"the cap of {dollars(budget.cap)} is reached: {dollars(budget.spent)} spent{reserved}; the "
        f"{counted(unfinished, 'request')} left would cost about {dollars(finish)}"
    )
    return Stop(
        OVER_BUDGET.code,
        message,
        "run the call again: the cap is each call's own, and what is answered is not asked again",
    )
