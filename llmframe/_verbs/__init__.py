"""The verbs: their arguments, their requests, the kind of their answers, and how they write them back.

`complete`, `extract`, `classify` and `ask` work on a frame, a Series or a list, all but `ask` also on a file, by chunks where it is large; `stale` and
`refresh` on columns that these wrote; `batches`, `collect` and `cancel` concern batches and no column, and `spend` the journal.
"""

from llmframe._verbs.arguments import FreshSince
from llmframe._verbs.batches import batches, cancel, collect
from llmframe._verbs.calls import FrameCall, SeriesCall, awaited, run_or_return, without_rows
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
from llmframe._verbs.refreshing import arefreshed, prepared_refresh, refreshed, stale_rows
from llmframe._verbs.spending import spend

__all__ = [
    "Enriched",
    "FileCall",
    "FrameCall",
    "FreshSince",
    "SeriesCall",
    "arefreshed",
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
    "prepared_refresh",
    "refreshed",
    "run_or_return",
    "spend",
    "stale_rows",
    "survey",
    "without_rows",
]
