"""What a schema says of a value: a tree of frozen values, from which the wire's schema, the reading and the columns follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

ScalarType: TypeAlias = Literal["text", "int", "float", "bool", "date", "datetime", "time", "decimal"]


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value.

    Parameters
    ----------
    type
        Its type.
    aware
        Whether a datetime has a time zone: its column is then in UTC.
    """

    type: ScalarType
    aware: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values, all text, all int or all bool."""

    values: tuple[str | int | bool, ...]


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    item: Field


@dataclass(frozen=True, slots=True)
class Record:
    """An object with these fields and no others.

    Parameters
    ----------
    name
        Names the record where it contains itself; `""`: it does not.
    """

    fields: tuple[Field, ...]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Reference:
    """A record within itself, by its name."""

    name: str


@dataclass(frozen=True, slots=True)
class Alternatives:
    """One of several records."""

    records: tuple[Record | Reference, ...]


Shape: TypeAlias = "Scalar | Choice | Items | Record | Reference | Alternatives"


@dataclass(frozen=True, slots=True)
class Field:
    """A named value of a record; the items of a list are a field without a name.

    Parameters
    ----------
    name
        The key in the answer, and the column's name.
    shape
        What its value is.
    nullable
        Whether the answer may be null, which is a missing cell.
    description
        What is asked for, in the user's words, with the bounds that only we check.
    """

    name: str
    shape: Shape
    nullable: bool = True
    description: str = ""
    defaults: bool = False
    """Whether null means the default that the user's class has for it."""
    bounds: tuple[tuple[str, Any], ...] = ()
    """What JSON Schema's words say of the value, where no class of the user's checks it."""
