"""Files and batches: uploads, input files, batches and their status, by a clock that a test can advance."""

from llmframe.testing._batch.service import RowResponse
from llmframe.testing._batch.storage import Storage

__all__ = [
    "RowResponse",
    "Storage",
]
