"""Evidence: the quote that is asked for before each field, the columns that it becomes, and whether its row's text has it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from llmframe._columns.quotes import folded, search
from llmframe._columns.schema.shapes import Field, Record, Scalar
from llmframe._columns.schema.typed_columns import leaves

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmframe._columns.schema.shapes import Shape
    from llmframe._columns.schema.typed_columns import Column
    from llmframe._values import RowTexts

_AT_ONCE = 512
"""The texts of so many rows are rendered at a time."""


def quote_of(name: str) -> str:
    """Return the name of a field's quote, in the answer and as a column."""
    return f"{name}.quote"


def with_quotes(root: Record) -> Record:
    """Return the record that asks for a quote before each of its fields."""
    fields = [each for asked in root.fields for each in (_quote_field(asked.name), asked)]
    return replace(root, fields=tuple(fields))


def _quote_field(name: str) -> Field:
    words = f"a verbatim quote from the text, as short as can be, that shows `{name}`; null where the text does not say"
    return Field(quote_of(name), Scalar("text"), description=words)


def quoted(value: str | None) -> str | None:
    """Return a quote; `None` for one that says nothing."""
    return value if value is not None and folded(value) else None


@dataclass(frozen=True)
class Layout:
    """The columns of a schema.

    Attributes
    ----------
    columns
        Their names and shapes, in order.
    order
        The number of the column of each value, in the order in which an answer has them.
    quotes, found
        The numbers of the columns with quotes, and of those that say whether they were found, by field.
    companions
        The columns that belong to others, by number: a quote, and whether it was found, to their field's.
    """

    columns: Sequence[tuple[str, Shape]]
    order: Sequence[int]
    quotes: Sequence[int] = ()
    found: Sequence[int] = ()
    companions: Mapping[int, Sequence[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, fields: Sequence[Field]) -> Layout:
        columns = list(leaves(fields))
        return cls(columns, range(len(columns)))

    @classmethod
    def with_quotes(cls, fields: Sequence[Field]) -> Layout:
        """Return the layout in which each field is followed by its quote, and by whether that was found.

        Raises
        ------
        ValueError
            For fields of the user's own that have such a name.
        """
        columns: list[tuple[str, Shape]] = []
        order: list[int] = []
        quotes: list[int] = []
        companions: dict[int, Sequence[int]] = {}
        for each in fields:
            first, own = len(columns), list(leaves([each]))
            end = first + len(own)
            columns += [*own, (quote_of(each.name), Scalar("text")), (f"{each.name}.found", Scalar("bool"))]
            order += [end, *range(first, end)]
            quotes.append(end)
            companions |= dict.fromkeys((end, end + 1), range(first, end))
        _refuse_twice([name for name, _ in columns])
        return cls(columns, order, quotes, [number + 1 for number in quotes], companions)


def _refuse_twice(names: Sequence[str]) -> None:
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise ValueError(
            f"quotes: the schema has a field of its own for the column {twice!r}; rename it, or leave quotes= out"
        )


class Evidence:
    """Searches for quotes in the texts of their rows, for many rows at a time.

    Parameters
    ----------
    found
        The columns that say whether a quote was found, one for each field.
    """

    def __init__(self, found: Sequence[Column], texts: RowTexts) -> None:
        self._found = found
        self._texts = texts
        self._quotes: dict[int, Sequence[str | None]] = {}
        """The quotes that are still to be searched for, by request."""

    def add(self, number: int, quotes: Sequence[str | None]) -> None:
        """Add a request's quotes, one for each field."""
        self._quotes[number] = quotes
        if len(self._quotes) >= _AT_ONCE:
            self.search()

    def search(self) -> None:
        """Search for all quotes that were added."""
        numbers = sorted(self._quotes.copy())  # the run may go on meanwhile
        for number, text in zip(numbers, self._texts(numbers), strict=True):
            quotes = self._quotes.pop(number, None)
            if quotes is not None:
                for column, found in zip(self._found, search(quotes, text), strict=True):
                    column.put(number, found)
