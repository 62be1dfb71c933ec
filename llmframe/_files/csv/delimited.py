"""CSV and TSV as tables of text: cells and names are read and written as they are there."""

from __future__ import annotations

import base64
import csv
import io
import re
import shutil
import tempfile
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

import pandas as pd

from llmframe._files.csv.csv_reader import WiderRowError, read_texts
from llmframe._files.csv.csv_writer import CsvLines
from llmframe._files.csv.text_files import SEPARATORS
from llmframe._files.encodings import DecodedText
from llmframe._files.frame_columns import NESTED, FrameColumn, any_json
from llmframe._files.tables import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from llmframe._files.csv.csv_reader import SupportsRead
    from llmframe._files.tables import ChunkSize, TableWriter, TextStyle

_SAMPLE_CHARACTERS = 1 << 16
_SAMPLE_ROWS = 20

_WIDER = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")


def found_separator(head: str) -> str:
    r"""Return what separates the cells of a CSV file, by its header and first rows.

    Examples
    --------
    >>> [found_separator(head) for head in ("a,b\n1;2,3\n", "a;b\n1,5;2\n", "a\n")]
    [',', ';', ',']

    In a file of one column it is one that does not stand in the texts.

    >>> found_separator("review\nGood, cheap\n")
    ';'
    """
    sample = head[:_SAMPLE_CHARACTERS]
    return max(SEPARATORS, key=lambda sep: _likelihood(sample, sep, cut=sample != head))


def _likelihood(sample: str, sep: str, *, cut: bool) -> tuple[bool, bool, int]:
    rows = list(islice(csv.reader(io.StringIO(sample, newline=""), delimiter=sep), _SAMPLE_ROWS))
    header, *others = [row for row in rows if row] or [[""]]
    if cut and len(rows) < _SAMPLE_ROWS:
        others = others[:-1]
    return len(header) > 1, all(len(row) == len(header) for row in others), len(header)


def chunks(default_sep: str | None) -> Callable[[IO[bytes], TextStyle, ChunkSize], Iterator[Table]]:
    """Return how a format is read whose separator, unless another is named, is this one, or found."""

    def read(file: IO[bytes], style: TextStyle, size: ChunkSize) -> Iterator[Table]:
        text = DecodedText(file, style.encoding)
        sep = style.sep or default_sep or found_separator(text.head)
        try:
            for frame, names in read_texts(text, sep, size):
                yield Table(frame, names, sep if len(names) > 1 else None)
        except pd.errors.EmptyDataError:
            raise ValueError("the file is empty; its first line must name the columns") from None
        except WiderRowError:
            raise ValueError(f"the first row has more cells than the header; {_remedy(sep)}") from None
        except pd.errors.ParserError as error:
            raise ValueError(_fault(error, sep)) from error

    return read


def _fault(error: pd.errors.ParserError, sep: str) -> str:
    wider = _WIDER.search(str(error))
    if wider:
        expected, line, found = wider.groups()
        return f"line {line} has {found} cells, and the header has {expected}; {_remedy(sep)}"
    if "EOF inside string" in str(error):
        return "a cell's closing quotation mark is missing: the file ends within the cell"
    return str(error).strip()


def _writable(cells: pd.Series[Any]) -> pd.Series[Any]:
    """Return cells of which any nested one is JSON: what was paid for is written, whatever stands beside it."""
    if cells.dtype != object:
        return cells
    values = [base64.b64encode(cell).decode() if isinstance(cell, bytes) else cell for cell in cells]
    values = [any_json(value) if isinstance(value, NESTED) else value for value in values]
    return pd.Series(values, index=cells.index, dtype=object)


def _remedy(sep: str) -> str:
    return f"quote the cells that hold {sep!r}, name every column, or name another separator with sep="


def writer(default_sep: str) -> Callable[[IO[bytes], TextStyle], TableWriter]:
    """Return how a format is written whose separator, unless another is named, is this one."""
    return lambda file, style: _Writer(file, style.sep or default_sep, style.encoding or "utf-8-sig")


class _Writer:
    def __init__(self, file: IO[bytes], sep: str, encoding: str) -> None:
        self._file = file
        self._text = io.TextIOWrapper(file, encoding=encoding, newline="")
        self._lines = CsvLines(sep, encoding)
        self._sep = sep
        self._encoding = encoding
        self._empty = True

    def add(self, table: Table) -> None:
        columns = [
            FrameColumn(name, _writable(table.frame.iloc[:, position]))
            for position, name in enumerate(table.all_names())
        ]
        if rewrites := self._lines.add(columns):
            self._rewrite(rewrites)
        self._text.writelines(self._lines.lines(columns, header=self._empty))
        self._empty = False

    def _rewrite(self, rewrites: Mapping[int, Callable[[str], str]]) -> None:
        """Write what is written again, with other fields in these columns."""
        self._text.detach()
        with tempfile.TemporaryFile() as before:
            self._file.seek(0)
            shutil.copyfileobj(self._file, before)
            self._file.seek(0)
            self._file.truncate()
            before.seek(0)
            self._text = io.TextIOWrapper(self._file, encoding=self._encoding, newline="")
            with io.TextIOWrapper(before, encoding=self._encoding, newline="") as text:
                rows = raw_rows(text, self._sep)
                self._text.write(self._sep.join(next(rows)) + "\n")  # the names
                for row in rows:
                    for column, rewrite in rewrites.items():
                        row[column] = rewrite(row[column])
                    self._text.write(self._sep.join(row) + "\n")

    def close(self) -> None:
        self._text.detach()


def raw_rows(text: SupportsRead, sep: str) -> Iterator[list[str]]:
    r"""Yield the fields of each row of a file of our own as they are written, quotation marks included.

    Examples
    --------
    >>> list(raw_rows(io.StringIO('a,"b"\n,"x\n""y"" z"\n'), ","))
    [['a', '"b"'], ['', '"x\n""y"" z"']]
    """
    field = re.compile(rf'("(?:[^"]|"")*+"|[^"{re.escape(sep)}\n]*+)([{re.escape(sep)}\n])')
    held, row = "", []
    while block := text.read(max(_SAMPLE_CHARACTERS, len(held))):
        held, place = held + block, 0
        while found := field.match(held, place):
            row.append(found[1])
            place = found.end()
            if found[2] == "\n":
                yield row
                row = []
        held = held[place:]
