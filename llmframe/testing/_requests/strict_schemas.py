"""Checks of the JSON schemas of structured outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmframe.testing._wire import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterator


_KEYWORDS = {
    "properties": dict,
    "$defs": dict,
    "definitions": dict,
    "required": list,
    "enum": list,
    "anyOf": list,
    "oneOf": list,
    "allOf": list,
}


def check_schema(shape: dict[str, Any]) -> None:
    """Raise `Invalid` for a malformed schema, or a strict one that is not closed and complete."""
    schema = shape["schema"]
    strict = shape.get("strict")
    if strict and schema.get("type") != "object":
        found = schema.get("type")
        found = "None" if found is None else f'"{found}"'
        raise _invalid(shape, (), f"schema must be a JSON Schema of 'type: \"object\"', got 'type: {found}'.")
    for context, part in _parts(schema, ()):
        for word, kind in _KEYWORDS.items():
            if word in part and type(part[word]) is not kind:
                raise _invalid(shape, context, f"{part[word]!r} is not valid for '{word}'.")
        if strict:
            _check_object(shape, context, part)


def _check_object(shape: dict[str, Any], context: tuple[str, ...], part: dict[str, Any]) -> None:
    kind = part.get("type")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind):
        return
    if part.get("additionalProperties") is not False:
        raise _invalid(shape, context, "'additionalProperties' is required to be supplied and to be false.")
    missing = [name for name in part.get("properties", {}) if name not in part.get("required", [])]
    if missing:
        message = (
            "'required' is required to be supplied and to be an array including every key in properties. "
            f"Missing '{missing[0]}'."
        )
        raise _invalid(shape, context, message)


def _parts(schema: Any, context: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield a schema and all schemas inside it, with their contexts."""
    if not isinstance(schema, dict):
        return
    yield context, schema
    for word in ("properties", "$defs", "definitions"):
        for name, part in schema.get(word, {}).items():
            yield from _parts(part, (*context, word, name))
    for word in ("anyOf", "oneOf", "allOf"):
        for i, part in enumerate(schema.get(word, [])):
            yield from _parts(part, (*context, word, str(i)))
    if "items" in schema:
        yield from _parts(schema["items"], (*context, "items"))


def _invalid(shape: dict[str, Any], context: tuple[str, ...], reason: str) -> Invalid:
    message = f"Invalid schema for response_format '{shape['name']}': In context={context!r}, {reason}"
    return Invalid(message, "response_format", "invalid_json_schema")
