"""The files of a call: one that is read, and one that is written; the standard streams are `-`."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from llmframe._files.replacement import check_writable, is_stream, part_file
from llmframe._files.tables import WHOLE, ChunkSize, Table, TextStyle

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from llmframe._files.formats import Format
    from llmframe._files.tables import TableWriter

STREAM = "-"
"""stdin as IN, stdout as OUT."""


def check_new(name: str, *, force: bool) -> None:
    """Refuse a file that is there, unless it is to be replaced, and one that cannot be written."""
    if Path(name).is_file() and not force:
        raise ValueError(f"{name} is already there; name another file, or pass force=True to replace it")
    check_writable(name, "OUT")


@dataclass(frozen=True)
class Source:
    """What is read."""

    name: str
    format: Format
    style: TextStyle

    @property
    def is_stream(self) -> bool:
        """Whether it can be read only once."""
        return self.name == STREAM or is_stream(self.name)

    def read(self) -> Table:
        """Read the whole file."""
        (table,) = self.chunks(WHOLE)
        return table

    def chunks(self, size: ChunkSize) -> Generator[Table, None, None]:
        """Read the file chunk by chunk; there is at least one."""
        with self._opened() as file:
            yield from self.format.chunks(file, self.style, size)

    def stated_rows(self) -> int | None:
        """Return the number of rows where the file states it."""
        if self.format.stated_rows is None:
            return None
        with self._opened() as file:
            return self.format.stated_rows(file)

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        """Open the file; what is wrong with it is said with its name."""
        try:
            if self.name == STREAM:
                yield sys.stdin.buffer
            else:
                with Path(self.name).open("rb") as file:
                    yield file
        except FileNotFoundError:
            raise ValueError(f"there is no file {self.name}") from None
        except IsADirectoryError:
            raise ValueError(f"{self.name} is a folder; name a file in it") from None
        except ValueError as error:
            raise ValueError(f"{'stdin' if self.name == STREAM else self.name}: {error}") from error


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

    @property
    def state(self) -> tuple[str, int, int] | None:
        """What tells a file that is there from any other, and from itself after a change; `None`: there is none."""
        if self.partial is None or not Path(self.name).is_file():
            return None
        found = Path(self.name).stat()
        return os.path.realpath(self.name), found.st_size, found.st_mtime_ns

    def write(self, table: Table) -> None:
        """Write one table as the whole file."""
        with self.opened() as writer:
            writer.add(table)

    @contextmanager
    def opened(self) -> Iterator[PartWriter]:
        """Write the file table by table: what is complete at the end of the block becomes it, with an error nothing does."""
        # A mark at the start would be part of the first name for the tools that read a pipe.
        style = replace(self.style, encoding="utf-8") if self.name == STREAM else self.style
        with self._part() as file:
            writer = PartWriter(self, file, self.format.writer(file, style), style)
            try:
                yield writer
            except BaseException:
                with suppress(Exception):  # the file is left out, whatever its writer says
                    writer.close()
                raise
            writer.close()

    @contextmanager
    def _part(self) -> Iterator[IO[bytes]]:
        if self.partial is not None:
            with part_file(self.name, "OUT") as file:
                yield file
            return
        check_writable(self.name, "OUT")
        with tempfile.TemporaryFile() as file:
            yield file
            file.seek(0)
            if self.name != STREAM:
                with Path(self.name).open("wb") as stream:
                    shutil.copyfileobj(file, stream)
                return
            with suppress(BrokenPipeError):
                shutil.copyfileobj(file, sys.stdout.buffer)
                sys.stdout.buffer.flush()

    def separated_as(self, sep: str | None) -> Target:
        """Return the target with the separator of the source, where its own format leaves that open."""
        if self.style.sep is None and sep is not None:
            return replace(self, style=replace(self.style, sep=sep))
        return self

    def remove_partial(self) -> None:
        if self.partial is not None:
            Path(self.partial.name).unlink(missing_ok=True)


class PartWriter:
    """Writes a target's new file; what is in it so far can be read."""

    def __init__(self, target: Target, file: IO[bytes], writer: TableWriter, style: TextStyle) -> None:
        self._target = target
        self._file = file
        self._writer = writer
        self._style = style
        self._open = True

    def add(self, table: Table) -> None:
        self._writer.add(table)

    def close(self) -> None:
        """Write the end of the file; nothing can be added any more."""
        if self._open:
            self._open = False
            self._writer.close()
            self._file.flush()

    def written(self, size: ChunkSize) -> Iterator[Table]:
        """Close the file and read what was written."""
        self.close()
        self._file.seek(0)
        sep = self._style.sep or self._target.format.sep
        if sep is None and self._target.format.is_delimited:
            sep = ","
        return self._target.format.chunks(self._file, replace(self._style, sep=sep), size)
