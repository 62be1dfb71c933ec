"""JSON: reading it as servers write it, and canonical values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import orjson

_INTEGER_DIGITS = 18
"""Longer integers are read as floats, as orjson reads them from 2**64 on."""


_MOST_ERRORS = 5
"""Of a list of errors, this many are told."""
_DEEPEST_ERROR = 5


class UnreadableJSONError(ValueError):
    """Bytes that are not JSON, or JSON that is nested too deeply."""


def load(raw: bytes) -> Any:
    """Read JSON, also with halves of surrogate pairs, as some servers send; they become U+FFFD.

    Raises
    ------
    UnreadableJSONError
        When the bytes cannot be read.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(without_half_pairs(json.dumps(_lenient(raw), ensure_ascii=False)))
    except RecursionError:
        raise UnreadableJSONError("JSON that is nested too deeply") from None


def load_or_none(raw: bytes) -> Any:
    """Read JSON as `load` does; `None` where it cannot be read."""
    with suppress(UnreadableJSONError):
        return load(raw)
    return None


def as_object(value: object) -> dict[str, Any]:
    """Return a JSON object, also one that is written as text; empty for anything else."""
    if isinstance(value, str):
        value = load_or_none(value.encode())
    return value if isinstance(value, dict) else {}


def _lenient(raw: bytes) -> Any:
    try:
        return json.loads(raw, parse_int=_number)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UnreadableJSONError(str(error)) from None


def as_json(value: Any) -> str:
    """Write a value that was read from JSON as text."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "JSON that is nested too deeply"


_WORDS_IN = ("message", "msg", "detail", "error", "errors", "title", "reason", "description", "code", "type")


def words(error: object, depth: int = 0) -> str:
    """Return the words of an error in any JSON form; what has none is shown as JSON."""
    if isinstance(error, str):
        return error.strip()
    if isinstance(error, list) and depth < _DEEPEST_ERROR:
        return "; ".join(filter(None, (words(part, depth + 1) for part in error[:_MOST_ERRORS])))
    if isinstance(error, dict) and depth < _DEEPEST_ERROR:
        found = (words(error[name], depth + 1) for name in _WORDS_IN if error.get(name))
        said = next(filter(None, found), "") or (as_json(error) if error else "")
        return f"{place}: {said}" if (place := _place(error.get("loc"))) else said
    return "" if error is None else as_json(error)


def _place(loc: object) -> str:
    """Return where in a request's body an error is, as FastAPI says it beside the words: `["body", "messages", 0]`."""
    parts = loc if isinstance(loc, list) else []
    return ".".join(
        str(part) for part in parts[:_MOST_ERRORS] if isinstance(part, str | int) and part != "body"
    )


def without_half_pairs(text: str) -> str:
    """Replace halves of surrogate pairs by U+FFFD: files and databases do not accept them."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _number(digits: str) -> int | float:
    return int(digits) if len(digits) <= _INTEGER_DIGITS else float(digits)


class NotJSONError(ValueError):
    """A value that JSON cannot represent."""


def canonical(value: Any, *, sort: bool = True) -> Any:
    """Make a JSON value canonical: plain types, whole floats as integers, keys sorted.

    Raises
    ------
    NotJSONError
        For values that JSON cannot represent: nan, infinities, other objects, keys that are not text, endless nesting.
    """
    try:
        return _canonical(value, sort=sort)
    except RecursionError:
        raise NotJSONError("JSON cannot hold values that are nested so deeply") from None


def _canonical(value: Any, *, sort: bool) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, np.generic | np.ndarray) and value.dtype.kind not in "mM":
        return _canonical(value.tolist(), sort=sort)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotJSONError(f"JSON cannot hold {value}")
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise NotJSONError("JSON objects have text as keys")
        items = sorted(value.items()) if sort else value.items()
        return {key: _canonical(item, sort=sort) for key, item in items}
    if isinstance(value, list | tuple):
        return [_canonical(item, sort=sort) for item in value]
    raise NotJSONError(f"JSON cannot hold a {type(value).__name__}")
