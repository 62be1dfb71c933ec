"""The verbs: their arguments, their requests, the kind of their answers, and how they write them back.

`complete`, `extract`, `classify` and `ask` work on a frame, a Series or a list, all but `ask` also on a file, by chunks where it is large; `batches`, `collect` and `cancel` concern batches and no column.
"""

from llmframe._verbs.batches import batches, cancel, collect
from llmframe._verbs.calls import awaited, run_or_return
from llmframe._verbs.complete import complete_frame, complete_list, complete_series
from llmframe._verbs.extract import extract_frame, extract_list, extract_series
from llmframe._verbs.file_chunks import enrich, enrich_file
from llmframe._verbs.files import Enriched, FileCall, check_target, enrich_table, survey
from llmframe._verbs.questions import (
    ask_frame,
    ask_list,
    ask_series,
    classify_frame,
    classify_list,
    classify_series,
)

__all__ = [
    "Enriched",
    "FileCall",
    "ask_frame",
    "ask_list",
    "ask_series",
    "awaited",
    "batches",
    "cancel",
    "check_target",
    "classify_frame",
    "classify_list",
    "classify_series",
    "collect",
    "complete_frame",
    "complete_list",
    "complete_series",
    "enrich",
    "enrich_file",
    "enrich_table",
    "extract_frame",
    "extract_list",
    "extract_series",
    "run_or_return",
    "survey",
]
