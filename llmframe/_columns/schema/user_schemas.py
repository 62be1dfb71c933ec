"""What users write for a schema: names, types, questions, a model, or a JSON Schema."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, PydanticUserError, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import SchemaError
from typing_extensions import TypedDict, is_typeddict

from llmframe._columns.schema.json_schemas import AWARE, SCALARS, checked_name, field_of, record_of
from llmframe._columns.schema.own_types import Check, refuse_unreadable
from llmframe._columns.schema.shapes import Alternatives, Choice, Field, Items, Record, Scalar, Shape
from llmframe._columns.schema.typed_columns import leaves
from llmframe._json import NotJSONError, canonical

_TEMPLATE = "#/$defs/{model}"


@dataclass(frozen=True, slots=True)
class Schema:
    """A user's schema.

    Parameters
    ----------
    root
        What an answer has to be.
    checks
        The user's types that check values further: of the whole answer (`""`), or of a field by its name.
    declared
        Whether the user's own class says which fields may be null.
    """

    root: Record
    checks: Mapping[str, Check] = field(default_factory=dict)
    declared: bool = False

    @property
    def may_be_invented(self) -> list[str]:
        """The fields that a text may not answer, and that the user's class does not let be null."""
        return [each.name for each in self.root.fields if not each.nullable] if self.declared else []


def read_schema(schema: object) -> Schema:
    """Read what a user passed as `schema`.

    Parameters
    ----------
    schema
        `["field", …]`; `{"field": type | "question" | (type, "question")}`; a pydantic model, TypedDict or dataclass;
        or a JSON Schema: a dict whose `type` is `"object"` and whose `properties` is a dict.

    Raises
    ------
    TypeError, ValueError
        With what to write instead, and the path of a field that is at fault.
    """
    return _with_names_of_their_own(_read(schema))


def schema_as_json(schema: object) -> Any:
    """Return a schema as a list or JSON Schema that is read as the same one; `None`: JSON cannot say all that it checks."""
    read = read_schema(schema)
    if read.checks:
        return None
    if isinstance(schema, list) and all(type(name) is str for name in schema):
        return list(schema)
    is_document = isinstance(schema, Mapping) and schema.get("type") == "object" and "properties" in schema
    document = schema if is_document else _document_of(read.root)
    try:
        plain = canonical(document, sort=False)
        return plain if read_schema(plain).root == read.root else None
    except (NotJSONError, ValueError, TypeError):
        return None


def _document_of(shape: Shape) -> dict[str, Any]:
    """Write a shape as JSON Schema; what contains itself becomes an empty one, which is read as an error."""
    match shape:
        case Scalar(kind, aware):
            return {**SCALARS[kind], **({AWARE: True} if aware else {})}
        case Choice(values):
            return {"enum": list(values)}
        case Items(item):
            return {"type": "array", "items": _node_of(item)}
        case Record(fields, ""):
            properties = {each.name: _node_of(each) for each in fields}
            required = [each.name for each in fields if not each.defaults]
            return {"type": "object", "properties": properties, "required": required}
        case Alternatives(records):
            return {"anyOf": list(map(_document_of, records))}
    return {}


def _node_of(each: Field) -> dict[str, Any]:
    node = _document_of(each.shape)
    if each.nullable and not each.defaults:
        node["nullable"] = True
    if each.description:
        node["description"] = each.description
    return node


def _read(schema: object) -> Schema:
    if isinstance(schema, Mapping):
        if schema.get("type") == "object" and isinstance(schema.get("properties"), Mapping):
            return Schema(record_of(schema, checked_here=True), declared=True)
        return _of_fields(schema)
    if isinstance(schema, str):
        raise TypeError(f"schema must be a list of fields, a dict or a model; write [{schema!r}]")
    if isinstance(schema, Sequence):
        if other := next((name for name in schema if not isinstance(name, str)), None):
            raise TypeError(
                f"schema: a list has the fields' names alone; got {other!r}; write a dict for types"
            )
        if twice := next((name for name, count in Counter(schema).items() if count > 1), None):
            raise ValueError(f"schema: {twice!r} is there twice; give each field a name of its own")
        return _of_fields(dict.fromkeys(schema, str))
    if isinstance(schema, type) and (
        issubclass(schema, BaseModel) or dataclasses.is_dataclass(schema) or is_typeddict(schema)
    ):
        return _of_class(schema)
    raise TypeError(
        f"schema must be a list of fields, a dict such as {{'battery_hours': float}}, or a pydantic model, TypedDict or "
        f"dataclass; got {schema!r}"
    )


