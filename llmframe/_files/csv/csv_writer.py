"""CSV files that a spreadsheet opens, and whose text, numbers and truth values `llmframe.read_csv` reads back exactly."""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import orjson
import pandas as pd

from llmframe._files.csv.text_files import check_separator, is_formula, writer
from llmframe._files.frame_columns import (
    NESTED,
    FrameColumn,
    as_json,
    frame_columns,
    moments_format,
    moments_precision,
)
from llmframe._loop import ShortTraceback

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    from llmframe._files.replacement import FilePath

_CHUNK_ROWS = 10_000
_EXACT_IN_FLOATS = 2**53

# pandas names a column without a name "Unnamed: 0".
_BARE_NAME = re.compile(r"(?!Unnamed: )\w(?:[\w .()%/-]*[\w.()%/-])?")

_PLAIN = (bool, int, float, decimal.Decimal, np.bool_, np.number, dt.date, dt.time)


@ShortTraceback()
def to_csv(
    frame: pd.DataFrame,
    path: FilePath | TextIO | None = None,
    *,
    index: bool = True,
    columns: Sequence[Hashable] | None = None,
    sep: str = ",",
    encoding: str = "utf-8-sig",
    escape_formulas: bool = True,
) -> str | None:
    r"""
    Write a DataFrame as CSV that a spreadsheet opens, and whose text, numbers and truth values `read_csv` reads back exactly.

    Text is always in quotes and other values are not wherever possible, so that ``"007"`` stays text and
    ``""`` stays different from a missing cell, which is empty (``NA`` in a file of one column, where an empty
    cell would be a blank line). Lines end in ``\n`` on every system: spreadsheets accept it, and Unix tools
    see no additional ``\r``. Line breaks within cells are not changed.

    Parameters
    ----------
    frame : DataFrame
        What to write; it is not changed. Column names must be distinct and of one level.
    path : str, path-like or text file, optional
        Where to write. ``.gz``, ``.bz2`` and ``.xz`` are compressed. The file is written completely or not
        at all: an error or interrupt does not change an existing one. A text file must have been opened with
        ``newline=""``; it gets no BOM beyond its own encoding's. None returns the text, without a BOM.
    index : bool, default True
        Whether to write the index, one column for each level, before the columns.
    columns : list of labels, optional
        The columns to write, in this order. None writes all.
    sep : {",", ";", "\t", "|"}, default ","
        What separates cells. Excel in countries with a decimal comma needs ``";"``.
    encoding : str, default "utf-8-sig"
        UTF-8 with a BOM, without which Excel takes the text for another encoding.
    escape_formulas : bool, default True
        Put an apostrophe before text (names and index labels too) that a spreadsheet would run as a
        formula: text that begins with ``=``, ``+``, ``-`` or ``@``, plain or full-width, also after white
        space or apostrophes, or with a tab or carriage return. `read_csv` removes it. Numbers are not
        changed, and neither is text that is one, such as ``-33.9``, ``+49`` or ``-1,234.5``.

    Returns
    -------
    str or None
        The text if `path` is None.

    Raises
    ------
    ValueError
        If an argument cannot be used, column names are duplicate, or a cell cannot be encoded (half of a
        surrogate pair) or written as JSON; the message names the column and the row.

    See Also
    --------
    read_csv : Read it back.
    to_excel : Write what a spreadsheet shows as it is.

    Notes
    -----
    What a spreadsheet shows: text that looks like a number is one there, quotes or not (``007`` is 7, digits beyond the
    15th are zeros, ``1-2`` may be a date), and LibreOffice shows the apostrophe before a formula. `to_excel`
    writes a file in which neither happens.

    Lists, dicts, tuples, sets and arrays are written as compact JSON, in which nan is null; they come back
    as that text. Categorical columns are written as their values. Datetimes are written in one ISO format a
    column and come back as text, and so do integers beyond 2**53 beside missing cells, which readers would round,
    and any other object, as ``str`` shows it. Column names that are
    not text come back as text.

    Examples
    --------
    >>> frame = pd.DataFrame({"stars": [5, 1], "review": ["007, licensed", "-1 would not buy"]})
    >>> print(to_csv(frame, index=False), end="")
    stars,"review"
    5,"007, licensed"
    1,"'-1 would not buy"
    """
    check_separator(sep, "to_csv")
    table = frame_columns(frame, "to_csv", index=index, labels=columns)
    chunks = csv_lines(table, sep, encoding, escape_formulas=escape_formulas)
    if path is None:
        return "".join(chunks)
    with writer(path, encoding) as file:
        file.writelines(chunks)
    return None


