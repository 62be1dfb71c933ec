"""What a user's own class checks of an answer's values, and what it makes of them."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from math import isfinite
from typing import TYPE_CHECKING, Any

from pydantic import AliasChoices, BaseModel, RootModel, SecretStr, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from llmframe._columns.schema.fitting import LARGEST_INT, MisfitError, shown
from llmframe._columns.schema.shapes import (
    Alternatives,
    Choice,
    Items,
    Record,
    Reference,
    Scalar,
    Shape,
)
from llmframe._columns.schema.writing import as_answer

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

_CHANGING_WORDS = {
    "strip_whitespace", "to_lower", "to_upper", "str_strip_whitespace", "str_to_lower", "str_to_upper", "post_init",
    "custom_init",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Check:
    """A user's own type, which checks values further.

    Parameters
    ----------
    changes
        Whether it may also change them: it has validators, defaults or the like.
    strict
        Whether it takes some values by JSON alone, such as the value of an Enum.
    aliases
        The names by which an answer has the fields of dataclasses and TypedDicts, by their own.
    """

    type: TypeAdapter[Any]
    changes: bool
    strict: bool
    aliases: Mapping[str, str]

    @classmethod
    def of(cls, adapter: TypeAdapter[Any], shape: Shape) -> Check:
        words = list(_words(adapter.core_schema))
        changes = any(map(_may_change, words)) or _may_be_left_out(shape)
        strict = any(each.get("strict") for each in words)
        aliases = {name: _alias(field) or name for name, field in _fields(adapter.core_schema)}
        return cls(adapter, changes, strict, aliases)


def _words(core_schema: Any) -> Iterator[Mapping[str, Any]]:
    """Yield all parts of a type's schema that have members."""
    if isinstance(core_schema, Mapping):
        yield core_schema
        core_schema = list(core_schema.values())
    if isinstance(core_schema, list | tuple):
        for each in core_schema:
            yield from _words(each)


def _may_change(part: Mapping[str, Any]) -> bool:
    kind = part.get("type")
    by_kind = isinstance(kind, str) and (kind == "default" or kind.startswith("function-"))
    return by_kind or any(part.get(word) for word in _CHANGING_WORDS)


def _may_be_left_out(shape: Shape) -> bool:
    """Return whether the user's class lets a field be absent, which an answer says by null."""
    match shape:
        case Items(item):
            return _may_be_left_out(item.shape)
        case Record(fields):
            return any(field.defaults or _may_be_left_out(field.shape) for field in fields)
        case Alternatives(records):
            return any(map(_may_be_left_out, records))
    return False


def refuse_unreadable(adapter: TypeAdapter[Any]) -> None:
    """Refuse a field that is read from within another one, and one that a class takes and does not hold.

    Raises
    ------
    ValueError
        With the field's name.
    """
    for name, field in _fields(adapter.core_schema):
        if _alias(field) is None and "validation_alias" in field:
            raise ValueError(
                f"schema: {name}: its alias is a path into another field; give it a single name as its alias"
            )
        if field.get("init_only"):
            raise ValueError(f"schema: {name}: an InitVar has no value afterwards; make it a field")


