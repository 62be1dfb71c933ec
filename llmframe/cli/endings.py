"""How a command ends: its exit codes, and the line that says what was wrong."""

from __future__ import annotations

from llmframe.cli.output import note

DONE, ROWS_FAILED, UNUSABLE, STOPPED, INTERRUPTED = 0, 1, 2, 3, 130


def print_error(message: str, code: int) -> int:
    """Print an error and return the command's exit code."""
    note(message)
    return code
