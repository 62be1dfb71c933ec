"""Templates: text with fields for cells."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import date, time
from difflib import get_close_matches
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING, Any

from llmframe._errors import plain_repr, short

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping

BYTES = (bytes, bytearray, memoryview)
"""Types that look like text and are not."""

_DATES = (date, time)
_SHOWN = 40
"""A message shows this many characters of a cell."""
_ACCESS = re.compile(
    r"(?P<name>[^\W\d]\w*)(\.[^\W\d]\w*(\([^)]*\))?|\[[^]]*\])*(![rsa])?"
)  # a lookup as in an f-string
_SPEC = re.compile(r"(.?[<>=^])?[-+ ]?z?#?0?\d*[,_]?(\.\d+)?[bcdeEfFgGnosxX%]?")


def label_text(label: Hashable) -> str:
    """Return a label as text: with multi-level columns, without the empty levels after it."""
    if isinstance(label, tuple) and len(label) > 1 and not any(label[1:]):
        return str(label[0])
    return str(label)


def has_text(value: object) -> bool:
    """Return whether `str` says what a value is, and not only its type and where it is in memory."""
    kind = type(value)
    named = kind.__str__ is not object.__str__ or kind.__repr__ is not object.__repr__
    return named and not callable(value) and not hasattr(kind, "as_py")  # Arrow's scalars hide missing values


class FormatError(Exception):
    """A cell does not suit its field; the other rows continue.

    Attributes
    ----------
    field : Field or None
        The field whose format may suit no cell at all; `None` where the cell is at fault.
    """

    def __init__(self, message: str, field: Field | None = None) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Field:
    """A place in a template that a cell fills."""

    column: Hashable
    spec: str = ""

    def fill(self, value: object) -> str:
        if type(value) is str and not self.spec:
            return value
        if isinstance(value, BYTES):
            raise FormatError(f"the cell of {self} holds bytes; decode them to text first")
        if not has_text(value):
            raise FormatError(f"the cell of {self} holds a {type(value).__name__}, which has no text")
        if isinstance(value, _DATES) and self.spec and "%" not in self.spec:
            raise FormatError(self._unsuited(value), self)
        try:
            return format(value, self.spec) if self.spec else str(value)
        except (ValueError, TypeError) as error:
            raise FormatError(self._unsuited(value), self) from error

    def __str__(self) -> str:
        return f"{{{self._name}:{self.spec}}}" if self.spec else f"{{{self._name}}}"

    @property
    def _name(self) -> str:
        return label_text(self.column)

    def _unsuited(self, value: object) -> str:
        """Say that the format does not suit a cell, and what to write."""
        found, remedy = f"a {type(value).__name__}", f"{{{self._name}}}"
        if isinstance(value, _DATES):
            found, remedy = "a date", f"{{{self._name}:%Y-%m-%d}}"
        elif isinstance(value, str):
            found = f"text ({short(value, _SHOWN)!r})"
        elif isinstance(value, int | float):
            found = f"a number ({plain_repr(value)})"
        return f"the format {self.spec!r} of {self} does not suit {found}; write {remedy}"


@dataclass(frozen=True)
class Template:
    """Text with fields; nothing in it is evaluated, and braces in the data stay data."""

    pieces: tuple[str | Field, ...]
    argument: str = field(default="prompt", repr=False, compare=False)
    """The argument that it was given as, for errors."""

    @cached_property
    def columns(self) -> tuple[Hashable, ...]:
        return tuple(dict.fromkeys(piece.column for piece in self.pieces if isinstance(piece, Field)))

    @cached_property
    def fields_alone(self) -> Template:
        """The template with each of its fields once, line by line, and no other text."""
        fields = dict.fromkeys(piece for piece in self.pieces if isinstance(piece, Field))
        lines = [piece for field in fields for piece in ("\n", field)]
        return replace(self, pieces=tuple(lines[1:]))

    def formats(self, column: Hashable) -> tuple[str, ...]:
        """Return the formats of a column's fields, empty ones included."""
        return tuple(
            piece.spec for piece in self.pieces if isinstance(piece, Field) and piece.column == column
        )

    def fill(self, row: Mapping[Hashable, Any]) -> str:
        return "".join(
            [piece if isinstance(piece, str) else piece.fill(row[piece.column]) for piece in self.pieces]
        )

    @property
    def joins_text(self) -> bool:
        """Whether text is inserted unchanged, because no field has a format."""
        return not any(piece.spec for piece in self.pieces if isinstance(piece, Field))

    def join(self, values: Mapping[Hashable, list[str]], rows: int) -> Iterator[str]:
        """Fill the template for many rows of text at once."""
        parts = [
            repeat(piece, rows) if isinstance(piece, str) else values[piece.column] for piece in self.pieces
        ]
        return map("".join, zip(*parts, strict=True))


