"""Reading JSON as servers write it, so that what is read can be kept anywhere."""

from __future__ import annotations

import json
from typing import Any

import orjson

_INTEGER_DIGITS = 18
"""Longer integers are read as floats, as orjson does from 2**64 on."""


def load(raw: bytes) -> Any:
    """Read JSON, also with the halves of surrogate pairs that some servers send; they become U+FFFD."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(whole(json.dumps(json.loads(raw, parse_int=_number), ensure_ascii=False)))
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None


def whole(text: str) -> str:
    """Put U+FFFD for halves of surrogate pairs, which neither a file nor a database takes."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _number(digits: str) -> int | float:
    return int(digits) if len(digits) <= _INTEGER_DIGITS else float(digits)
