"""Files and batches: storing, validating and working through them by a clock that a test can advance."""

from llmframe.testing._batch.service import RowAnswer
from llmframe.testing._batch.storage import Storage

__all__ = [
    "RowAnswer",
    "Storage",
]