def _with_names_of_their_own(schema: Schema) -> Schema:
    """Refuse fields whose columns would have one name, such as `a.b` and the `b` of an object `a`."""
    names = Counter(name for name, _ in leaves(schema.root.fields))
    if twice := [name for name, count in names.items() if count > 1]:
        raise ValueError(f"schema: two fields would be the column {twice[0]!r}; rename one of them")
    return schema


def _of_class(schema: type) -> Schema:
    adapter, document = _asked_of(schema, "schema")
    if "$ref" in document:
        document = {**document, **document["$defs"][document["$ref"].rpartition("/")[2]]}
        del document["$ref"]
    root = record_of(document)
    checks = {"": Check.of(adapter, root)} if _says_more(adapter.core_schema) else {}
    return Schema(root, checks, declared=True)


def _of_fields(fields: Mapping[Any, Any]) -> Schema:
    if not fields:
        raise ValueError("schema: it names no fields; write a list such as ['complaint', 'battery_hours']")
    found, checks = [], {}
    names: dict[str, Any] = {}
    for name, wanted in fields.items():
        checked_name(name)
        kind, question = _kind_and_question(name, wanted)
        if kind is str:
            found.append(Field(name, Scalar("text"), description=question))
            continue
        if isinstance(kind, Mapping) or (
            isinstance(kind, list) and len(kind) == 1 and isinstance(kind[0], Mapping)
        ):
            raise TypeError(
                f"schema: {name}: write a nested object as a class (a pydantic model, TypedDict or dataclass), or list[…] of one"
            )
        adapter, document = _asked_of(kind, f"schema: {name}")
        found.append(field_of(name, document, question, names, nullable=True))
        if _says_more(adapter.core_schema):
            checks[name] = Check.of(adapter, found[-1].shape)
    return Schema(Record(tuple(found)), checks)


def _kind_and_question(name: str, wanted: Any) -> tuple[Any, str]:
    if isinstance(wanted, str):
        return str, wanted
    if isinstance(wanted, tuple):
        if len(wanted) == 2 and isinstance(wanted[1], str) and not isinstance(wanted[0], str):
            return wanted
        raise TypeError(
            f"schema: {name}: a pair must be (type, 'question'), such as (float, 'How many hours?')"
        )
    return wanted, ""


_PLAIN_TYPES = {
    "str", "int", "float", "bool", "date", "datetime", "time", "decimal", "literal", "enum", "list", "nullable",
    "model", "model-fields", "model-field", "typed-dict", "typed-dict-field", "dataclass", "dataclass-args", "dataclass-field",
}  # fmt: skip
_PLAIN_KEYS = {
    "type", "schema", "items_schema", "expected", "cls", "members", "sub_type", "missing", "ref", "metadata",
    "serialization", "microseconds_precision", "fields", "config", "model_name", "dataclass_name", "computed_fields", "name",
    "init", "kw_only", "collect_init_only", "slots", "frozen", "required", "extra_behavior", "custom_init", "post_init", "root_model",
}  # fmt: skip
_PLAIN_CONFIG = {"title", "frozen", "extra_fields_behavior"}


