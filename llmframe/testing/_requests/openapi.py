"""The request schemas of OpenAI's published document, as schemas for pydantic's core.

The document is in `openapi.json`, and what is newer than it in `decisions.json`. The API is assumed to accept only the
properties that they list.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from pydantic_core import PydanticCustomError
from pydantic_core import core_schema as core

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Node = dict[str, Any]

COMPONENTS: dict[str, Node] = {
    name: node
    for document in ("openapi.json", "decisions.json")
    for name, node in orjson.loads(Path(__file__).with_name(document).read_bytes())["components"][
        "schemas"
    ].items()
}
_SCALARS: dict[str, Callable[..., core.CoreSchema]] = {
    "string": core.str_schema,
    "integer": core.int_schema,
    "number": core.float_schema,
    "boolean": core.bool_schema,
}
_BOUNDS = {
    "minimum": "ge",
    "maximum": "le",
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_length",
    "maxItems": "max_length",
    "pattern": "pattern",
}
_PYTHON_TYPES: dict[str, type] = {"string": str, "boolean": bool, "array": list, "object": dict}


def component(name: str) -> core.CoreSchema:
    """Return the schema of a component of the document."""
    return _schema(COMPONENTS[name])


def record(
    required: dict[str, core.CoreSchema], optional: dict[str, core.CoreSchema]
) -> core.TypedDictSchema:
    """Return the schema of an object that has no other keys."""
    fields = {name: core.typed_dict_field(schema) for name, schema in required.items()}
    fields |= {name: core.typed_dict_field(schema, required=False) for name, schema in optional.items()}
    return core.typed_dict_schema(fields, extra_behavior="forbid")


def _schema(node: Node) -> core.CoreSchema:
    alternatives: dict[str, list[Node]] = {}
    for each in _alternatives(node):
        alternatives.setdefault(each["type"], []).append(each)
    nullable = alternatives.pop("null", None) is not None
    schemas = {kind: _typed(kind, nodes) for kind, nodes in alternatives.items()}
    schema = _by_type(schemas, alternatives) if len(schemas) > 1 else next(iter(schemas.values()))
    return core.nullable_schema(schema) if nullable else schema


def _alternatives(node: Node) -> list[Node]:
    """Return the alternatives of a schema, without references and unions."""
    if "$ref" in node:
        return _alternatives(COMPONENTS[node["$ref"].rpartition("/")[2]])
    nodes = node.get("anyOf") or node.get("oneOf")
    return [each for member in nodes for each in _alternatives(member)] if nodes else [node]


def _typed(kind: str, nodes: list[Node]) -> core.CoreSchema:
    if kind == "object":
        return _object(nodes)
    # An unrestricted string includes the strings that are enumerated beside it.
    node = next((each for each in nodes if "enum" not in each), nodes[0])
    if "enum" in node:
        return core.literal_schema(node["enum"])
    make = partial(core.list_schema, _schema(node["items"])) if kind == "array" else _SCALARS[kind]
    return make(**{_BOUNDS[word]: node[word] for word in node if word in _BOUNDS})


def _object(nodes: list[Node]) -> core.CoreSchema:
    by_tag: dict[str | None, list[Node]] = {}
    for each in nodes:
        by_tag.setdefault(_tag(each), []).append(each)
    if len(by_tag) > 1:
        return _by_presence({str(tag): _object(tagged) for tag, tagged in by_tag.items()})
    (tag,) = by_tag
    if tag is not None:
        return _by_tag(tag, {each["properties"][tag]["enum"][0]: _record(each) for each in nodes})
    (node, *_) = nodes
    if "properties" in node:
        return _record(node)
    values = node.get("additionalProperties")
    mapping = core.dict_schema(core.str_schema(), _schema(values) if isinstance(values, dict) else None)
    if "propertyNames" not in node:
        return mapping
    return core.no_info_before_validator_function(partial(_check_keys, node), mapping)


def _tag(node: Node) -> str | None:
    """Return the property that says which of several objects this is."""
    properties = node.get("properties", {})
    return next((tag for tag in ("role", "type") if "enum" in properties.get(tag, ())), None)


def _record(node: Node) -> core.TypedDictSchema:
    schemas = {name: _schema(each) for name, each in node["properties"].items()}
    return record({name: schemas.pop(name) for name in node.get("required", ())}, schemas)


def _check_keys(node: Node, value: Any) -> Any:
    """Check number and length of keys before any value, with the API's messages."""
    most, longest = node["maxProperties"], node["propertyNames"]["maxLength"]
    keys = value if isinstance(value, dict) else ()
    if len(keys) > most:
        message = f"too many properties. Expected an object with at most {most} properties, but got an object with {len(keys)} properties instead."
        raise PydanticCustomError("object_above_max_properties", message)
    for length in map(len, keys):
        if length > longest:
            message = f"key too long. Expected keys with maximum length {longest}, but got a key with length {length} instead."
            raise PydanticCustomError("string_above_max_length", message)
    return value


def _by_type(schemas: dict[str, core.CoreSchema], nodes: dict[str, list[Node]]) -> core.CoreSchema:
    """Choose a schema by the type of the value."""
    numbers: dict[type, int] = {_PYTHON_TYPES[kind]: number for kind, number in _numbers(schemas).items()}
    names = {"string": "a string", "boolean": "a boolean", "object": "an object"}
    if "array" in nodes:
        names["array"] = f"array of {_alternatives(nodes['array'][0]['items'])[0]['type']}s"
    return core.tagged_union_schema(
        dict(zip(numbers.values(), schemas.values(), strict=True)),
        lambda value: numbers.get(type(value)),
        custom_error_type="invalid_type",
        custom_error_message=f"one of {' or '.join(names[kind] for kind in schemas)}",
    )


def _by_tag(tag: str, variants: dict[str, core.TypedDictSchema]) -> core.CoreSchema:
    """Choose a schema by the value of a property that is constant in each variant."""
    numbers = _numbers(variants)

    def number(value: Any) -> int | None:
        try:
            return numbers.get(value[tag])
        except (KeyError, TypeError):  # not an object, or one without a valid tag
            return None

    return core.tagged_union_schema(
        {numbers[name]: variant for name, variant in variants.items()},
        number,
        custom_error_type="tag",
        custom_error_message=tag,
        custom_error_context={"expected": ", ".join(map(repr, variants))},
    )


def _by_presence(groups: dict[str, core.CoreSchema]) -> core.CoreSchema:
    """Choose a schema by which of several tags an object has; the last one is for those that have none."""
    numbers = _numbers(groups)
    (*others, last) = groups

    def number(value: Any) -> int:
        tag = next((tag for tag in others if isinstance(value, dict) and tag in value), last)
        return numbers[tag]

    return core.tagged_union_schema({numbers[tag]: schema for tag, schema in groups.items()}, number)


def _numbers(names: Iterable[str]) -> dict[str, int]:
    """Return a number for each of several schemas. All are negative, unlike any index in an error's location."""
    return {name: -number for number, name in enumerate(names, 1)}
