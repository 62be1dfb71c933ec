"""What was spent, from a store's sums by recipe to sums by day, model, verb and lane."""

from __future__ import annotations

from collections import defaultdict
from math import fsum
from typing import TYPE_CHECKING, Any

import orjson

from llmframe._journal.protocol import Spend
from llmframe._values import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def spend_by_day(rows: Iterable[Sequence[Any]], descriptions: Mapping[int, str]) -> list[Spend]:
    """Sum a store's groups.

    Parameters
    ----------
    rows
        Day, recipe, the model that answered, lane, and the sums: answers, the tokens of a `Usage`, dollars, and the answers
        whose cost is known.
    descriptions
        Those of the recipes, as JSON, by their numbers.
    """
    recipes = {number: orjson.loads(description) for number, description in descriptions.items()}
    groups: dict[tuple[int, str, str, str], list[Any]] = defaultdict(list)
    for day, recipe, answering, lane, *sums in rows:
        description = recipes.get(recipe, {})
        model = description.get("model") or answering or ""
        groups[day, model, description.get("verb") or "", lane].append(sums)
    return [_summed(group, groups[group]) for group in sorted(groups)]


def _summed(group: tuple[int, str, str, str], parts: list[Any]) -> Spend:
    day, model, verb, lane = group
    answers, *tokens, costs, priced = zip(*parts, strict=True)
    cost = fsum(filter(None, costs)) if sum(priced) else None
    usage = Usage(*map(sum, tokens))
    return Spend(day, model, verb or None, lane, sum(answers), usage, cost, sum(answers) - sum(priced))
