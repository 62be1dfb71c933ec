"""What users write for a schema: names, types, questions, a model, or a JSON Schema."""

from __future__ import annotations

import dataclasses
import typing
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, PydanticUserError, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import is_typeddict

from llmframe._columns.schema.json_schemas import AWARE, field_of, record_of
from llmframe._columns.schema.shapes import Field, Items, Record, Scalar, Shape
from llmframe._columns.schema.typed_columns import leaves

_TEMPLATE = "#/$defs/{model}"


@dataclass(frozen=True, slots=True)
class Check:
    """A user's own type, which checks values further.

    Parameters
    ----------
    changes
        Whether it may also change them: it has validators, defaults or the like.
    """

    type: TypeAdapter[Any]
    changes: bool

    @classmethod
    def of(cls, adapter: TypeAdapter[Any], shape: Shape) -> Check:
        return cls(adapter, _changes(adapter.core_schema) or _may_be_left_out(shape))


def _may_be_left_out(shape: Shape) -> bool:
    """Return whether the user's class lets a field be absent, which an answer says by null."""
    if isinstance(shape, Items):
        return _may_be_left_out(shape.item.shape)
    return isinstance(shape, Record) and any(
        field.defaults or _may_be_left_out(field.shape) for field in shape.fields
    )


_CHANGING_WORDS = {"strip_whitespace", "to_lower", "to_upper", "post_init", "custom_init"}


def _changes(core_schema: Any) -> bool:
    if isinstance(core_schema, Mapping):
        kind = core_schema.get("type")
        if isinstance(kind, str) and (kind == "default" or kind.startswith("function-")):
            return True
        if any(core_schema.get(word) for word in _CHANGING_WORDS):
            return True
        return any(map(_changes, core_schema.values()))
    return isinstance(core_schema, list | tuple) and any(map(_changes, core_schema))


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


def _read(schema: object) -> Schema:
    if isinstance(schema, Mapping):
        if schema.get("type") == "object" and isinstance(schema.get("properties"), Mapping):
            return Schema(record_of(schema), declared=True)
        return _of_fields(schema)
    if isinstance(schema, str):
        raise TypeError(f"schema must be a list of fields, a dict or a model; write [{schema!r}]")
    if isinstance(schema, Sequence):
        if duplicates := sorted({name for name in schema if list(schema).count(name) > 1}, key=str):
            raise ValueError(f"schema: {duplicates[0]!r} is there twice; give each field a name of its own")
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
    adapter = _adapter(_with_resolved_hints(schema), "schema")
    document = adapter.json_schema(mode="validation", schema_generator=_Generator)
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
    for name, wanted in fields.items():
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"schema: a field's name must be text that is not blank; got {name!r}")
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
        adapter = _adapter(kind, f"schema: {name}")
        document = adapter.json_schema(mode="validation", schema_generator=_Generator)
        found.append(field_of(name, document, question, nullable=True))
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


def _adapter(kind: Any, where: str) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(kind)
    except (PydanticUserError, TypeError, NameError) as error:
        raise TypeError(
            f"{where}: {kind!r} is no type of a column ({str(error).splitlines()[0]}); write str, int, float, bool, date, "
            "datetime, Decimal, Literal[…], an Enum, list[…] or a model"
        ) from error


def _with_resolved_hints(schema: type) -> type:
    """Return what pydantic takes: `typing.TypedDict` is refused by it on Python 3.11."""
    if not is_typeddict(schema) or type(schema).__module__ == "typing_extensions":
        return schema
    from typing_extensions import TypedDict  # noqa: PLC0415

    hints = typing.get_type_hints(schema, include_extras=True)
    return TypedDict(schema.__name__, hints, total=schema.__total__)  # type: ignore[no-any-return, operator, attr-defined]


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

    def default_schema(self, schema: Any) -> dict[str, Any]:
        """Leave the default out: a field with one is not required, so that it may be null."""
        return self.generate_inner(schema["schema"])
