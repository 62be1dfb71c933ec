"""The entry point: a command is parsed and executed, and its errors become exit codes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import llmframe
from llmframe.cli.output import INTERRUPTED, STOPPED, UNUSABLE, let_go, print_error
from llmframe.cli.parser import parse

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        0: every row has its answer; 1: rows failed, the others are written; 2: the command cannot be
        executed; 3: the run stopped early; 130: interrupted. After 3 and 130 the finished rows are in
        `OUT.partial`, and the same command continues.
    """
    try:
        return _execute(arguments)
    finally:
        for stream in (sys.stdout, sys.stderr):
            let_go(stream)


def _execute(arguments: Sequence[str] | None) -> int:
    parsed = parse(arguments)
    command: Callable[[argparse.Namespace], int] = parsed.command
    try:
        return command(parsed)
    except KeyboardInterrupt:
        kept = getattr(parsed, "journal", None) is not False
        way_on = "run the same command again to continue" if kept else "--no-journal kept no answer"
        return print_error(f"interrupted; {way_on}", INTERRUPTED)
    except llmframe.StoppedError as error:
        return print_error(str(error), STOPPED)
    except (llmframe.LLMFrameError, ImportError, KeyError, OSError, TypeError, ValueError) as error:
        return print_error(str(error.args[0] if isinstance(error, KeyError) else error), UNUSABLE)
