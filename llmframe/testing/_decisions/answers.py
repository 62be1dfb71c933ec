"""The answers to the questions of a decision, with probabilities that are a function of the request."""

from __future__ import annotations

import hashlib
from math import log
from typing import Any

from llmframe.testing._chat import fitting_label, holds
from llmframe.testing._decisions.inputs import options, parts_text

_DIGITS = 4


def answer_to(question: dict[str, Any], text: str, seed: str) -> dict[str, Any]:
    """Return the answer to one question about a text; one that the text supports is likely, others are uncertain."""
    named = {"name": question.get("name"), "type": question["type"]}
    if question["type"] == "predicate":
        return {**named, "probability": _probability(question, text, seed)}
    offered = options(question)
    labels = [str(each.get("value", each.get("label"))) for each in offered]
    found, _ = fitting_label(labels, [each.get("description", "") for each in offered], text)
    if any(isinstance(each.get("value"), bool) for each in offered):
        found = _found_boolean(question, offered, text)
    probabilities = _distribution(len(offered), found, seed)
    confidence = round(_concentration(probabilities), _DIGITS)
    rounded = [round(each, _DIGITS) for each in probabilities]
    if question["type"] == "choice":
        likely = max(range(len(offered)), key=probabilities.__getitem__)
        return {
            **named,
            "choice": offered[likely]["value"],
            "confidence": confidence,
            "probabilities": [
                {"value": each["value"], "probability": rounded[i]} for i, each in enumerate(offered)
            ],
        }
    return {
        **named,
        "score": round(sum(i * each for i, each in enumerate(probabilities)), _DIGITS),
        "confidence": confidence,
        "probabilities": [
            {"label": each["label"], "value": i, "probability": rounded[i]} for i, each in enumerate(offered)
        ],
    }


def refusal_of(question: dict[str, Any]) -> dict[str, Any]:
    return {"name": question.get("name"), "type": "refusal"}


def _probability(question: dict[str, Any], text: str, seed: str) -> float:
    true = holds(parts_text(question["instructions"]), text)
    share = _share(seed)
    if true is None:
        return round(0.02 + 0.96 * share, _DIGITS)
    likely = 0.8 + 0.19 * share
    return round(likely if true else 1 - likely, _DIGITS)


def _found_boolean(question: dict[str, Any], offered: list[dict[str, Any]], text: str) -> int | None:
    true = holds(parts_text(question["instructions"]), text)
    return next((i for i, each in enumerate(offered) if true is not None and each["value"] is true), None)


def _distribution(number: int, found: int | None, seed: str) -> list[float]:
    """Return probabilities that sum to 1; `found` has most of it."""
    weights = [0.05 + _share(f"{seed}/{i}") for i in range(number)]
    if found is not None:
        others = sum(weights) - weights[found]
        weights[found] = others * (4 + 36 * _share(seed))
    total = sum(weights)
    return [each / total for each in weights]


def _concentration(probabilities: list[float]) -> float:
    """Return 1 for one certain option and 0 where all are equally likely."""
    entropy = -sum(each * log(each) for each in probabilities if each > 0)
    return max(0.0, 1 - entropy / log(len(probabilities)))


def _share(seed: str) -> float:
    return int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=6).digest()) / 2**48
