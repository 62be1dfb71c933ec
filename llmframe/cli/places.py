"""Where a command reads and writes: files by their names' formats, or the standard streams as `-`."""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from llmframe._files import (
    FORMATS,
    SEPARATORS,
    Format,
    Table,
    TextStyle,
    check_encoding,
    check_writable,
    format_of,
    is_stream,
    replacement,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

STREAM = "-"
"""stdin as IN, stdout as OUT."""

_SEPARATORS = {r"\t": "\t", "tab": "\t"}


def separator(text: str) -> str:
    """Read `--sep`."""
    sep = _SEPARATORS.get(text, text)
    if sep not in SEPARATORS:
        raise ValueError(f"{text!r} is no separator; write ',' ';' '|' or '\\t'")
    return sep


def check_new(name: str, *, force: bool) -> None:
    """Refuse a file that is there, unless it is to be replaced, and one that cannot be written."""
    if Path(name).is_file() and not force:
        raise ValueError(f"{name} is already there; name another file, or pass --force to replace it")
    check_writable(name, "OUT")


@dataclass(frozen=True)
class Source:
    """What is read."""

    name: str
    format: Format
    style: TextStyle

    def read(self) -> Table:
        try:
            with self._opened() as file:
                return self.format.read(file, self.style)
        except FileNotFoundError:
            raise ValueError(f"there is no file {self.name}") from None
        except IsADirectoryError:
            raise ValueError(f"{self.name} is a folder; name a file in it") from None
        except ValueError as error:
            raise ValueError(f"{'stdin' if self.name == STREAM else self.name}: {error}") from error

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        if self.name == STREAM:
            yield sys.stdin.buffer
        else:
            with Path(self.name).open("rb") as file:
                yield file


@dataclass(frozen=True)
class Target:
    """What is written: the whole file, or none of it."""

    name: str
    format: Format
    style: TextStyle

    @property
    def partial(self) -> Target | None:
        """Where the finished rows go when a run stops early; `None` for a pipe, which gets all rows or none."""
        if self.name == STREAM or is_stream(self.name):
            return None
        return replace(self, name=f"{self.name}.partial")

    def check(self, *, force: bool) -> None:
        """Refuse what cannot be written, before anything is sent."""
        self.format.check()
        if self.name != STREAM:
            check_new(self.name, force=force)

    def write(self, table: Table) -> None:
        if self.name != STREAM:
            with replacement(self.name, "OUT") as file:
                self.format.write(table, file, self.style)
            return
        # A mark at the start would be part of the first name for the tools that read a pipe.
        with suppress(BrokenPipeError):
            self.format.write(table, sys.stdout.buffer, replace(self.style, encoding="utf-8"))
            sys.stdout.buffer.flush()

    def separated_as(self, sep: str | None) -> Target:
        """Return the target with the separator of the source, where its own format leaves that open."""
        if self.style.sep is None and sep is not None:
            return replace(self, style=replace(self.style, sep=sep))
        return self

    def remove_partial(self) -> None:
        if self.partial is not None:
            Path(self.partial.name).unlink(missing_ok=True)


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
