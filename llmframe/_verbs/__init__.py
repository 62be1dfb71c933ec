"""The verbs: their arguments resolved, what each asks and of which kind its answers are, and how it writes back.

`complete` over a frame, a Series or a list; and what concerns batches and no column: `batches`, `collect`, `cancel`.
"""

from llmframe._verbs.batches import batches, cancel, collect
from llmframe._verbs.complete import (
    FrameCompletion,
    ListCompletion,
    SeriesCompletion,
    awaited,
    run_or_return,
)

__all__ = [
    "FrameCompletion",
    "ListCompletion",
    "SeriesCompletion",
    "awaited",
    "batches",
    "cancel",
    "collect",
    "run_or_return",
]
