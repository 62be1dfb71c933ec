"""How runs are started, on which loop, and how they end with the process."""

from __future__ import annotations

import asyncio
import atexit
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from llmframe._journal import forgetful_machine
from llmframe._loop import (
    NestedTask,
    begin_here,
    refuse_on_private_loop,
    running_loop,
    submit,
    uninterrupted,
)
from llmframe._run.progress_bar import say
from llmframe._run.run import concluded, written

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmframe._run.results import Results
    from llmframe._run.run import Run

_EXIT_SECONDS = 5.0

_active: set[Run] = set()
_last: list[Run] = []
_warned_of_forgetting: list[str] = []
_LASTING = {
    "Colab": "'/content/drive/MyDrive/llmframe.sqlite' (with the drive mounted)",
    "Kaggle": "'/kaggle/working/llmframe.sqlite' (saved with the notebook's output)",
    "Binder": "'llmframe.sqlite' (and download that file before you leave)",
}
"""Paths that a hosted notebook service keeps."""


def last_run() -> Run | None:
    """Return the run of the newest call in this process, or `None` before the first.

    Examples
    --------
    >>> import llmframe
    >>> answers = llmframe.complete([], model="gpt-6-luna", journal=False, progress=False)
    >>> llmframe.last_run().rows
    0
    """
    return _last[-1] if _last else None


def set_last_run(run: Run) -> None:
    """Let a run be the newest call's."""
    _last[:] = [run]


def start(run: Run, *, background: bool = False, awaiting: bool = False) -> Run:
    """Start a run on the loop of its client: the private loop, or the caller's own."""
    _warn_of_forgetting(run)
    current_loop = running_loop()
    needs_own_loop = run._settings.account.asynchronous or run._settings.nested
    if awaiting and needs_own_loop:
        task = run._begin(begin_here)
    elif current_loop is not None and needs_own_loop and not background:
        task = run._begin(NestedTask)
    else:
        task = run._begin(submit)
    _active.add(run)
    task.future.add_done_callback(lambda _: _active.discard(run))
    _last[:] = [run]
    return run


def _warn_of_forgetting(run: Run) -> None:
    place = forgetful_machine()
    if (
        place is None
        or run._settings.journal is not True
        or not run._settings.progress
        or _warned_of_forgetting
    ):
        return
    _warned_of_forgetting.append(place)
    say(
        f"llmframe: {place} forgets this machine's disk; to keep paid answers, move the journal: "
        f"llmframe.options.journal = {_LASTING[place]}"
    )


def run_to_end(run: Run, *, conclude: Callable[[Run, Any], Any] = concluded) -> Any:
    """Start a run, wait for it and write it back; Ctrl-C is held back throughout."""
    refuse_on_private_loop()
    with uninterrupted() as interrupts:
        result = written(start(run), None, interrupts)
    return conclude(run, result)


async def await_run(run: Run, *, conclude: Callable[[Run, Any], Any] = concluded) -> Any:
    """Await a started run on the caller's loop and write it back; cancelling the caller ends it as Ctrl-C does."""
    try:
        if run._task is not None:
            await run._task.wait_async()
    finally:
        with uninterrupted():
            result = run._write_once()
    return conclude(run, result)


def look_up(run: Run) -> Results:
    """Carry out a run that sends nothing and return what it found; it writes and says nothing, and is not the last run."""
    refuse_on_private_loop()
    with uninterrupted() as interrupts:
        run._begin(submit)
        run._wait(None, interrupts)
    if run._error is not None:
        raise run._error
    return run._results


@atexit.register
def _end_all() -> None:
    """Cancel the active runs when the process ends, and commit the answers that have arrived."""
    deadline = time.monotonic() + _EXIT_SECONDS
    for run in list(_active):
        if run._task is not None:
            run._task.cancel()
    for run in list(_active):
        with suppress(TimeoutError, asyncio.CancelledError, Exception):
            run._wait(max(0.0, deadline - time.monotonic()))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_active.clear)
