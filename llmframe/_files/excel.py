"""Excel files in which text is text: no formulas, no links, no apostrophes, and no digit is lost."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import math
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from llmframe._files.frame_columns import NESTED, FrameColumn, any_json, frame_columns
from llmframe._files.replacement import FilePath, replacement
from llmframe._loop import ShortTraceback

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence
    from contextlib import AbstractContextManager

_MOST_ROWS = 1_048_576
_MOST_COLUMNS = 16_384
_MOST_CHARACTERS = 32_767
_EXACT_INTEGERS = 10**15
"""Excel keeps 15 digits of a number."""
_FIRST_YEAR = 1900

_DAY, _MOMENT, _TIME = "yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss", "hh:mm:ss"


@ShortTraceback()
def to_excel(
    frame: pd.DataFrame,
    path: FilePath | IO[bytes],
    *,
    index: bool = True,
    columns: Sequence[Hashable] | None = None,
    sheet_name: str = "Sheet1",
) -> None:
    """
    Write a DataFrame as an Excel file (``.xlsx``) in which text is text.

    Text is never a formula, a link or a number, and no apostrophe is added to it. Numbers, truth values, dates and
    datetimes are Excel's own. A missing cell is empty. It needs XlsxWriter, the extra ``excel``.

    Parameters
    ----------
    frame : DataFrame
        What to write; it is not changed. Column names must be distinct and of one level.
    path : str, path-like or binary file
        Where to write, a name that ends in ``.xlsx``. The file is written completely or not at all: an error or
        interrupt does not change an existing one.
    index : bool, default True
        Whether to write the index, one column for each level, before the columns.
    columns : list of labels, optional
        The columns to write, in this order. None writes all.
    sheet_name : str, default "Sheet1"
        The name of the sheet, of at most 31 characters.

    Raises
    ------
    ValueError
        If an argument cannot be used, or the frame does not fit: a sheet has 1,048,576 rows and 16,384 columns, and
        a cell 32,767 characters; the message names the column and the row.
    ModuleNotFoundError
        If XlsxWriter is not installed.

    See Also
    --------
    to_csv : Write text that other tools read.

    Notes
    -----
    What Excel would change is written as text: integers of more than 15 digits (then the whole column), Decimals
    of more digits, infinities, datetimes with a time zone (in ISO format) or finer than milliseconds, and dates before
    1900. Lists, dicts, tuples, sets and arrays are compact JSON. Categorical columns are written as their values.

    Examples
    --------
    >>> import io
    >>> to_excel(pd.DataFrame({"reply": ["=1+1"], "zip": ["007"]}), io.BytesIO(), index=False)
    """
    table = frame_columns(frame, "to_excel", index=index, labels=columns)
    if len(frame) >= _MOST_ROWS or len(table) > _MOST_COLUMNS:
        raise ValueError(
            f"to_excel: the frame has {len(frame):,} rows and {len(table):,} columns, and a sheet has room for {_MOST_ROWS - 1:,} below the names and {_MOST_COLUMNS:,}; write parts, as in df.iloc[:1_000_000].llm.to_excel(…), or use df.llm.to_csv"
        )
    cells = [_cells(column) for column in table]
    with _opened(path) as file:
        _write(file, [column.name or "" for column in table], cells, sheet_name)


def _opened(path: FilePath | IO[bytes]) -> AbstractContextManager[Any]:
    if isinstance(path, (str, os.PathLike)):
        suffix = Path(path).suffix
        if suffix.lower() != ".xlsx":
            raise ValueError(f"to_excel: path ends in {suffix!r}, and this is an Excel file; write '.xlsx'")
        return replacement(path, "to_excel")
    if isinstance(path, io.TextIOBase) or not hasattr(path, "write"):
        raise TypeError(f"to_excel: path must be a path or a binary file, not {type(path).__name__}")
    return _CallerFile(path)


class _CallerFile:
    """The caller's own file, which stays open."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def __enter__(self) -> IO[bytes]:
        return self._file

    def __exit__(self, *_: object) -> None: ...