def csv_lines(table: list[FrameColumn], sep: str, encoding: str, *, escape_formulas: bool) -> Iterator[str]:
    """Return the text of a file in parts of whole lines; a column of a file of several may be empty."""
    return _chunks(table, _style(table, sep, encoding, escape_formulas=escape_formulas))


def _style(table: list[FrameColumn], sep: str, encoding: str, *, escape_formulas: bool) -> _Style:
    return _Style(sep, encoding, escape_formulas, "" if len(table) > 1 else "NA")


class CsvLines:
    """The text of a file whose rows come in several tables with the same columns.

    How a column's cells are written may depend on all of them: `add` says when those before must be written otherwise.
    """

    def __init__(self, sep: str, encoding: str) -> None:
        self._sep = sep
        self._encoding = encoding
        self._ranges: list[_Range] | None = None

    def add(self, table: list[FrameColumn]) -> Mapping[int, Callable[[str], str]]:
        """Take further rows into account; return what makes of a field that was written another one, by column."""
        before, added = self._ranges, [_Range.of(column.cells) for column in table]
        if before is None:
            self._ranges = added
            return {}
        self._ranges = [old.joined(new) for old, new in zip(before, added, strict=True)]
        rewrites: dict[int, Callable[[str], str]] = {}
        for number, (old, new) in enumerate(zip(before, self._ranges, strict=True)):
            if new.precision > old.precision:
                rewrites[number] = functools.partial(_rewritten_moment, moments_format(new.precision))
            elif new.rounded_by_readers and not old.rounded_by_readers:
                rewrites[number] = _quoted_number
        return rewrites

    def lines(self, table: list[FrameColumn], *, header: bool) -> Iterator[str]:
        """Return the lines of a table whose rows were added, with those of the names if they are the first."""
        style = _style(table, self._sep, self._encoding, escape_formulas=True)
        lines = _chunks(table, style, ranges=self._ranges)
        if not header:
            next(lines)
        return lines


def _rewritten_moment(write: Callable[[Any], str], field: str) -> str:
    return write(pd.Timestamp(field)) if field not in {"", "NA"} else field


def _quoted_number(field: str) -> str:
    return f'"{field}"' if field not in {"", "NA"} else field


@dataclass(frozen=True)
class _Range:
    """What of a column's cells decides how all of them are written.

    Attributes
    ----------
    precision : int
        Of moments.
    has_missing, has_huge : bool
        Of integers: whether one is missing, and whether floats cannot hold one.
    """

    precision: int = 0
    has_missing: bool = False
    has_huge: bool = False

    @classmethod
    def of(cls, cells: pd.Series[Any]) -> _Range:
        if pd.api.types.is_datetime64_any_dtype(cells.dtype):
            return cls(moments_precision(cells))
        if not pd.api.types.is_integer_dtype(cells.dtype):
            return cls()
        return cls(0, cells.hasnans, bool(((cells > _EXACT_IN_FLOATS) | (cells < -_EXACT_IN_FLOATS)).any()))

    def joined(self, other: _Range) -> _Range:
        return _Range(
            max(self.precision, other.precision),
            self.has_missing or other.has_missing,
            self.has_huge or other.has_huge,
        )

    @property
    def rounded_by_readers(self) -> bool:
        """Whether readers would make floats of integers that floats cannot hold: beside missing cells they do."""
        return self.has_missing and self.has_huge


