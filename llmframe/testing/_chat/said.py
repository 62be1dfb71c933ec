"""What a text says for one place of a schema: a value that fits there, or nothing."""

from __future__ import annotations

from typing import Any

from llmframe.testing._chat.evidence import clock, contradicts, date, fitting_label, holds, numbers, sentence

_ASKED_FOR = {
    "YYYY-MM-DDTHH:MM:SS, with": "date-time",
    "YYYY-MM-DDTHH:MM:SS": "naive",
    "YYYY-MM-DD": "date",
    "HH:MM:SS": "time",
    "decimal number": "decimal",
}
"""Words of a description, and the format that they ask for."""
_MEASURED = frozenset({"date-time", "naive", "date", "time", "decimal"})
_LARGEST = 2**53


def asked_format(schema: dict[str, Any]) -> str:
    """Return the format that a schema or its description asks for; "" is any text."""
    description = str(schema.get("description", ""))
    asked = next((name for words, name in _ASKED_FOR.items() if words in description), "")
    return str(schema.get("format", asked))


def unanswered(schema: dict[str, Any], name: str, text: str) -> bool:
    """Return whether a text that says nothing for a property has no answer: it needs a number or a date, or the text denies it."""
    measured = schema.get("type") in ("integer", "number") or asked_format(schema) in _MEASURED
    return measured or contradicts(_plain(name), text)


def said_of(schema: dict[str, Any], name: str, text: str, label: str | None, *, guess: bool = False) -> Any:
    """Return the text's answer to a property; None where it has none. `guess` takes any piece of the text for a string."""
    if not text.strip():
        return None
    if schema.get("enum"):
        return chosen_option(schema["enum"], text, label)[0]
    question = f"{_plain(name)} {schema.get('description', '')}"
    kind = schema.get("type")
    if kind in ("integer", "number"):
        return _number(schema, question, text)
    if kind == "boolean":
        return holds(question, text)
    return _string(schema, name, question, text, guess=guess) if kind == "string" else None


def chosen_option(options: list[Any], text: str, label: str | None) -> tuple[Any, list[Any]]:
    """Return the option that the prompt's label or the text supports, or None, and those that remain possible."""
    for option in options:
        if label is not None and str(option).lower() == label.lower():
            return option, options
    if not text.strip() or any(isinstance(option, bool) or option is None for option in options):
        return None, options
    labels = [str(option) for option in options]
    found, left = fitting_label(labels, [""] * len(labels), text)
    return None if found is None else options[found], [options[i] for i in left] or options


def _plain(name: str) -> str:
    return name.replace(".", " ").replace("_", " ")


def _number(schema: dict[str, Any], question: str, text: str) -> float | None:
    whole = schema["type"] == "integer"
    for digits in numbers(text, question):
        value = float(digits)
        if abs(value) <= _LARGEST and (value.is_integer() or not whole) and _inside(schema, value):
            return (
                int(value) if value.is_integer() and "." not in digits else value if not whole else int(value)
            )
    return None


def _inside(schema: dict[str, Any], value: float) -> bool:
    return (
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
        and schema.get("exclusiveMinimum", value - 1) < value < schema.get("exclusiveMaximum", value + 1)
        and not value % schema.get("multipleOf", value or 1)
    )


def _string(schema: dict[str, Any], name: str, question: str, text: str, *, guess: bool) -> str | None:
    asked = asked_format(schema)
    if asked in _MEASURED:
        return _measured(asked, question, text)
    if asked or "pattern" in schema:
        return None
    piece, fits = sentence(text, question)
    words = question.lower()
    quoted = name.endswith("quote") or "verbatim" in words or " quote" in words
    if piece is None or not (guess or quoted or (fits and not contradicts(_plain(name), text))):
        return None
    short, long = schema.get("minLength", 0), schema.get("maxLength", len(piece))
    return piece if short <= len(piece) <= long else None


def _measured(asked: str, question: str, text: str) -> str | None:
    if asked == "decimal":
        return next(numbers(text, question), None)
    day, time = date(text), clock(text)
    if asked == "time":
        return time
    if asked == "date" or day is None:
        return day
    return f"{day}T{time or '00:00:00'}{'Z' if asked == 'date-time' else ''}"