def parse(text: str, columns: Mapping[str, Hashable], argument: str = "prompt") -> Template:
    """Read a template.

    Parameters
    ----------
    text
        `{name}` or `{name:format}` is a field where `name` is exactly a column's name; `{{` and
        `}}` are braces; what is neither, such as `{"label": "x"}`, is literal.
    columns
        The columns by field name.
    argument
        The argument's name, for errors.

    Raises
    ------
    ValueError
        For an identifier between braces that is not a column, and for an invalid format.
    """
    pieces: list[str | Field] = []
    literal: list[str] = []
    position, depth = 0, 0
    while position < len(text):
        char, pair = text[position], text[position : position + 2]
        if pair == "{{" or (pair == "}}" and not depth):
            literal.append(char)
            position += 2
        elif char == "{" and (found := _field(text, position, columns, argument)):
            pieces.extend(("".join(literal), found[0]))
            literal, position = [], found[1]
        else:
            depth = max(0, depth + (char == "{") - (char == "}"))
            literal.append(char)
            position += 1
    return Template(tuple(piece for piece in (*pieces, "".join(literal)) if piece != ""), argument)


def _field(
    text: str, position: int, columns: Mapping[str, Hashable], argument: str
) -> tuple[Field, int] | None:
    for end in _ends(text, position, columns):
        inside = text[position + 1 : end]
        if inside in columns:
            return Field(columns[inside]), end + 1
        for colon in reversed([index for index, char in enumerate(inside) if char == ":"]):
            name, spec = inside[:colon], inside[colon + 1 :]
            if name in columns:
                return Field(columns[name], _spec(inside, name, spec, argument)), end + 1
    end = text.find("}", position)
    if end >= 0:
        _refuse_lookalike(text[position + 1 : end], columns, argument)
    return None


def _ends(text: str, position: int, columns: Mapping[str, Hashable]) -> Iterator[int]:
    """Yield where a field may end: at the first brace, or after a name that contains braces."""
    for name in columns:
        if (
            "}" in name
            and text.startswith(name, position + 1)
            and (end := text.find("}", position + 1 + len(name))) >= 0
        ):
            yield end
    if (end := text.find("}", position)) >= 0:
        yield end


def _spec(inside: str, name: str, spec: str, argument: str) -> str:
    if not _SPEC.fullmatch(spec) and not spec.startswith("%"):
        raise ValueError(
            f"{argument}: {spec!r} in {{{inside}}} is no format; write {{{name}}} or, for example, {{{name}:.2f}}"
        )
    return spec


def _refuse_lookalike(inside: str, columns: Mapping[str, Hashable], argument: str) -> None:
    """Refuse text that looks like a field and would be sent literally."""
    name, colon, spec = inside.partition(":")
    if name.strip() in columns and name.strip():
        raise ValueError(
            f"{argument}: {{{inside}}} has spaces around the column's name; write {{{inside.strip()}}}, or {{{{{inside}}}}} for braces as text"
        )
    access = _ACCESS.fullmatch(name)
    if access and (not colon or (spec.strip() == spec != "" and _SPEC.fullmatch(spec))):
        raise ValueError(_unknown_column_message(inside, access["name"], columns, argument))


def _unknown_column_message(inside: str, name: str, columns: Mapping[str, Hashable], argument: str) -> str:
    if name in columns and name != inside:
        return f"{argument}: {{{inside}}} reaches into a cell, which templates never do; write {{{name}}}, or make a column of it first"
    close = get_close_matches(name, columns, n=1, cutoff=0.0)
    hint = f"the nearest column is {{{close[0]}}}" if close else "there are no columns to name"
    return f"{argument}: {{{inside}}} is no column; {hint}; for braces as text write {{{{{inside}}}}}"