@dataclass(frozen=True)
class _Style:
    sep: str
    encoding: str
    escape_formulas: bool
    missing: str


def _quoted(text: str, *, escape_formulas: bool) -> str:
    if escape_formulas and is_formula(text):
        text = "'" + text
    return '"' + text.replace('"', '""') + '"'


def _field(cell: object, *, escape_formulas: bool) -> str:
    if isinstance(cell, str):
        return _quoted(cell, escape_formulas=escape_formulas)
    if isinstance(cell, _PLAIN):
        return str(cell)
    text = as_json(cell) if isinstance(cell, NESTED) else str(cell)
    return _quoted(text, escape_formulas=escape_formulas)


def _chunks(
    table: list[FrameColumn],
    style: _Style,
    chunk_rows: int = _CHUNK_ROWS,
    ranges: list[_Range] | None = None,
) -> Iterator[str]:
    header = style.sep.join(_header(column, style) for column in table)
    # The header of a single unnamed index would be a blank line, which readers skip.
    yield _encodable((header or '""') + "\n", "a column name", style)
    ranges = ranges or [_Range.of(column.cells) for column in table]
    formats = [_format(column.cells, each, style) for column, each in zip(table, ranges, strict=True)]
    for start in range(0, len(table[0].cells), chunk_rows):
        rows = range(start, start + chunk_rows)
        fields = [
            _fields(column, rows, write_cell, style)
            for column, write_cell in zip(table, formats, strict=True)
        ]
        text = "\n".join(map(style.sep.join, zip(*fields, strict=True))) + "\n"
        if not _can_encode(text, style.encoding):
            _check_fields(table, fields, start, style)
        yield text


def _header(column: FrameColumn, style: _Style) -> str:
    if column.name is None:
        return ""
    if not column.is_text and _BARE_NAME.fullmatch(column.name):
        return column.name
    return _quoted(column.name, escape_formulas=style.escape_formulas)


def _format(cells: pd.Series[Any], all_cells: _Range, style: _Style) -> Callable[[Any], str]:
    if pd.api.types.is_datetime64_any_dtype(cells.dtype):
        return moments_format(all_cells.precision)
    if all_cells.rounded_by_readers:
        return '"{}"'.format
    return functools.partial(_field, escape_formulas=style.escape_formulas)


def _fields(column: FrameColumn, rows: range, write_cell: Callable[[Any], str], style: _Style) -> list[str]:
    cells = column.cells.iloc[rows.start : rows.stop]
    if isinstance(cells.dtype, np.dtype) and cells.dtype.kind in "biuf":
        texts = cells.to_numpy().astype(str).tolist()
        return [
            style.missing if is_missing else text
            for text, is_missing in zip(texts, cells.isna(), strict=True)
        ]
    fields: list[str] = []
    try:
        for cell, is_missing in zip(cells.astype(object), cells.isna(), strict=True):
            # The number of fields gives a failure's row.
            fields.append(style.missing if is_missing else write_cell(cell))
    except orjson.JSONEncodeError as error:
        place = column.place(rows.start + len(fields))
        message = f"to_csv: {place} cannot be written as JSON ({error}); make it text first"
        raise ValueError(message) from error
    return fields


def _can_encode(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _encodable(text: str, place: str, style: _Style) -> str:
    if _can_encode(text, style.encoding):
        return text
    raise ValueError(
        f'to_csv: {place} has text that encoding="{style.encoding}" cannot write: {text[:80]!a}; with UTF-8 that is half of a surrogate pair, which text.encode("utf-8", "replace").decode() replaces'
    )


def _check_fields(table: list[FrameColumn], fields: list[list[str]], start: int, style: _Style) -> None:
    for column, column_fields in zip(table, fields, strict=True):
        for row, field in enumerate(column_fields, start):
            _encodable(field, column.place(row), style)