def _write(file: Any, names: list[str], columns: list[list[Any]], sheet_name: str) -> None:
    try:
        import xlsxwriter  # noqa: PLC0415 (an extra)
    except ImportError:
        raise ModuleNotFoundError(
            "to_excel: XlsxWriter is missing, the extra 'excel': in the clone of llmframe, run pip install '.[excel]'"
        ) from None

    workbook = xlsxwriter.Workbook(file)
    try:
        sheet = workbook.add_worksheet(sheet_name)
    except (xlsxwriter.exceptions.XlsxWriterException, TypeError) as error:
        raise ValueError(f"to_excel: sheet_name cannot be {sheet_name!r}: {error}") from error
    formats = {name: workbook.add_format({"num_format": name}) for name in (_DAY, _MOMENT, _TIME)}
    writers: dict[type, Callable[..., Any]] = {
        str: sheet.write_string,  # never `write`, which makes formulas, links and numbers of texts
        bool: sheet.write_boolean,
        float: sheet.write_number,
        int: sheet.write_number,
        decimal.Decimal: sheet.write_number,
    }
    for position, (name, cells) in enumerate(zip(names, columns, strict=True)):
        if name:
            sheet.write_string(0, position, name)
        for row, cell in enumerate(cells, 1):
            if cell is None:
                continue
            if type(cell) in writers:
                writers[type(cell)](row, position, cell)
            else:
                sheet.write_datetime(row, position, cell, formats[_number_format(cell)])
    workbook.close()


def _number_format(cell: dt.date | dt.time) -> str:
    if isinstance(cell, dt.datetime):
        return _MOMENT if cell.time() != dt.time() else _DAY
    return _TIME if isinstance(cell, dt.time) else _DAY


def _cells(column: FrameColumn) -> list[Any]:
    """Return a column's cells as Excel has them: text, numbers, truth values, dates; `None` where one is missing."""
    _text_that_fits(column.name or "", lambda: f"the name of column {(column.name or '')[:40]!r}")
    values, missing = column.cells.astype(object).tolist(), column.cells.isna().tolist()
    plain = [None if is_missing else _plain(cell) for cell, is_missing in zip(values, missing, strict=True)]
    integers = [cell for cell in plain if type(cell) is int]
    if any(abs(number) >= _EXACT_INTEGERS for number in integers):
        plain = [str(cell) if type(cell) is int else cell for cell in plain]
    for row, cell in enumerate(plain):
        if isinstance(cell, str):
            _text_that_fits(cell, lambda row=row: column.place(row))  # type: ignore[misc]
    return plain


def _text_that_fits(text: str, place: Callable[[], str]) -> None:
    try:
        length = len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2
    except UnicodeEncodeError:
        raise ValueError(
            f'to_excel: {place()} has half of a surrogate pair, which text.encode("utf-8", "replace").decode() replaces'
        ) from None
    if length > _MOST_CHARACTERS:
        raise ValueError(
            f"to_excel: {place()} has {length:,} characters, and an Excel cell holds {_MOST_CHARACTERS:,}; cut them, as in df[column].str[:{_MOST_CHARACTERS}], or use df.llm.to_csv"
        )


def _plain(cell: Any) -> Any:  # noqa: C901, PLR0911 (a table)
    if isinstance(cell, np.generic):
        cell = cell.item()
    if isinstance(cell, pd.Timestamp):
        return _moment(cell)
    match cell:
        case bool():
            return cell
        case str():
            return str(cell)
        case int():
            return int(cell)
        case float():
            return float(cell) if math.isfinite(cell) else str(cell)
        case decimal.Decimal():
            exact = cell.is_finite() and len(cell.as_tuple().digits) <= 15
            return cell if exact else str(cell)
        case dt.datetime():
            return _moment(pd.Timestamp(cell)) if cell.year >= _FIRST_YEAR else cell.isoformat(sep=" ")
        case dt.date():
            return cell if cell.year >= _FIRST_YEAR else cell.isoformat()
        case dt.time():
            return cell if cell.tzinfo is None and cell.microsecond % 1000 == 0 else cell.isoformat()
    return _json(cell) if isinstance(cell, NESTED) else str(cell)


def _json(cell: Any) -> str:
    try:
        return any_json(cell)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"to_excel: a cell cannot be written as JSON ({error}); make it text first"
        ) from error


def _moment(moment: pd.Timestamp) -> dt.datetime | str:
    fits = moment.tz is None and _FIRST_YEAR <= moment.year <= 9999
    if fits and moment.microsecond % 1000 == 0 and moment.nanosecond == 0:
        return moment.to_pydatetime()
    return moment.isoformat(sep=" ")
