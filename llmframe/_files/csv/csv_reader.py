"""Reads CSV files: those of `to_csv` exactly, and others much as pandas does."""

from __future__ import annotations

import functools
import io
import re
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol, TextIO, TypeAlias, cast

import pandas as pd

from llmframe._files.csv.text_files import FORMULA, check_separator, reader
from llmframe._files.tables import WHOLE
from llmframe._loop import ShortTraceback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from llmframe._files.replacement import FilePath
    from llmframe._files.tables import ChunkSize

IndexColumns: TypeAlias = "int | str | Sequence[int | str] | Literal[False] | None"

_BLOCK_CHARACTERS = 1 << 18
_FIRST_ROWS, _PIECE_ROWS, _PIECES = 1_000, 10_000, 8
"""A chunk is parsed in pieces: of at most so many rows, and of about this part of a chunk's bytes, of which the first one counts
on this many rows."""


class SupportsRead(Protocol):
    """Whatever gives its text in parts; an empty part is its end."""

    def read(self, size: int, /) -> str: ...


# pandas 3.1 reads every float exactly and warns about the argument that 3.0 needs for it.
_EXACT_FLOATS: dict[str, Any] = {"float_precision": "round_trip"} if pd.__version__.startswith("3.0.") else {}
_AS_TEXT: dict[str, Any] = {"dtype": "str", "keep_default_na": False, "na_values": [""]}


class WiderRowError(ValueError):
    """The first row has more cells than the header has names."""


@ShortTraceback()
def read_csv(
    path: FilePath | TextIO,
    *,
    sep: str = ",",
    encoding: str = "utf-8-sig",
    index_col: IndexColumns = None,
    escape_formulas: bool = True,
    infer: bool = True,
) -> pd.DataFrame:
    r"""
    Read text, numbers and truth values that `to_csv` wrote exactly, and other CSV files much as pandas does.

    A cell in quotes is always text (``"007"``, ``"NA"``, ``""``), and a column with such a
    cell is a text column. Columns without are inferred as `pandas.read_csv` infers them: numbers, truth
    values, or text in which ``NA``, ``nan``, ``None`` and the like are missing.

    Parameters
    ----------
    path : str, path-like or text file
        What to read. ``.gz``, ``.bz2`` and ``.xz`` are decompressed. A text file must have been opened with
        ``newline=""``, or carriage returns within cells are lost.
    sep : {",", ";", "\t", "|"}, default ","
        What separates cells.
    encoding : str, default "utf-8-sig"
        UTF-8, with or without a BOM. Not used for a text file, which has its own.
    index_col : int, str, list of these or None, default None
        The columns, by position or name, that become the index. None numbers the rows.
    escape_formulas : bool, default True
        Remove the apostrophe that `to_csv` puts before formulas. False keeps it.
    infer : bool, default True
        Look for numbers and the like in columns without quotes. False reads every cell as text, so that
        ``007``, ``1.50`` and ``NA`` are not changed; an empty cell is missing.

    Returns
    -------
    DataFrame
        Text columns have pandas' own dtype for text, with nan where a cell is missing. Datetimes, categories and nested
        values come back as text (``pd.to_datetime``, ``astype("category")`` and ``json.loads`` make such of it again),
        and nullable integers and floats as pandas infers them.

    Raises
    ------
    ValueError
        If an argument cannot be used, the file is not in `encoding`, or its rows do not fit its header.

    See Also
    --------
    to_csv : Write it.

    Examples
    --------
    >>> import io
    >>> read_csv(io.StringIO('code,"text"\n7,"007"\n8,\n'))
       code text
    0     7  007
    1     8  NaN
    """
    check_separator(sep, "read_csv")
    with _opened(path, encoding) as file:
        return _read(file, sep, index_col, escape_formulas=escape_formulas, infer=infer)


def read_texts(
    text: SupportsRead, sep: str, size: ChunkSize = WHOLE
) -> Iterator[tuple[pd.DataFrame, list[str]]]:
    """Yield chunks with every cell as text, and the names of the header as they are there: empty and duplicate ones too."""
    marked = _QuotesMarked(text, sep, _BLOCK_CHARACTERS)
    if size is WHOLE:
        parts = iter([_parse(marked, sep, None, escape_formulas=True, infer=False)])
    else:
        parts = _parse_in_chunks(marked, sep, size)
    names: list[str] | None = None
    for frame in parts:
        names = names or _header_names(marked, sep)
        yield frame, names


