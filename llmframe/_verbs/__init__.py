"""The verbs: their arguments, their requests, the kind of their answers, and how they write them back.

`complete` works on a frame, a Series or a list; `batches`, `collect` and `cancel` concern batches and no column.
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
