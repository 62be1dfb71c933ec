"""The verbs: their arguments, their requests, the kind of their answers, and how they write them back.

`complete`, `extract`, `classify` and `ask` work on a frame, a Series or a list; `batches`, `collect` and `cancel` concern batches and no column.
"""

from llmframe._verbs.arguments import FreshSince
from llmframe._verbs.batches import batches, cancel, collect
from llmframe._verbs.calls import FrameCall, SeriesCall, awaited, run_or_return, without_rows
from llmframe._verbs.complete import complete_frame, complete_list, complete_series
from llmframe._verbs.extract import extract_frame, extract_list, extract_series
from llmframe._verbs.questions import (
    ask_frame,
    ask_list,
    ask_series,
    classify_frame,
    classify_list,
    classify_series,
)

__all__ = [
    "FrameCall",
    "FreshSince",
    "SeriesCall",
    "ask_frame",
    "ask_list",
    "ask_series",
    "awaited",
    "batches",
    "cancel",
    "classify_frame",
    "classify_list",
    "classify_series",
    "collect",
    "complete_frame",
    "complete_list",
    "complete_series",
    "extract_frame",
    "extract_list",
    "extract_series",
    "run_or_return",
    "without_rows",
]