def _header_names(marked: _QuotesMarked, sep: str) -> list[str]:
    header = pd.read_csv(
        io.StringIO(marked.head), sep=sep, header=None, nrows=1, dtype="str", na_filter=False
    )
    return [_plain_text(name, escaped=marked.escaped, formulas=True) for name in header.iloc[0]]


def _parse_in_chunks(marked: _QuotesMarked, sep: str, size: ChunkSize) -> Iterator[pd.DataFrame]:
    """Yield at least one chunk; each is parsed in pieces, of which the size of the rows is known before they are parsed."""
    with pd.read_csv(cast("IO[str]", marked), sep=sep, low_memory=False, iterator=True, **_AS_TEXT) as parser:
        pieces: list[pd.DataFrame] = []
        done = rows = begun_at = 0
        while True:
            per_row = marked.characters / (done + rows) if done + rows else size.size / _FIRST_ROWS
            wanted = max(1, min(size.rows - rows, int(size.size / per_row / _PIECES), _PIECE_ROWS))
            try:
                piece = parser.get_chunk(wanted)
            except StopIteration:
                break
            _refuse_wider_rows(piece, done + rows)
            if size.only is not None:
                plain_names = [
                    _plain_text(str(name), escaped=marked.escaped, formulas=True) for name in piece
                ]
                piece = piece.iloc[:, [place for place, name in enumerate(plain_names) if size.wants(name)]]
            pieces.append(
                _unmarked(piece, functools.partial(_plain_text, escaped=marked.escaped, formulas=True))
            )
            rows += len(piece)
            if rows >= size.rows or marked.characters - begun_at >= size.size:
                yield _joined(pieces)
                pieces, done, rows, begun_at = [], done + rows, 0, marked.characters
        if pieces or not done:
            yield _joined(pieces)


def _joined(pieces: list[pd.DataFrame]) -> pd.DataFrame:
    return pieces[0] if len(pieces) == 1 else pd.concat(pieces)


@contextmanager
def _opened(path: FilePath | TextIO, encoding: str) -> Iterator[TextIO]:
    try:
        with reader(path, encoding) as file:
            yield file
    except UnicodeDecodeError as error:
        message = f'read_csv: the file is not in encoding="{encoding}" ({error}); for files of old Windows programs try encoding="cp1252"'
        raise ValueError(message) from error


def _read(
    file: TextIO,
    sep: str = ",",
    index_col: IndexColumns = None,
    *,
    escape_formulas: bool = True,
    infer: bool = True,
    block_characters: int = _BLOCK_CHARACTERS,
) -> pd.DataFrame:
    marked = _QuotesMarked(file, sep, block_characters)
    return _parse(marked, sep, index_col, escape_formulas=escape_formulas, infer=infer)


def _parse(
    marked: _QuotesMarked, sep: str, index_col: IndexColumns, *, escape_formulas: bool, infer: bool
) -> pd.DataFrame:
    parsed = pd.read_csv(
        cast("IO[str]", marked), sep=sep, low_memory=False, **(_EXACT_FLOATS if infer else _AS_TEXT)
    )
    _refuse_wider_rows(parsed, 0)
    plain = functools.partial(_plain_text, escaped=marked.escaped, formulas=escape_formulas)
    return _indexed(_unmarked(parsed, plain), index_col, [str(name) for name in parsed.columns])


def _refuse_wider_rows(parsed: pd.DataFrame, start: int) -> None:
    # pandas makes an index of the cells before the first name; numbers of the rows mean that there are none.
    if not parsed.index.equals(pd.RangeIndex(start, start + len(parsed))):
        message = f"read_csv: the first row has more cells than the {parsed.shape[1]} names of the header; name every column, or use pandas.read_csv"
        raise WiderRowError(message)


