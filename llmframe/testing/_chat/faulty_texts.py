"""Answers that models give where JSON is asked for: with something around it, or JSON that is not what was asked for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_AROUND = {
    "prose": "Sure! Here is the answer:\n\n{}\n\nLet me know if you need anything else.",
    "fenced": "```json\n{}\n```",
    "thinking": "<think>\nThe text is short. I answer with one object.\n</think>\n\n{}",
    "not_json": "I am not sure what the text says about that.",
}


def faulty_text(text: str, kind: str, schema: dict[str, Any] | None) -> str:
    """Return the text of an answer with a fault; a fault inside of an object leaves a text that is none as it is."""
    if kind in _AROUND:
        return _AROUND[kind].replace("{}", text)
    try:
        answer = json.loads(text)
    except json.JSONDecodeError:
        return text
    return _INSIDE[kind](answer, schema or {}) if isinstance(answer, dict) and answer else text


def _wrong_type(answer: dict[str, Any], _: dict[str, Any]) -> str:
    first, value = next(iter(answer.items()))
    return json.dumps({**answer, first: "text" if isinstance(value, dict | list) else [value]})


def _missing_key(answer: dict[str, Any], _: dict[str, Any]) -> str:
    return json.dumps(dict(list(answer.items())[:-1]))


def _unknown_label(answer: dict[str, Any], schema: dict[str, Any]) -> str:
    """Put a label that is off the list into the first property that has a list, or into the first one."""
    listed = [name for name, part in schema.get("properties", {}).items() if name in answer and _lists(part)]
    return json.dumps({**answer, (listed or list(answer))[0]: "none of these"})


def _lists(part: dict[str, Any]) -> bool:
    return "enum" in part or any("enum" in each for each in part.get("anyOf", ()))


def _duplicate_keys(answer: dict[str, Any], _: dict[str, Any]) -> str:
    first = next(iter(answer))
    return f"{{{json.dumps(first)}: null, {json.dumps(answer)[1:]}"


def _nan(answer: dict[str, Any], _: dict[str, Any]) -> str:
    return json.dumps({**answer, next(iter(answer)): float("nan")})


_INSIDE: dict[str, Callable[[dict[str, Any], dict[str, Any]], str]] = {
    "wrong_type": _wrong_type,
    "missing_key": _missing_key,
    "unknown_label": _unknown_label,
    "duplicate_keys": _duplicate_keys,
    "nan": _nan,
}
