"""A file is written completely or not at all: a new one beside it replaces it when all is on the disk."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

FilePath: TypeAlias = str | os.PathLike[str]


def is_stream(path: FilePath) -> bool:
    """Return whether a path is that of a pipe or a device, which can be written to and not replaced."""
    target = Path(path)
    return target.exists() and not target.is_file() and not target.is_dir()


def check_writable(path: FilePath, caller: str) -> None:
    """Refuse a path that cannot be written, before there is something to write."""
    target = Path(os.path.realpath(Path(path).expanduser()))
    if target.is_dir():
        raise IsADirectoryError(f"{caller}: {str(target)!r} is a folder; name a file in it")
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"{caller}: path is in {str(target.parent)!r}, which is no folder; create it first"
        )
    for place in (target, target.parent):  # replacing a file would ignore its own permission
        if place.exists() and not is_stream(target) and not os.access(place, os.W_OK):
            raise PermissionError(f"{caller}: {str(place)!r} is write-protected")


@contextmanager
def replacement(path: FilePath, caller: str) -> Iterator[IO[bytes]]:
    """Open a new file of bytes that replaces the one at this path when it is complete."""
    target = Path(os.path.realpath(Path(path).expanduser()))
    check_writable(target, caller)
    if is_stream(target):
        with target.open("wb") as file:
            yield file
        return
    with _replaced_by(target.with_name(f".{secrets.token_hex(8)}.llmframe-tmp"), target) as file:
        yield file


@contextmanager
def part_file(path: FilePath, caller: str) -> Iterator[IO[bytes]]:
    """Do so with a file whose name says what it is: one that a killed process has left is replaced."""
    target = Path(os.path.realpath(Path(path).expanduser()))
    check_writable(target, caller)
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    with _replaced_by(part, target) as file:
        yield file


@contextmanager
def _replaced_by(new: Path, target: Path) -> Iterator[IO[bytes]]:
    own = None
    try:
        with _created(new) as file:
            own = os.fstat(file.fileno())
            yield file
        _check_own(new, own)
        with new.open("rb+") as file:
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, new)
        new.replace(target)
    except BaseException:
        if own is not None and _is_own(new, own):
            new.unlink()
        raise


def _is_own(path: Path, own: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), own)
    except FileNotFoundError:
        return False


def _check_own(path: Path, own: os.stat_result) -> None:
    if not _is_own(path, own):
        raise FileExistsError(f"another call writes the same file: {str(path)!r} is no longer this one's")


def _created(path: Path) -> IO[bytes]:
    # A descriptor has no name: gzip would keep the temporary name in its header.
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return open(os.open(path, flags, 0o666), "wb+")  # noqa: PTH123
