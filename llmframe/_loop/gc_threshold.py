"""Python's garbage collector runs less often while rows are sent.

With 1,000 requests in flight it would scan all live objects about fifty times a second and free nothing: reference
counting frees the objects of an answer.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_RAISED = 50_000
"""A collection begins when this many more objects were created than freed; the default is 700 to 2,000.

Without it a run takes a tenth more CPU: 142 instead of 128 us a row, 1,000 in flight (`tests/bench/cpu.py`).
"""

_found: list[int] = []
"""The threshold before the first open block, once per open block. All runs use one thread: no lock is needed."""


@contextmanager
def raised_gc_threshold() -> Iterator[None]:
    """Raise the threshold for a block; after the last open block it is what the first one found."""
    found, *rest = gc.get_threshold()
    _found.append(_found[0] if _found else found)
    if 0 < found < _RAISED:
        gc.set_threshold(_RAISED, *rest)
    try:
        yield
    finally:
        before = _found.pop()
        if not _found and gc.get_threshold()[0] == _RAISED:  # otherwise it was changed meanwhile
            gc.set_threshold(before, *rest)
