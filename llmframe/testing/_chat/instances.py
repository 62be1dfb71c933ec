"""Values that fit a JSON schema, as structured outputs need them."""

from __future__ import annotations

import hashlib
from typing import Any

_DEPTH = 8
_DEEPEST = 64
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


def instance(schema: dict[str, Any], seed: str, label: str | None = None) -> Any:
    """Return a value that fits the schema, the same for the same seed.

    If an enumeration contains `label` (in any case), it is chosen.
    """
    return _Generator(schema, label).value(schema, seed, 0)


class _Generator:
    def __init__(self, root: dict[str, Any], label: str | None) -> None:
        self._root = root
        self._label = label

    def value(self, schema: Any, seed: str, depth: int) -> Any:
        if not isinstance(schema, dict) or depth > _DEEPEST:
            return None
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._pick(schema["enum"], seed)
        inner = self._inner(schema, seed, depth)
        return self._typed(schema, seed, depth) if inner is None else self.value(inner, seed, depth + 1)

    def _inner(self, schema: dict[str, Any], seed: str, depth: int) -> Any:
        """Return the schema behind a reference, a choice or a combination, or None."""
        if "$ref" in schema:
            return self._resolve(schema["$ref"])
        options = schema.get("anyOf") or schema.get("oneOf")
        if options:
            chosen = _branch(options, seed, depth)
            if not isinstance(chosen, dict):
                return chosen
            return {"description": schema.get("description", ""), **chosen}
        return _merged(schema) if schema.get("allOf") else None

    def _pick(self, options: list[Any], seed: str) -> Any:
        for option in options:
            if self._label is not None and str(option).lower() == self._label.lower():
                return option
        return options[_number(seed) % len(options)]

    def _resolve(self, reference: str) -> Any:
        found: Any = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            key = step.replace("~1", "/").replace("~0", "~")
            if key:
                found = found.get(key, {}) if isinstance(found, dict) else {}
        return found

    def _typed(self, schema: dict[str, Any], seed: str, depth: int) -> Any:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = _branch(kind, seed, depth)
        if kind == "object" or (kind is None and "properties" in schema):
            return self._object(schema, seed, depth)
        if kind == "array":
            return self._array(schema, seed, depth)
        if kind in ("integer", "number"):
            return _within(schema, _number(seed) % 100, whole=kind == "integer")
        if kind == "boolean":
            return bool(_number(seed) % 2)
        return None if kind == "null" else _string(schema, seed)

    def _object(self, schema: dict[str, Any], seed: str, depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        names = [name for name in properties if name in required or depth < _DEPTH]
        return {name: self.value(properties[name], f"{seed}/{name}", depth + 1) for name in names}

    def _array(self, schema: dict[str, Any], seed: str, depth: int) -> list[Any]:
        length = schema.get("minItems", 0) if depth >= _DEPTH else max(schema.get("minItems", 0), 1)
        length = min(length, schema.get("maxItems", length))
        return [self.value(schema.get("items", {}), f"{seed}/{i}", depth + 1) for i in range(length)]


def _branch(options: list[Any], seed: str, depth: int) -> Any:
    """Choose one alternative; at depth null is preferred, so that recursion ends."""
    if depth >= _DEPTH:
        return next((one for one in options if one in ("null", {"type": "null"})), options[0])
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


_ASKED_FOR = {
    "YYYY-MM-DDTHH:MM:SS, with": "date-time",
    "YYYY-MM-DDTHH:MM:SS": "naive",
    "YYYY-MM-DD": "date",
    "HH:MM:SS": "time",
    "decimal number": "decimal",
}
"""Words of a description, and the format that they ask for."""


def _string(schema: dict[str, Any], seed: str) -> str:
    description = str(schema.get("description", ""))
    asked = next((name for words, name in _ASKED_FOR.items() if words in description), "")
    text = _FORMATS.get(schema.get("format", asked), f"made up {_number(seed):012x}")
    longest = schema.get("maxLength", len(text))
    return text[:longest].ljust(schema.get("minLength", 0), "x")
