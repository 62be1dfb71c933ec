"""The quick way to read an answer that fits its schema exactly: a validator of pydantic's core, without any loosening."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic_core import CoreSchema, SchemaValidator, core_schema

from llmframe._columns.schema.shapes import (
    Alternatives,
    Choice,
    Field,
    Items,
    Record,
    Reference,
    Scalar,
    Shape,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_PLAIN = {
    "text": core_schema.str_schema(strict=True),
    "int": core_schema.int_schema(strict=True, ge=-(2**63), lt=2**63),
    "float": core_schema.float_schema(strict=True, allow_inf_nan=False),
    "bool": core_schema.bool_schema(strict=True),
    "date": core_schema.chain_schema(
        [
            core_schema.str_schema(strict=True, pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$"),
            core_schema.date_schema(),
        ]
    ),
}
_KINDS = {str: _PLAIN["text"], int: _PLAIN["int"], bool: _PLAIN["bool"]}


def validator_of(root: Record, scalar: Callable[[Any, Scalar, str], Any]) -> SchemaValidator | None:
    """Make the validator of a record; `scalar` reads times and decimal numbers, and raises `ValueError`.

    There is none where an answer may be one of several records: which of them it fits first depends on the loosenings.
    """
    writer = _Writer(scalar)
    schema = writer.record(root)
    if writer.has_alternatives:
        return None
    return SchemaValidator(core_schema.definitions_schema(schema, writer.definitions))


class _Writer:
    def __init__(self, scalar: Callable[[Any, Scalar, str], Any]) -> None:
        self._scalar = scalar
        self.definitions: list[CoreSchema] = []
        self._named = set[str]()
        self.has_alternatives = False

    def _read(self, scalar: Scalar, value: Any) -> Any:
        return self._scalar(value, scalar, "")

    def record(self, record: Record) -> CoreSchema:
        fields = {each.name: core_schema.typed_dict_field(self.field(each)) for each in record.fields}
        return core_schema.typed_dict_schema(
            fields, extra_behavior="forbid", strict=True, ref=record.name or None
        )

    def field(self, field: Field) -> CoreSchema:
        schema = self.shape(field.shape)
        return core_schema.nullable_schema(schema) if field.nullable else schema

    def shape(self, shape: Shape) -> CoreSchema:  # noqa: PLR0911 (a table)
        match shape:
            case Scalar(kind) if kind in _PLAIN:
                return _PLAIN[kind]
            case Scalar():
                return core_schema.no_info_plain_validator_function(partial(self._read, shape))
            case Choice(values):
                literal = core_schema.literal_schema(list(values))  # which takes `true` for 1
                return core_schema.chain_schema([_KINDS[type(values[0])], literal])
            case Items(item):
                return core_schema.list_schema(self.field(item), strict=True)
            case Alternatives():
                self.has_alternatives = True
                return core_schema.any_schema()
            case Reference(name):
                return core_schema.definition_reference_schema(name)
            case Record(_, name) if name:
                if name not in self._named:
                    self._named.add(name)
                    self.definitions.append(self.record(shape))
                return core_schema.definition_reference_schema(name)
        return self.record(shape)
