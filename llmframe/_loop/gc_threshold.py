"""Python's garbage collector looks less often while rows are under way.

With 1,000 requests in flight it would look through all live objects some fifty times a second and free
nothing (reference counting frees what an answer leaves behind).
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_RAISED = 50_000
"""Collections begin when so many more objects were made than freed; by default at 700 to 2,000."""

_found: list[int] = []
"""The threshold before the first of the blocks that are open, once for each. Runs share one thread, so no lock."""


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
        if not _found and gc.get_threshold()[0] == _RAISED:  # else somebody has chosen otherwise meanwhile
            gc.set_threshold(before, *rest)
