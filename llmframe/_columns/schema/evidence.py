"""Evidence: the quote that is asked for before each field, and whether it is in its row's text."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING

from llmframe._columns.schema.shapes import Field, Record, Scalar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmframe._columns.schema.typed_columns import Column
    from llmframe._values import RowTexts

_AT_ONCE = 512
"""The texts of so many rows are rendered at a time."""

_QUOTE_MARKS = '"`´‘’‚‛“”„‟‹›«»′″ʼ＇＂「」『』〝〞〟'  # noqa: RUF001 (they look alike)
_WITHOUT_WIDTH = "\u00ad\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
_DOTLESS_I, _DOT_ABOVE = "\u0131", "\u0307"
_FOLDED = str.maketrans(
    {**dict.fromkeys(_QUOTE_MARKS, "'"), **dict.fromkeys(_WITHOUT_WIDTH), _DOTLESS_I: "i"}
)


def quote_of(name: str) -> str:
    """Return the name of a field's quote, in the answer and as a column."""
    return f"{name}.quote"


def with_quotes(root: Record) -> Record:
    """Return the record that asks for a quote before each of its fields."""
    return replace(
        root, fields=tuple(each for field in root.fields for each in (_quote_field(field.name), field))
    )


def _quote_field(name: str) -> Field:
    asked = f"a verbatim quote from the text, as short as can be, that shows `{name}`; null where the text does not say"
    return Field(quote_of(name), Scalar("text"), description=asked)


def quoted(value: str | None) -> str | None:
    """Return a quote; `None` for one that says nothing."""
    return value if value is not None and folded(value) else None


def search(quotes: Sequence[str | None], text: str) -> list[bool | None]:
    r"""Return for each quote whether a text has it: exactly, or with case, white space and quote marks folded.

    Examples
    --------
    >>> search(["the  “hinge” BROKE", "the door broke", None], 'Sadly, the "hinge"\nbroke.')
    [True, False, None]
    """
    whole: str | None = None
    found: list[bool | None] = []
    for quote in quotes:
        if quote is None or quote in text:
            found.append(None if quote is None else True)
            continue
        whole = folded(text) if whole is None else whole
        words = folded(quote)
        found.append((words.strip("' ") or words) in whole)
    return found


def folded(text: str) -> str:
    """Return a text without its differences of case, width, white space and quote marks.

    The i's with and without a dot are one letter: what is `I` in one language is `İ` in another.
    """
    text = unicodedata.normalize("NFKC", text.translate(_FOLDED)).casefold()
    text = unicodedata.normalize("NFKC", text).translate(_FOLDED).replace(f"i{_DOT_ABOVE}", "i")
    return " ".join(text.split())


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
            for column, found in zip(self._found, search(quotes, text) if quotes else (), strict=False):
                column.put(number, found)
