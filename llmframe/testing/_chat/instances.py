"""Values that fit a JSON schema, as structured outputs need them."""

from __future__ import annotations

import hashlib
from typing import Any

from llmframe.testing._chat.evidence import sentences
from llmframe.testing._chat.said import asked_format, chosen_option, said_of, unanswered

_DEPTH = 8
_DEEPEST = 64
_MOST_ITEMS = 3
_NULL = {"type": "null"}
_FORMATS = {
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "date-time": "2026-01-31T12:00:00Z",
    "naive": "2026-01-31T12:00:00",
    "decimal": "12.50",
    "duration": "PT1H",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.com/",
}


def instance(schema: dict[str, Any], seed: str, label: str | None = None, text: str = "") -> Any:
    """Return a value that fits the schema, the same for the same seed and text.

    If an enumeration contains `label` (in any case), it is chosen. Otherwise values agree with the text where they can:
    labels, numbers and dates that are in it, and pieces of it; a nullable number or date that it does not have is null.
    A list has an item for each of the text's first three sentences.
    """
    return _Generator(schema, label, text).value(schema, seed, 0)


class _Generator:
    def __init__(self, root: dict[str, Any], label: str | None, text: str) -> None:
        self._root = root
        self._label = label
        self._text = text

    def value(self, schema: Any, seed: str, depth: int, name: str = "") -> Any:
        if not isinstance(schema, dict) or depth > _DEEPEST:
            return None
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._pick(schema["enum"], seed)
        inner = self._inner(schema, seed, depth, name)
        return (
            self._typed(schema, seed, depth, name)
            if inner is None
            else self.value(inner, seed, depth + 1, name)
        )

    def _inner(self, schema: dict[str, Any], seed: str, depth: int, name: str) -> Any:
        """Return the schema behind a reference, a choice or a combination, or None."""
        if "$ref" in schema:
            return self._resolve(schema["$ref"])
        options = schema.get("anyOf") or schema.get("oneOf")
        if options:
            chosen = self._answerable(schema, options, name) or _branch(options, seed, depth)
            if not isinstance(chosen, dict):
                return chosen
            return {"description": schema.get("description", ""), **chosen}
        return _merged(schema) if schema.get("allOf") else None

    def _answerable(self, schema: dict[str, Any], options: list[Any], name: str) -> dict[str, Any] | None:
        """Return what the text decides a nullable value to be: the schema that it answers, null, or None if it does not decide."""
        others = [each for each in options if each != _NULL]
        if not self._text.strip() or len(others) != 1 or len(options) != 2 or not isinstance(others[0], dict):
            return None
        asked = {"description": schema.get("description", ""), **others[0]}
        said = said_of(asked, name, self._text, self._label)
        if said is not None:
            return {"const": said}
        return _NULL if unanswered(asked, name, self._text) else None

    def _pick(self, options: list[Any], seed: str) -> Any:
        said, left = chosen_option(options, self._text, self._label)
        return said if said is not None else left[_number(seed) % len(left)]

    def _resolve(self, reference: str) -> Any:
        found: Any = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            key = step.replace("~1", "/").replace("~0", "~")
            if key:
                found = found.get(key, {}) if isinstance(found, dict) else {}
        return found

    def _typed(self, schema: dict[str, Any], seed: str, depth: int, name: str) -> Any:
        kind = schema.get("type")
        if isinstance(kind, list):
            union = {"anyOf": [_NULL if one == "null" else {**schema, "type": one} for one in kind]}
            return self.value({**union, "description": schema.get("description", "")}, seed, depth, name)
        if kind == "object" or (kind is None and "properties" in schema):
            return self._object(schema, seed, depth)
        if kind == "array":
            return self._array(schema, seed, depth, name)
        return self._scalar(schema, seed, name)

    def _scalar(self, schema: dict[str, Any], seed: str, name: str) -> Any:
        said = said_of(schema, name, self._text, self._label, guess=True)
        kind = schema.get("type")
        if said is not None or kind == "null":
            return said
        if kind in ("integer", "number"):
            return _within(schema, _number(seed) % 100, whole=kind == "integer")
        return bool(_number(seed) % 2) if kind == "boolean" else _string(schema, seed)

    def _object(self, schema: dict[str, Any], seed: str, depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        names = [name for name in properties if name in required or depth < _DEPTH]
        return {name: self.value(properties[name], f"{seed}/{name}", depth + 1, name) for name in names}

    def _array(self, schema: dict[str, Any], seed: str, depth: int, name: str) -> list[Any]:
        """Return an item for each of the text's first sentences, which agrees with that sentence."""
        texts = sentences(self._text)[:_MOST_ITEMS] or [self._text]
        least = schema.get("minItems", 0)
        length = least if depth >= _DEPTH else max(least, len(texts))
        length = min(length, schema.get("maxItems", length))
        about = [_Generator(self._root, self._label, texts[i % len(texts)]) for i in range(length)]
        return [
            each.value(schema.get("items", {}), f"{seed}/{i}", depth + 1, name)
            for i, each in enumerate(about)
        ]


def _branch(options: list[Any], seed: str, depth: int) -> Any:
    """Choose one alternative; at depth null is preferred, so that recursion ends."""
    if depth >= _DEPTH:
        return next((one for one in options if one == _NULL), options[0])
    return options[_number(seed) % len(options)]


def _merged(schema: dict[str, Any]) -> dict[str, Any]:
    merged = {name: value for name, value in schema.items() if name != "allOf"}
    for part in schema["allOf"]:
        merged = {**part, **merged}
    return merged


def _number(seed: str) -> int:
    return int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=6).digest())


def _within(schema: dict[str, Any], value: int, *, whole: bool) -> float:
    """Return a number between the schema's bounds, from `value` where it has none."""
    step: float = schema.get("multipleOf") or (1 if whole else 0.5)
    lows: list[float] = [
        schema[word] + more for word, more in (("minimum", 0), ("exclusiveMinimum", step)) if word in schema
    ]
    highs: list[float] = [
        schema[word] - less for word, less in (("maximum", 0), ("exclusiveMaximum", step)) if word in schema
    ]
    low, high = max(lows, default=None), min(highs, default=None)
    if low is None:
        return value * step if high is None else high - value * step
    if high is None:
        return low + value * step
    return low + value % (int((high - low) / step) + 1) * step if high >= low else (low + high) / 2


def _string(schema: dict[str, Any], seed: str) -> str:
    text = _FORMATS.get(asked_format(schema), f"made up {_number(seed):012x}")
    longest = schema.get("maxLength", len(text))
    return text[:longest].ljust(schema.get("minLength", 0), "x")
