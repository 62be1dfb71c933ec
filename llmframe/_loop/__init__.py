"""Where async work runs, and how a caller waits for it.

One private daemon thread runs an event loop for every call, so that a notebook cell, a script, a web handler and a
thread all work alike and none of the user's objects is patched. Work that must share the caller's own running loop
(because the user's client belongs to it) is nested there by nest-asyncio2; it patches that loop's class permanently
and is used only then. Blocking calls run on a thread of their own, what the user sees is written by another, and
forks are supported.
"""

from llmframe._loop import notebook
from llmframe._loop.display import encodable, log, log_next_failure, show, until_shown, wait_until_shown
from llmframe._loop.gc_threshold import raised_gc_threshold
from llmframe._loop.interrupts import Interrupts, uninterrupted
from llmframe._loop.notebook import ShortTraceback
from llmframe._loop.private_loop import refuse_on_private_loop, submit
from llmframe._loop.tasks import (
    UNWIND_SECONDS,
    LoopTask,
    NestedTask,
    begin_here,
    beside,
    running_loop,
    through,
)
from llmframe._loop.worker import Worker

__all__ = [
    "UNWIND_SECONDS",
    "Interrupts",
    "LoopTask",
    "NestedTask",
    "ShortTraceback",
    "Worker",
    "begin_here",
    "beside",
    "encodable",
    "log",
    "log_next_failure",
    "notebook",
    "raised_gc_threshold",
    "refuse_on_private_loop",
    "running_loop",
    "show",
    "submit",
    "through",
    "uninterrupted",
    "until_shown",
    "wait_until_shown",
]
