"""Building blocks of validation: each rule passes a value or raises the API's own error about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from llmframe.testing._wire import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Rule = Callable[[Any, str], None]

_NAMES = {
    str: "a string",
    int: "an integer",
    float: "a decimal number",
    bool: "a boolean",
    dict: "an object",
    list: "an array",
    type(None): "null",
}


def wrong_type(path: str, expected: str, value: Any) -> Invalid:
    message = f"Invalid type for '{path}': expected {expected}, but got {_NAMES[type(value)]} instead."
    return Invalid(message, path, "invalid_type")


def missing(path: str) -> Invalid:
    return Invalid(f"Missing required parameter: '{path}'.", path, "missing_required_parameter")


def unknown(path: str) -> Invalid:
    return Invalid(f"Unknown parameter: '{path}'.", path, "unknown_parameter")


def _kind(kind: type) -> Rule:
    def check(value: Any, path: str) -> None:
        if type(value) is not kind:
            raise wrong_type(path, _NAMES[kind], value)

    return check


boolean = _kind(bool)
anything = _kind(dict)


def nullable(rule: Rule) -> Rule:
    """Let null pass as well."""

    def check(value: Any, path: str) -> None:
        if value is not None:
            rule(value, path)

    return check


def text(*, shortest: int = 0, longest: int | None = None, pattern: str | None = None) -> Rule:
    def check(value: Any, path: str) -> None:
        if type(value) is not str:
            raise wrong_type(path, "a string", value)
        if len(value) < shortest:
            raise Invalid(
                f"Invalid '{path}': empty string. Expected a string with minimum length {shortest}, but got an empty string instead.",
                path,
                "empty_string",
            )
        if longest is not None and len(value) > longest:
            raise Invalid(
                f"Invalid '{path}': string too long. Expected a string with maximum length {longest}, but got a string with length {len(value)} instead.",
                path,
                "string_above_max_length",
            )
        if pattern is not None and not re.fullmatch(pattern, value):
            raise Invalid(
                f"Invalid '{path}': string does not match pattern. Expected a string that matches the pattern '^{pattern}$'.",
                path,
                "invalid_value",
            )

    return check


def choice(*values: str) -> Rule:
    allowed = frozenset(values)

    def check(value: Any, path: str) -> None:
        if type(value) is not str:
            raise wrong_type(path, f"one of {_listed(values)}", value)
        if value not in allowed:
            raise Invalid(
                f"Invalid value: '{value}'. Supported values are: {_listed(values)}.",
                path,
                "invalid_value",
            )

    return check


def _listed(values: tuple[str, ...]) -> str:
    quoted = [f"'{value}'" for value in values]
    if len(quoted) < 3:
        return " and ".join(quoted)
    return f"{', '.join(quoted[:-1])}, and {quoted[-1]}"


def integer(low: int | None = None, high: int | None = None) -> Rule:
    def check(value: Any, path: str) -> None:
        if type(value) is not int:
            raise wrong_type(path, "an integer", value)
        _between(value, path, low, high, "integer")

    return check


def whole(text: str, path: str, rule: Rule) -> int:
    """Return the integer that a form or a query spells, if the rule passes it."""
    value = int(text) if re.fullmatch("-?[0-9]{1,18}", text) else text
    rule(value, path)
    return int(value)


def number(low: float, high: float) -> Rule:
    def check(value: Any, path: str) -> None:
        if type(value) not in (int, float):
            raise wrong_type(path, "a decimal", value)
        _between(value, path, low, high, "decimal")

    return check


def _between(value: float, path: str, low: float | None, high: float | None, word: str) -> None:
    if low is not None and value < low:
        message = f"Invalid '{path}': {word} below minimum value. Expected a value >= {low}, but got {value} instead."
        raise Invalid(message, path, f"{word}_below_min_value")
    if high is not None and value > high:
        message = f"Invalid '{path}': {word} above maximum value. Expected a value <= {high}, but got {value} instead."
        raise Invalid(message, path, f"{word}_above_max_value")


def array(item: Rule, *, shortest: int = 0, longest: int | None = None) -> Rule:
    def check(value: Any, path: str) -> None:
        if type(value) is not list:
            raise wrong_type(path, "an array", value)
        if len(value) < shortest:
            raise Invalid(
                f"Invalid '{path}': empty array. Expected an array with minimum length {shortest}, but got an empty array instead.",
                path,
                "empty_array",
            )
        if longest is not None and len(value) > longest:
            raise Invalid(
                f"Invalid '{path}': array too long. Expected an array with maximum length {longest}, but got an array with length {len(value)} instead.",
                path,
                "array_above_max_length",
            )
        for i, one in enumerate(value):
            item(one, f"{path}[{i}]")

    return check


def mapping(item: Rule, *, most: int | None = None, longest_key: int | None = None) -> Rule:
    """Check an object with free keys."""

    def check(value: Any, path: str) -> None:
        if type(value) is not dict:
            raise wrong_type(path, "an object", value)
        if most is not None and len(value) > most:
            raise Invalid(
                f"Invalid '{path}': too many properties. Expected an object with at most {most} properties, but got an object with {len(value)} properties instead.",
                path,
                "object_above_max_properties",
            )
        for key, one in value.items():
            if longest_key is not None and len(key) > longest_key:
                raise Invalid(
                    f"Invalid '{path}': key too long. Expected keys with maximum length {longest_key}, but got a key with length {len(key)} instead.",
                    path,
                    "string_above_max_length",
                )
            item(one, f"{path}.{key}")

    return check


def record(required: Mapping[str, Rule], optional: Mapping[str, Rule] | None = None) -> Rule:
    """Check an object with known keys."""
    rules = {**required, **(optional or {})}

    def check(value: Any, path: str) -> None:
        if type(value) is not dict:
            raise wrong_type(path, "an object", value)
        for key in required:
            if key not in value:
                raise missing(f"{path}.{key}")
        for key, one in value.items():
            if key not in rules:
                raise unknown(f"{path}.{key}")
            rules[key](one, f"{path}.{key}")

    return check


def tagged(key: str, variants: Mapping[str, Rule]) -> Rule:
    """Check an object whose `key` says which rule it follows."""
    names = choice(*variants)

    def check(value: Any, path: str) -> None:
        if type(value) is not dict:
            raise wrong_type(path, "an object", value)
        if key not in value:
            raise missing(f"{path}.{key}")
        names(value[key], f"{path}.{key}")
        variants[value[key]](value, path)

    return check


def by_type(expected: str, rules: Mapping[type, Rule]) -> Rule:
    """Check a value that may have one of several types."""

    def check(value: Any, path: str) -> None:
        rule = rules.get(type(value))
        if rule is None:
            raise wrong_type(path, f"one of {expected}", value)
        rule(value, path)

    return check
