"""Checks of a value by its schema, with the API's own error for the first violation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic_core import SchemaValidator, ValidationError

from llmframe.testing._wire import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic_core import ErrorDetails
    from pydantic_core.core_schema import CoreSchema

_FOUND = {
    str: "a string",
    int: "an integer",
    float: "a decimal number",
    bool: "a boolean",
    dict: "an object",
    list: "an array",
    type(None): "null",
}
_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "float_type": "a decimal",
    "bool_type": "a boolean",
    "list_type": "an array",
    "dict_type": "an object",
    "tag": "an object",
}
_ERRORS = {
    "missing": ("missing_required_parameter", "Missing required parameter: '{path}'."),
    "extra_forbidden": ("unknown_parameter", "Unknown parameter: '{path}'."),
    "invalid_type": (
        "invalid_type",
        "Invalid type for '{path}': expected {expected}, but got {found} instead.",
    ),
    "literal_error": ("invalid_value", "Invalid value: '{value}'. Supported values are: {expected}."),
    "string_pattern_mismatch": (
        "invalid_value",
        "Invalid '{path}': string does not match pattern. Expected a string that matches the pattern '{pattern}'.",
    ),
    "string_too_short": (
        "empty_string",
        "Invalid '{path}': empty string. Expected a string with minimum length {min_length}, but got an empty string instead.",
    ),
    "string_too_long": (
        "string_above_max_length",
        "Invalid '{path}': string too long. Expected a string with maximum length {max_length}, but got a string with length {length} instead.",
    ),
    "too_short": (
        "empty_array",
        "Invalid '{path}': empty array. Expected an array with minimum length {min_length}, but got an empty array instead.",
    ),
    "array_below_min_length": (
        "array_below_min_length",
        "Invalid '{path}': array too short. Expected an array with minimum length {min_length}, but got an array with length {length} instead.",
    ),
    "too_long": (
        "array_above_max_length",
        "Invalid '{path}': array too long. Expected an array with maximum length {max_length}, but got an array with length {length} instead.",
    ),
    "greater_than_equal": (
        "{number}_below_min_value",
        "Invalid '{path}': {number} below minimum value. Expected a value >= {bound}, but got {value} instead.",
    ),
    "less_than_equal": (
        "{number}_above_max_value",
        "Invalid '{path}': {number} above maximum value. Expected a value <= {bound}, but got {value} instead.",
    ),
}
"""The API's code and message for each of pydantic's types of errors; other types are codes of the API already."""


def checker(schema: CoreSchema) -> Callable[[Any], None]:
    """Return a function that raises `Invalid` unless its argument fits the schema."""
    validator = SchemaValidator(schema)

    def check(value: Any) -> None:
        try:
            validator.validate_python(value, strict=True)
        except ValidationError as invalid:
            errors = invalid.errors(include_url=False)
            raise _invalid(min(errors, key=lambda error: _position(error, value))) from None

    return check


def _keys(error: ErrorDetails) -> list[int | str]:
    """Return the keys that lead to an error, without the negative numbers of chosen schemas."""
    return [key for key in error["loc"] if isinstance(key, str) or key >= 0]


def _position(error: ErrorDetails, value: Any) -> list[int]:
    """Return the position of an error by the order of a value's keys; a missing key comes before the others."""
    position = []
    for key in _keys(error):
        position.append(key if isinstance(key, int) else list(value).index(key) if key in value else -1)
        value = value[key] if position[-1] >= 0 else None
    return position


def _invalid(error: ErrorDetails) -> Invalid:
    kind, value, keys = error["type"], error["input"], _keys(error)
    details = {"expected": error["msg"]} | error.get("ctx", {})
    if kind == "tag" and isinstance(value, dict):
        tag = error["msg"]
        kind, value, keys = "literal_error" if tag in value else "missing", value.get(tag), [*keys, tag]
    if kind == "literal_error":
        details["expected"] = _listed(re.findall("'([^']*)'", details["expected"]))
        if not isinstance(value, str):
            kind, details["expected"] = "invalid_type", f"one of {details['expected']}"
    if kind == "too_short" and value:
        kind = "array_below_min_length"
    if kind in _EXPECTED:
        kind, details["expected"] = "invalid_type", _EXPECTED[kind]
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")
    bound = details.get("ge", details.get("le", 0))
    details |= {
        "path": path,
        "value": value,
        "found": _FOUND[type(value)],
        "length": len(value) if isinstance(value, str | list) else 0,
        "number": "integer" if isinstance(bound, int) else "decimal",
        "bound": bound if isinstance(bound, int) else f"{bound:g}",
    }
    code, message = _ERRORS.get(kind, (kind, f"Invalid '{{path}}': {error['msg']}"))
    return Invalid(message.format_map(details), path, code.format_map(details))


def _listed(values: list[str]) -> str:
    """Enumerate values as the API does."""
    *others, last = [f"'{value}'" for value in values]
    if len(others) < 2:
        return " and ".join([*others, last])
    return f"{', '.join(others)}, and {last}"
