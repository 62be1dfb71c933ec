"""Checks of the JSON schemas of structured outputs.

What strict mode takes: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmframe.testing._wire import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    Context = tuple[str, ...]

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
_PERMITTED = frozenset(
    {
        *{"type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf"},
        *{"$ref", "$defs", "definitions", "$schema", "title", "description"},
        *{"pattern", "format", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
        *{"minItems", "maxItems"},
    }
)
_BESIDE_REFERENCES = frozenset({"$ref", "$defs", "definitions"})
_TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"},
)
_MOST_PROPERTIES = 5_000
_DEEPEST = 10
_MOST_VALUES = 1_000
_MOST_CHARACTERS = 120_000
_MANY_VALUES = 250
_MOST_CHARACTERS_OF_MANY = 15_000


def check_schema(shape: dict[str, Any]) -> None:
    """Raise `Invalid` for a malformed schema, or a strict one outside of the subset that the API takes."""
    schema = shape["schema"]
    strict = shape.get("strict")
    if strict and schema.get("type") != "object":
        found = schema.get("type")
        found = "None" if found is None else f'"{found}"'
        raise _invalid(shape, (), f"schema must be a JSON Schema of 'type: \"object\"', got 'type: {found}'.")
    sizes = _Sizes()
    for context, depth, part in _parts(schema, (), 1):
        for word, kind in _KEYWORDS.items():
            if word in part and type(part[word]) is not kind:
                raise _invalid(shape, context, f"{part[word]!r} is not valid for '{word}'.")
        if strict:
            reason = _outside(part, schema) or sizes.reason(context, depth, part)
            if reason:
                raise _invalid(shape, context, reason)


def _outside(part: dict[str, Any], root: dict[str, Any]) -> str | None:
    """Return why a strict schema cannot have this part, or None."""
    for word in part:
        if word not in _PERMITTED:
            return f"'{word}' is not permitted."
    if "$ref" in part:
        return _outside_reference(part, root)
    if "anyOf" in part:
        return None if part["anyOf"] else "'anyOf' must have at least one schema."
    return _outside_type(part)


def _outside_reference(part: dict[str, Any], root: dict[str, Any]) -> str | None:
    beside = sorted(part.keys() - _BESIDE_REFERENCES)
    if beside:
        return f"$ref cannot have keywords {{{', '.join(map(repr, beside))}}}."
    target: Any = root
    path, *steps = str(part["$ref"]).split("/")
    for step in steps:
        target = target.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
    if path != "#" or not isinstance(target, dict):
        return f"reference to component '{part['$ref']}' which was not found in the schema."
    return None


def _outside_type(part: dict[str, Any]) -> str | None:
    kinds = part.get("type")
    if kinds is None and not part.get("enum") and "const" not in part:
        return "schema must have a 'type' key."
    kinds = kinds if isinstance(kinds, list) else [kinds]
    for kind in kinds:
        if kind is not None and not (isinstance(kind, str) and kind in _TYPES):
            return f"'{kind}' is not valid under any of the given schemas."
    if "object" in kinds:
        return _outside_object(part)
    if "array" in kinds and not isinstance(part.get("items"), dict):
        return "array schema missing items."
    if "format" in part and part["format"] not in _FORMATS:
        return f"'{part['format']}' is not a valid format."
    return None


def _outside_object(part: dict[str, Any]) -> str | None:
    if part.get("additionalProperties") is not False:
        return "'additionalProperties' is required to be supplied and to be false."
    properties, required = part.get("properties", {}), part.get("required", [])
    for name in properties:
        if name not in required:
            return (
                "'required' is required to be supplied and to be an array including every key in properties. "
                f"Missing '{name}'."
            )
    for name in required:
        if name not in properties:
            return f"'required' is not a subset of properties. Extra required key '{name}' supplied."
    return None


@dataclass
class _Sizes:
    """What the parts of a schema that were seen so far add up to."""

    properties: int = 0
    values: int = 0
    characters: int = 0

    def reason(self, context: Context, depth: int, part: dict[str, Any]) -> str | None:
        """Count one part, and return which size is over the API's, or None."""
        if context and context[-2:-1] in {("$defs",), ("definitions",)}:
            self.characters += len(context[-1])
        values = part.get("enum", [])
        length = sum(len(each) for each in values if isinstance(each, str))
        self.properties += len(part.get("properties", {}))
        self.values += len(values)
        self.characters += length + sum(map(len, part.get("properties", {}))) + len(_constant(part))
        for size, most, what in (
            (self.properties, _MOST_PROPERTIES, "object properties"),
            (depth, _DEEPEST, "levels of nesting"),
            (self.values, _MOST_VALUES, "enum values"),
            (self.characters, _MOST_CHARACTERS, "characters in names and enum values"),
            (length if len(values) > _MANY_VALUES else 0, _MOST_CHARACTERS_OF_MANY, "characters in one enum"),
        ):
            if size > most:
                return f"schema has {size} {what}, which exceeds the limit of {most}."
        return None


def _constant(part: dict[str, Any]) -> str:
    return part["const"] if isinstance(part.get("const"), str) else ""


def _parts(schema: Any, context: Context, depth: int) -> Iterator[tuple[Context, int, dict[str, Any]]]:
    """Yield a schema and all schemas inside it, with their contexts and the objects around and including them."""
    if not isinstance(schema, dict):
        return
    yield context, depth, schema
    for name, part in schema.get("properties", {}).items():
        inner = depth + _is_object(part)
        yield from _parts(part, (*context, "properties", name), inner)
    for word in ("$defs", "definitions"):
        for name, part in schema.get(word, {}).items():
            yield from _parts(part, (*context, word, name), 1)
    for word in ("anyOf", "oneOf", "allOf"):
        for i, part in enumerate(schema.get(word, [])):
            yield from _parts(part, (*context, word, str(i)), depth + _is_object(part))
    if "items" in schema:
        yield from _parts(schema["items"], (*context, "items"), depth + _is_object(schema["items"]))


def _is_object(part: Any) -> bool:
    return isinstance(part, dict) and "properties" in part


def _invalid(shape: dict[str, Any], context: Context, reason: str) -> Invalid:
    message = f"Invalid schema for response_format '{shape['name']}': In context={context!r}, {reason}"
    return Invalid(message, "response_format", "invalid_json_schema")
