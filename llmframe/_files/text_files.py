"""How CSV files are opened, and what the writer and the reader have in common."""

from __future__ import annotations

import importlib
import io
import os
import re
import secrets
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, TextIO, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

FilePath: TypeAlias = str | os.PathLike[str]

_SEPARATORS = (",", ";", "\t", "|")  # none can occur in a number, a truth value or a date
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
    if sep not in _SEPARATORS:
        raise ValueError(f"{caller}: sep is {sep!r}, but must be one of {list(_SEPARATORS)!r}")


def check_suffix(suffix: str) -> None:
    """Refuse a name that promises something else than CSV."""
    if suffix.lower() in _FOREIGN_SUFFIXES:
        raise ValueError(
            f"path ends in {suffix!r}, and this is CSV, which ends in '.csv' or, compressed, in one of {list(_COMPRESSORS)!r}"
        )


def separator(path: Path) -> str:
    """Return what separates the cells of a file, by its name: `.tsv` has tabs."""
    suffixes = [suffix for suffix in path.suffixes if suffix not in _COMPRESSORS]
    return "\t" if suffixes[-1:] == [".tsv"] else ","


def writer(path: FilePath | TextIO, encoding: str) -> AbstractContextManager[TextIO]:
    if isinstance(path, (str, os.PathLike)):
        return _replacement(Path(os.path.realpath(Path(path).expanduser())), encoding)
    return _caller_file(path, "write", "to_csv")


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


@contextmanager
def _replacement(target: Path, encoding: str) -> Iterator[TextIO]:
    """Open a new file that replaces the target when it is complete."""
    if target.exists() and not target.is_file():  # a pipe or a device can only be written to
        with _text_file(target, "", "w", encoding) as file:
            yield file
        return
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"to_csv: path is in {str(target.parent)!r}, which is no folder; create it first"
        )
    if target.exists() and not os.access(target, os.W_OK):  # replacing it would ignore its permission
        raise PermissionError(f"to_csv: {str(target)!r} is write-protected")
    new = target.with_name(f".{secrets.token_hex(8)}.llmframe-tmp")
    try:
        with _created(new) as raw, _text_file(raw, target.suffix, "w", encoding) as file:
            yield file
        if target.exists():
            shutil.copymode(target, new)
        new.replace(target)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _created(path: Path) -> IO[bytes]:
    # A descriptor has no name: gzip would keep the temporary name in its header.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return open(os.open(path, flags, 0o666), "wb")  # noqa: PTH123
