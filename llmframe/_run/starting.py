"""How runs are started, on which loop, and what becomes of them when the process ends."""

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
"""Where a hosted notebook keeps files."""


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


def start(run: Run, *, background: bool = False, awaiting: bool = False) -> Run:
    """Start a run where its client belongs: the private loop, or the caller's own."""
    _warn_of_forgetting(run)
    here = running_loop()
    own = run._settings.account.asynchronous or run._settings.nested
    if awaiting and own:
        task = run._begin(begin_here, shared_loop=True)
    elif here is not None and own and not background:
        task = run._begin(NestedTask, shared_loop=True)
    else:
        task = run._begin(submit, shared_loop=False)
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


def run_to_end(run: Run) -> Any:
    """Start a run, wait for it and write it back, without a gap through which Ctrl-C could slip."""
    refuse_on_private_loop()
    with uninterrupted() as interrupts:
        result = written(start(run), None, interrupts)
    return concluded(run, result)


async def await_run(run: Run) -> Any:
    """Await a started run on the caller's loop and write it back; cancelling the caller ends it as Ctrl-C does."""
    try:
        if run._task is not None:
            await run._task.wait_async()
    finally:
        with uninterrupted():
            result = run._write_once()
    return concluded(run, result)


@atexit.register
def _end_all() -> None:
    """Cancel what is in flight when the process ends, and write down what has come."""
    deadline = time.monotonic() + _EXIT_SECONDS
    for run in list(_active):
        if run._task is not None:
            run._task.cancel()
    for run in list(_active):
        with suppress(TimeoutError, asyncio.CancelledError, Exception):
            run._wait(max(0.0, deadline - time.monotonic()))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_active.clear)
