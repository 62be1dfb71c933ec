"""The quick way to read an answer that fits its schema exactly: one pass of pydantic's core, without any loosening."""

from __future__ import annotations

from datetime import date, datetime, time
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic_core import CoreSchema, SchemaValidator, core_schema

from llmframe._columns.schema.fitting import DEEPEST, read_scalar
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
    from collections.abc import Callable, Iterable

_TEXT = core_schema.str_schema(strict=True)
_INT = core_schema.int_schema(strict=True, ge=-(2**63), lt=2**63)
_BOOL = core_schema.bool_schema(strict=True)
_DATE = core_schema.str_schema(strict=True, pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
_PLAIN: dict[str, CoreSchema] = {
    "text": _TEXT,
    "int": _INT,
    "float": core_schema.float_schema(strict=True, allow_inf_nan=False),
    "bool": _BOOL,
    "date": core_schema.chain_schema([_DATE, core_schema.date_schema()]),
}
_CHOSEN = {str: _TEXT, int: _INT, bool: _BOOL}
_WRITTEN_AS_TEXT = frozenset({str, date, datetime, time})


def quick_reader(root: Record) -> Callable[[str], dict[str, Any] | None]:
    """Make a function that reads an answer's text; it returns `None` where only the exact way can tell.

    What it returns is what `fit` makes of the object that `read_object` reads.
    """
    writer = _Writer()
    schema = writer.record(root)
    if not writer.is_exact:
        return lambda _: None
    validator = SchemaValidator(core_schema.definitions_schema(schema, writer.definitions))
    return partial(_read, validator, DEEPEST if writer.definitions else None)


def _read(validator: SchemaValidator, most_objects: int | None, text: str) -> dict[str, Any] | None:
    """Read one object; `None` where it does not fit, has NUL in it, or may have a key twice.

    The parser keeps the last value of a key. What it drops is found by the quotation marks: a text has two for each
    key and for each text in it, besides escaped ones, which are counted only where no backslash is escaped.
    """
    if most_objects is not None and text.count("{") > most_objects:  # may be nested too deeply
        return None
    try:
        values: dict[str, Any] = validator.validate_json(text)
    except (ValueError, TypeError):  # TypeError: half of a surrogate pair
        return None
    marks = text.count('"')
    if "\\" in text:
        if "\\\\" in text or "\\u0000" in text:
            return None
        marks -= text.count('\\"')
    return values if marks == 2 * _quoted(values) else None


def _quoted(value: dict[str, Any] | list[Any]) -> int:
    """Count the keys and texts of an answer; of decimal numbers none, as they may be written without quotation marks."""
    inner: Iterable[Any] = value
    count = 0
    if isinstance(value, dict):
        inner, count = value.values(), len(value)
    for each in inner:
        kind = type(each)
        if kind in _WRITTEN_AS_TEXT:
            count += 1
        elif kind is dict or kind is list:
            count += _quoted(each)
    return count


def _scalar(shape: Scalar, value: Any) -> Any:
    return read_scalar(value, shape, "")


class _Writer:
    """Writes shapes as schemas of pydantic's core."""

    def __init__(self) -> None:
        self.definitions: list[CoreSchema] = []
        self.is_exact = True
        """Whether this says all: not which of several records an answer fits first, which depends on the loosenings, nor bounds."""
        self._named = set[str]()

    def record(self, record: Record) -> CoreSchema:
        fields = {each.name: core_schema.typed_dict_field(self.field(each)) for each in record.fields}
        return core_schema.typed_dict_schema(
            fields, extra_behavior="forbid", strict=True, ref=record.name or None
        )

    def field(self, field: Field) -> CoreSchema:
        self.is_exact = self.is_exact and not field.bounds
        schema = self.shape(field.shape)
        return core_schema.nullable_schema(schema) if field.nullable else schema

    def shape(self, shape: Shape) -> CoreSchema:  # noqa: PLR0911 (a table)
        match shape:
            case Scalar(kind) if kind in _PLAIN:
                return _PLAIN[kind]
            case Scalar():
                return core_schema.no_info_plain_validator_function(partial(_scalar, shape))
            case Choice(values):
                literal = core_schema.literal_schema(list(values))  # which alone takes `true` for 1
                return core_schema.chain_schema([_CHOSEN[type(values[0])], literal])
            case Items(item):
                return core_schema.list_schema(self.field(item), strict=True)
            case Alternatives():
                self.is_exact = False
                return core_schema.any_schema()
            case Reference(name):
                return core_schema.definition_reference_schema(name)
            case Record(_, name) if name:
                if name not in self._named:
                    self._named.add(name)
                    self.definitions.append(self.record(shape))
                return core_schema.definition_reference_schema(name)
        return self.record(shape)