def _says_more(core_schema: Mapping[str, Any]) -> bool:
    """Return whether a type checks more than its shape does: bounds, a validator, code that runs on its values."""
    return (
        core_schema["type"] not in _PLAIN_TYPES
        or bool(core_schema.keys() - _PLAIN_KEYS)
        or bool(core_schema.get("config", {}).keys() - _PLAIN_CONFIG)
        or any(core_schema.get(word) for word in ("custom_init", "post_init", "root_model"))
        or core_schema.get("required") is False
        or any(map(_says_more, _parts(core_schema)))
    )


def _parts(core_schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    fields = core_schema.get("fields", ())
    parts = [core_schema.get("schema"), core_schema.get("items_schema")]
    parts += fields.values() if isinstance(fields, Mapping) else fields
    return [part for part in parts if isinstance(part, Mapping)]


def _asked_of(kind: Any, where: str) -> tuple[TypeAdapter[Any], dict[str, Any]]:
    """Return pydantic's view of a type, and its JSON Schema."""
    try:
        adapter = TypeAdapter(_for_pydantic(kind))
        document = adapter.json_schema(mode="validation", schema_generator=_Generator)
    except (PydanticUserError, SchemaError, TypeError, NameError) as error:
        raise TypeError(
            f"{where}: {kind!r} is no type of a column ({str(error).splitlines()[0]}); write str, int, float, bool, date, "
            "datetime, Decimal, Literal[…], an Enum, list[…] or a model"
        ) from error
    refuse_unreadable(adapter)
    return adapter, document


def _for_pydantic(kind: Any, within: tuple[Any, ...] = ()) -> Any:
    """Return a type with what pydantic takes in place of each `typing.TypedDict`, which it refuses on Python 3.11."""
    if sys.version_info >= (3, 12) or kind in within:
        return kind
    if is_typeddict(kind) and type(kind).__module__ == "typing":
        hints = typing.get_type_hints(kind, include_extras=True)
        fields = {
            name: _with_optionality(kind, name, _for_pydantic(hint, (*within, kind)))
            for name, hint in hints.items()
        }
        return TypedDict(kind.__name__, fields)  # type: ignore[operator]
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in {None, typing.Literal}:
        return kind
    if origin is typing.Annotated:
        return typing.Annotated[(_for_pydantic(parts[0], within), *parts[1:])]
    taken = tuple(_for_pydantic(part, within) for part in parts)
    if taken == parts:
        return kind
    return typing.Union[taken] if origin in {typing.Union, types.UnionType} else origin[taken]  # noqa: UP007


def _with_optionality(kind: Any, name: str, hint: Any) -> Any:
    """Return a field's type that says whether the field may be absent, as its own TypedDict and those before it say."""
    stated = typing.get_origin(hint) in {typing.Required, typing.NotRequired}
    return typing.NotRequired[hint] if name in kind.__optional_keys__ and not stated else hint


class _Generator(GenerateJsonSchema):
    """Writes types as shapes need them, and leaves out what strict mode does not have."""

    def decimal_schema(self, schema: Any) -> dict[str, Any]:
        bounds = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
        stated = {name: str(schema[word]) for word, name in bounds.items() if word in schema}
        return {"type": "string", "format": "decimal", **stated}

    def datetime_schema(self, schema: Any) -> dict[str, Any]:
        aware = schema.get("tz_constraint") == "aware"
        return {"type": "string", "format": "date-time", **({AWARE: True} if aware else {})}

    def tagged_union_schema(self, schema: Any) -> dict[str, Any]:
        written = super().tagged_union_schema(schema)
        return {"anyOf": written["oneOf"]} if "oneOf" in written else written

    def dataclass_args_schema(self, schema: Any) -> dict[str, Any]:
        """Leave out the fields that the class fills in itself."""
        taken = [field for field in schema["fields"] if field.get("init") is not False]
        asked: Any = {**schema, "fields": taken}
        return super().dataclass_args_schema(asked)

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:  # noqa: ARG002
        """Say nothing of what JSON cannot have: as a field without a type, it is refused with its path."""
        return {}

    def default_schema(self, schema: Any) -> dict[str, Any]:
        """Leave the default out: a field with one is not required, so that it may be null."""
        return self.generate_inner(schema["schema"])
