"""What a command prints: results to stdout, and all else, in the command line's words, to stderr; and how it ends."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmframe._loop import encodable, wait_until_shown
from llmframe.cli.words import in_command_line_words

if TYPE_CHECKING:
    from collections.abc import Iterator

DONE, ROWS_FAILED, UNUSABLE, STOPPED, INTERRUPTED = 0, 1, 2, 3, 130
"""The exit codes."""


def show(text: str) -> None:
    """Print what a command is for; a reader that has gone does not want it."""
    with suppress(BrokenPipeError):
        print(encodable(text, sys.stdout), flush=True)


def tell(text: str) -> None:
    """Print about what is done: it stays done, whatever becomes of stdout."""
    with suppress(Exception):  # of whatever stands in for stdout
        show(text)


def note(text: str) -> None:
    """Print a line beside the results."""
    from llmframe._run import say  # noqa: PLC0415 (`--help` does not need it)

    say(f"llmframe: {in_command_line_words(text)}")
    wait_until_shown()


def print_error(message: str, code: int) -> int:
    """Print an error and return the command's exit code."""
    note(message)
    return code


@contextmanager
def own_words() -> Iterator[None]:
    """Say what the library warns of and writes to stderr in the command line's words."""
    stream = sys.stderr
    if stream is None:  # under pythonw
        yield
        return
    sys.stderr = _Reworded(stream)
    try:
        with warnings.catch_warnings(record=True) as caught:
            yield
    finally:
        sys.stderr = stream
        for warning in caught:
            note(str(warning.message))


class _Reworded:
    """A stream whose texts are reworded; in all else it is the stream, which tqdm and `isinstance` look at."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> Any:
        return self._stream.write(in_command_line_words(text))


def let_go(stream: Any) -> None:
    """Drop what cannot be written, which Python would try again as it exits, and then exit with status 120."""
    try:
        if stream is not None:
            stream.flush()
    except Exception:  # noqa: BLE001 (of whatever stands in for the stream)
        with suppress(Exception), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
