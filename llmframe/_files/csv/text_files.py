"""How CSV files are opened, and what the writer and the reader have in common."""

from __future__ import annotations

import importlib
import io
import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, TextIO, cast

from llmframe._files.replacement import FilePath, replacement

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

SEPARATORS = (",", ";", "\t", "|")  # none can occur in a number, a truth value or a date
_COMPRESSORS = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}
_FOREIGN_SUFFIXES = (
    ".zip", ".zst", ".tar", ".tgz", ".7z", ".parquet", ".pq", ".feather", ".arrow", ".orc", ".json", ".jsonl", ".ndjson",
    ".xlsx", ".xlsm", ".xls", ".ods", ".pkl", ".pickle", ".h5", ".dta", ".sqlite", ".db", ".html", ".xml",
)  # fmt: skip

# Spreadsheets skip white space before a formula and treat full-width signs as the plain ones.
FORMULA = re.compile("'*+(?:[\t\r]|[\\s\0-\x1f]*+[=+\\-@\uff1d\uff0b\uff0d\uff20])")
# -33.9, +49, -1e5, -5%, -1,234.5 and -1.234,5 are numbers to a spreadsheet, which has nothing to run in them.
_SIGNED_NUMBER = re.compile(
    r"""[ ]* [+-]
    (?: [0-9]+ (?: [.,][0-9]* )? | [.,][0-9]+ | inf
      | [0-9]{1,3} (?: ,[0-9]{2,3} )* ,[0-9]{3} (?: \.[0-9]* )?
      | [0-9]{1,3} (?: \.[0-9]{3} )+ (?: ,[0-9]* )? )
    (?: [eE][+-]?[0-9]+ )? %? [ ]*""",
    re.VERBOSE,
)


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet would run a cell's text."""
    return FORMULA.match(text) is not None and _SIGNED_NUMBER.fullmatch(text) is None


def check_separator(sep: str, caller: str) -> None:
    if sep not in SEPARATORS:
        raise ValueError(f"{caller}: sep is {sep!r}, but must be one of {list(SEPARATORS)!r}")


def check_suffix(suffix: str) -> None:
    """Refuse a name that promises something else than CSV."""
    if suffix.lower() in _FOREIGN_SUFFIXES:
        raise ValueError(
            f"path ends in {suffix!r}, and this is CSV, which ends in '.csv' or, compressed, in one of {list(_COMPRESSORS)!r}"
        )


def writer(path: FilePath | TextIO, encoding: str) -> AbstractContextManager[TextIO]:
    if isinstance(path, (str, os.PathLike)):
        return _new_text_file(Path(os.path.realpath(Path(path).expanduser())), encoding)
    return _caller_file(path, "write", "to_csv")


@contextmanager
def _new_text_file(path: Path, encoding: str) -> Iterator[TextIO]:
    check_suffix(path.suffix)
    with replacement(path, "to_csv") as raw, _text_file(raw, path.suffix, "w", encoding) as file:
        yield file


def reader(path: FilePath | TextIO, encoding: str) -> AbstractContextManager[TextIO]:
    if isinstance(path, (str, os.PathLike)):
        file = Path(path).expanduser()
        return _text_file(file, file.suffix, "r", encoding)
    return _caller_file(path, "read", "read_csv")


@contextmanager
def _caller_file(file: TextIO, verb: str, caller: str) -> Iterator[TextIO]:
    """Yield the caller's own file, which stays open."""
    if isinstance(file, (io.RawIOBase, io.BufferedIOBase)) or not hasattr(file, verb):
        raise TypeError(
            f'{caller}: path must be a path or a file of text, not {type(file).__name__}; make a binary file one with io.TextIOWrapper(file, encoding="utf-8-sig", newline="")'
        )
    yield file


def _text_file(file: Path | IO[bytes], suffix: str, mode: str, encoding: str) -> TextIO:
    check_suffix(suffix)
    suffix = suffix.lower()
    if suffix in _COMPRESSORS:
        # Imported when needed: Python may have been built without some of them.
        module = importlib.import_module(_COMPRESSORS[suffix])
        return cast("TextIO", module.open(file, f"{mode}t", encoding=encoding, newline=""))
    if isinstance(file, Path):
        return cast("TextIO", file.open(mode, encoding=encoding, newline=""))
    return io.TextIOWrapper(file, encoding=encoding, newline="")