class _QuotesMarked:
    r"""
    CSV text in which every quoted field holds one more quotation mark, as its first character.

    pandas does not distinguish ``""`` from nothing nor ``"007"`` from ``007``. With the mark it does: a field that
    begins with a quotation mark when it is parsed was quoted, because an unquoted one cannot begin with it.
    pandas also ends a cell at NUL, which is therefore replaced meanwhile.
    """

    def __init__(self, source: SupportsRead, sep: str, block_characters: int) -> None:
        self.escaped = False
        self.head = ""
        """The first whole lines."""
        self.characters = 0
        """How many were returned so far."""
        self._block_characters = block_characters
        self._source = source
        self._held = ""
        self._ended = False
        self._started = False
        ends = re.escape(sep) + "\r\n"
        quoted = r'"[^"]*+(?:""[^"]*+)*+"'
        self._whole_lines = re.compile(rf'(?:(?:{quoted}|(?!"))[^{ends}]*+[{ends}])*(?<![^\n])')
        self._quoted_field = re.compile(rf"(?:\A|(?<=[{ends}]))({quoted}?+)")

    def __iter__(self) -> Iterator[str]:
        """Yield nothing: pandas accepts only iterable files, of which it then calls `read`."""
        return iter(())

    def read(self, _size: int) -> str:
        """Return about as much as pandas asks for, up to the end of a line."""
        cut = 0
        while not cut and not self._ended:
            self._held += self._block()
            cut = len(self._held) if self._ended else self._end_of_whole_lines()
        text, self._held = self._held[:cut], self._held[cut:]
        pieces = self._quoted_field.split(text) if '"' in text else [text]
        if "\r" in text:
            # Between quoted fields: pandas 3.0 may hang on lines that end in a single carriage return.
            pieces[::2] = [piece.replace("\r\n", "\n").replace("\r", "\n") for piece in pieces[::2]]
        pieces[1::2] = ['""' + quoted for quoted in pieces[1::2]]
        lines = "".join(pieces)
        self.head = self.head or lines
        self.characters += len(lines)
        return lines

    def _block(self) -> str:
        # The block is as large as the held text: a huge cell is then scanned a few times, not once per block.
        block = self._source.read(max(self._block_characters, len(self._held)))
        self._ended = not block
        if not self._started:
            block = block.removeprefix("\ufeff")
            self._started = True
        if "\0" in block or "\ufffe" in block:
            self.escaped = True
            block = block.replace("\ufffe", "\ufffe1").replace("\0", "\ufffe0")
        return block

    def _end_of_whole_lines(self) -> int:
        if '"' not in self._held:
            return self._held.rfind("\n") + 1
        found = self._whole_lines.match(self._held)
        return found.end() if found else 0


def _plain_text(text: str, *, escaped: bool, formulas: bool) -> str:
    text = text.removeprefix('"')
    if escaped:
        text = text.replace("\ufffe0", "\0").replace("\ufffe1", "\ufffe")
    return text[1:] if formulas and text.startswith("'") and FORMULA.match(text) else text


def _unmarked(parsed: pd.DataFrame, plain: Callable[[str], str]) -> pd.DataFrame:
    columns = {
        position: _unmarked_column(parsed.iloc[:, position], str(name), plain)
        for position, name in enumerate(parsed.columns)
    }
    frame = pd.DataFrame(columns, index=parsed.index)
    frame.columns = pd.Index([plain(str(name)) for name in parsed.columns])
    return frame


def _unmarked_column(cells: pd.Series[Any], name: str, plain: Callable[[str], str]) -> pd.Series[Any]:
    if name.startswith('"') and cells.isna().all():
        return cells.astype("str")
    if not (isinstance(cells.dtype, pd.StringDtype) or cells.dtype == object):
        return cells
    texts = [plain(cell) if isinstance(cell, str) else cell for cell in cells.astype(object)]
    return pd.Series(texts, index=cells.index, dtype=cells.dtype)


def _indexed(frame: pd.DataFrame, index_col: IndexColumns, headers: list[str]) -> pd.DataFrame:
    if index_col is None or index_col is False:
        return frame
    wanted = [index_col] if isinstance(index_col, (int, str)) else index_col
    positions = [_index_position(column, list(frame.columns)) for column in wanted]
    names = [_index_name(frame.columns[position], headers[position]) for position in positions]
    levels = [frame.iloc[:, position] for position in positions]
    rest = frame.iloc[:, [position for position in range(frame.shape[1]) if position not in positions]]
    if len(levels) == 1:
        rest.index = pd.Index(levels[0]).rename(names[0])
    else:
        rest.index = pd.MultiIndex.from_arrays(levels, names=names)
    return rest


def _index_position(column: int | str, names: list[str]) -> int:
    if column in names:
        return names.index(column)
    if isinstance(column, int) and -len(names) <= column < len(names):
        return column % len(names)
    raise ValueError(f"read_csv: index_col has {column!r}, but the file's columns are {names!r}")


def _index_name(name: str, header: str) -> str | None:
    """Return `None` where the file has no name and pandas has generated one."""
    return None if not name or header.startswith("Unnamed: ") else name
