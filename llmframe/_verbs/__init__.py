"""The verbs: their arguments, their requests, the kind of their answers, and how they write them back.

`complete` and `extract` work on a frame, a Series or a list; `batches`, `collect` and `cancel` concern batches and no column.
"""

from llmframe._verbs.batches import batches, cancel, collect
from llmframe._verbs.calls import awaited, run_or_return
from llmframe._verbs.complete import complete_frame, complete_list, complete_series
from llmframe._verbs.extract import extract_frame, extract_list, extract_series

__all__ = [
    "awaited",
    "batches",
    "cancel",
    "collect",
    "complete_frame",
    "complete_list",
    "complete_series",
    "extract_frame",
    "extract_list",
    "extract_series",
    "run_or_return",
]
