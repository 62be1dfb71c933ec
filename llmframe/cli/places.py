"""Where a command reads and writes: files by their names' formats, or the standard streams as `-`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmframe._files import (
    FORMATS,
    SEPARATORS,
    STREAM,
    Source,
    Target,
    TextStyle,
    check_encoding,
    format_of,
)

if TYPE_CHECKING:
    from llmframe._files import Format

_SEPARATORS = {r"\t": "\t", "tab": "\t"}


def separator(text: str) -> str:
    """Read `--sep`."""
    sep = _SEPARATORS.get(text, text)
    if sep not in SEPARATORS:
        raise ValueError(f"{text!r} is no separator; write ',' ';' '|' or '\\t'")
    return sep


def places(
    source: str, target: str, *, given: str | None, sep: str | None, encoding: str | None
) -> tuple[Source, Target]:
    """Return where to read and to write, by the names and by `--format`, `--sep` and `--encoding`."""
    formats = _formats(source, target, given)
    if sep is not None and not any(kind.is_delimited for kind in formats):
        raise ValueError("--sep is for CSV and TSV, and neither file is one")
    if encoding is not None and not formats[0].is_text:
        raise ValueError(f"--encoding is for text, and {source} is {formats[0].name}")
    if encoding is not None:
        check_encoding(encoding)
    read = TextStyle(sep, encoding)
    written = TextStyle(formats[1].sep or sep)
    return Source(source, formats[0], read), Target(target, formats[1], written)


def target_of(name: str, *, given: str | None = None) -> Target:
    """Return where to write what was not read from a file."""
    return places(name, name, given=given, sep=None, encoding=None)[1]


def _formats(source: str, target: str, given: str | None) -> tuple[Format, Format]:
    read = None if source == STREAM else format_of(Path(source), reading=True)
    written = None if target == STREAM else format_of(Path(target), reading=False)
    if (
        given is not None
        and read is not None
        and written is not None
        and {read.name, written.name} != {given}
    ):
        raise ValueError(f"--format {given}: the names of both files say their formats; leave it out")
    return _format(source, read, given, written), _format(target, written, given, read)


def _format(name: str, own: Format | None, given: str | None, other: Format | None) -> Format:
    """Return the format that a name says, else that of `--format`, else, for a stream, that of the other file."""
    chosen = own or FORMATS.get(given or "") or (other if name == STREAM else None)
    if chosen is None:
        if Path(name).is_dir():
            raise ValueError(f"{name} is a folder; name a file in it")
        what = "the format of - is open" if name == STREAM else f"the suffix of {name} says no format"
        raise ValueError(f"{what}: pass --format csv, tsv, jsonl or parquet")
    return chosen
