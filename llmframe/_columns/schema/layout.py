"""Which columns a schema's values become, and in what order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmframe._columns.schema.evidence import quote_of
from llmframe._columns.schema.shapes import Scalar
from llmframe._columns.schema.typed_columns import leaves

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmframe._columns.schema.shapes import Field, Shape


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
