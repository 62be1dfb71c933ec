"""The texts of a decision's input and questions."""

from __future__ import annotations

from typing import Any

import orjson


def input_texts(body: dict[str, Any]) -> list[str]:
    """Return the text of each item of the input."""
    asked = body["input"]
    return [asked] if isinstance(asked, str) else [_item_text(item) for item in asked]


def asked_about(body: dict[str, Any]) -> str:
    """Return the text that the questions are about: the last user message, or the last item."""
    texts, items = input_texts(body), body["input"]
    if isinstance(items, str):
        return items
    users = [text for text, item in zip(texts, items, strict=True) if item.get("role") == "user"]
    return users[-1] if users else texts[-1]


def question_texts(body: dict[str, Any]) -> list[str]:
    """Return the texts of each question: its instructions, and its choices or levels with their descriptions."""
    return [
        "\n".join(
            [
                parts_text(question["instructions"]),
                *(str(word) for each in options(question) for word in each.values()),
            ]
        )
        for question in body["questions"]
    ]


def options(question: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the choices or the levels of a question; a predicate has none."""
    found: list[dict[str, Any]] = question.get("choices") or question.get("levels") or []
    return found


def _item_text(item: dict[str, Any]) -> str:
    for word in ("content", "output", "input", "arguments"):
        if word in item:
            return parts_text(item[word])
    return ""


def parts_text(content: str | list[dict[str, Any]]) -> str:
    """Return the text of parts, with JSON as it is written."""
    if isinstance(content, str):
        return content
    return "\n".join(_part_text(part) for part in content)


def _part_text(part: dict[str, Any]) -> str:
    if part["type"] == "input_json":
        return orjson.dumps(part["data"]).decode()
    return str(part.get("text") or part.get("refusal") or "")