def _fields(core_schema: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the fields of all classes in a type, with their names."""
    for part in _words(core_schema):
        fields = part.get("fields", ())
        named = fields.items() if isinstance(fields, Mapping) else ((None, each) for each in fields)
        for name, field in named:
            if isinstance(field, Mapping):
                yield name or field["name"], field


def _alias(field: Mapping[str, Any]) -> str | None:
    """Return the name by which an answer has a field, where that is another than its own."""
    alias = field.get("validation_alias")
    if isinstance(alias, list):
        alias = next((path[0] for path in alias if isinstance(path, list) and len(path) == 1), None)
    return alias


def checked(check: Check, value: Any, shape: Shape, path: str) -> Any:
    """Return what the user's own type makes of a value.

    Raises
    ------
    MisfitError
        For a value that it refuses, and for one of which it makes another type than its column has.
    """
    try:
        given = Supplier().value(value, shape) if check.changes else value
        made = (
            check.type.validate_json(as_answer(given)) if check.strict else check.type.validate_python(given)
        )
    except ValidationError as error:
        raise _misfit(error, path) from error
    except Exception as error:  # a validator of the user's may raise anything: it costs its row alone
        raise MisfitError(path, f"its own check raised {type(error).__name__}", as_sent=False) from error
    return conform(members(made, check.aliases), shape, path) if check.changes else value


class Supplier:
    """Leaves out the nulls that stand for a default of the user's class."""

    def __init__(self) -> None:
        self._named: dict[str, Record] = {}

    def value(self, value: Any, shape: Shape) -> Any:
        match shape:
            case Items(item) if isinstance(value, list):
                return [self.value(each, item.shape) for each in value]
            case Reference(name):
                return self.value(value, self._named[name])
            case Alternatives(records) if isinstance(value, dict):
                return self.value(value, next(filter(lambda record: self._is_of(value, record), records)))
            case Record(fields, name) if isinstance(value, dict):
                if name:
                    self._named[name] = shape
                return {
                    field.name: self.value(value[field.name], field.shape)
                    for field in fields
                    if value[field.name] is not None or not field.defaults
                }
        return value

    def _is_of(self, value: dict[str, Any], record: Record | Reference) -> bool:
        """Return whether a value that fits one of several records has this one's fields and constants."""
        fields = self._named[record.name].fields if isinstance(record, Reference) else record.fields
        return value.keys() == {field.name for field in fields} and all(
            value[field.name] is None or value[field.name] in field.shape.values
            for field in fields
            if isinstance(field.shape, Choice)
        )


def members(made: Any, aliases: Mapping[str, str]) -> Any:  # noqa: PLR0911 (a table)
    """Return what a user's class made with objects as dicts, by the names that an answer has.

    Its own serializers are for elsewhere, and may leave fields out.
    """
    if isinstance(made, RootModel):
        return members(made.root, aliases)
    if isinstance(made, BaseModel):
        infos = type(made).model_fields
        return {
            _asked_name(info, name): members(getattr(made, name), aliases) for name, info in infos.items()
        }
    if dataclasses.is_dataclass(made) and not isinstance(made, type):
        names = [each.name for each in dataclasses.fields(made)]
        return {aliases.get(name, name): members(getattr(made, name), aliases) for name in names}
    if isinstance(made, Mapping):
        return {aliases.get(name, name): members(value, aliases) for name, value in made.items()}
    if isinstance(made, list | tuple):
        return [members(each, aliases) for each in made]
    if isinstance(made, set | frozenset):
        return sorted(
            (members(each, aliases) for each in made), key=repr
        )  # in the same order in every process
    if isinstance(made, SecretStr):
        return made.get_secret_value()
    return made.value if isinstance(made, Enum) else made


def _asked_name(info: FieldInfo, name: str) -> str:
    alias = info.validation_alias
    if isinstance(alias, AliasChoices):
        alias = next(str(path[0]) for path in alias.convert_to_aliases() if len(path) == 1)
    return alias if isinstance(alias, str) else name


_LARGEST_FLOAT = int(sys.float_info.max)
_PYTHON_TYPES: dict[str, type] = {
    "text": str, "int": int, "float": float, "bool": bool, "date": date, "datetime": datetime, "time": time,
    "decimal": Decimal,
}  # fmt: skip


def conform(value: Any, shape: Shape, path: str) -> Any:
    """Return what the user's own class made of a value, if it still has the type that its column promises."""
    if value is None:
        return None
    match shape:
        case Scalar(kind):
            value = _of_kind(value, kind)
            if isinstance(value, _PYTHON_TYPES[kind]) and _is_in_range(value, kind):
                return value
        case Choice(values):
            if value in values and isinstance(value, bool) == isinstance(values[0], bool):
                return value
        case Items(item) if isinstance(value, list):
            return [conform(each, item.shape, f"{path}[{index}]") for index, each in enumerate(value)]
        case Record(fields) if isinstance(value, dict):
            inner = f"{path}." if path else ""
            if lost := next((each for each in fields if each.name not in value and not each.defaults), None):
                raise MisfitError(f"{inner}{lost.name}", "its own check left it out", as_sent=False)
            return {
                each.name: conform(value.get(each.name), each.shape, f"{inner}{each.name}") for each in fields
            }
        case Alternatives() | Reference():
            return value
    raise MisfitError(path, f"its own check made {shown(value)} of it", as_sent=False)


def _of_kind(value: Any, kind: str) -> Any:
    """Return a whole number for a float's column as a float, and what is written as text (a UUID, a URL) as text."""
    if kind == "float" and type(value) is int and abs(value) < _LARGEST_FLOAT:
        return float(value)
    if kind == "text" and not isinstance(value, str | int | float):
        try:
            return to_jsonable_python(value)
        except PydanticSerializationError:
            pass
    return value


def _is_in_range(value: Any, kind: str) -> bool:
    if kind == "int":
        return type(value) is not bool and -LARGEST_INT <= value < LARGEST_INT
    return isfinite(value) if kind == "float" else True


_WORDS = {
    "greater_than": "it must be more than {gt}",
    "greater_than_equal": "it must be at least {ge}",
    "less_than": "it must be less than {lt}",
    "less_than_equal": "it must be at most {le}",
    "multiple_of": "it must be a multiple of {multiple_of}",
    "string_too_short": "it must have at least {min_length} characters",
    "string_too_long": "it must have at most {max_length} characters",
    "string_pattern_mismatch": "it must match the pattern {pattern}",
    "too_short": "it must have at least {min_length} items",
    "too_long": "it must have at most {max_length} items",
    "value_error": "{error}",
    "assertion_error": "{error}",
}
"""Our own words for pydantic's errors: they are part of what the model is asked again, and so of an identity."""


def _misfit(error: ValidationError, path: str) -> MisfitError:
    first = error.errors(include_url=False)[0]
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
    words = _WORDS.get(first["type"], "it is not what the schema's own check takes")
    reason = words.format(**first.get("ctx", {}))
    return MisfitError(f"{path}{steps}".lstrip("."), reason, as_sent=False)
