"""The batch lane: requests are sent in parts through the OpenAI Batch API, and collected when their batches have ended.

A `Collector` finds and reads batches, including those of earlier runs, for both lanes; `reattach` and `collect_before_live` do
so before a lane begins.
"""

from llmframe._batch.collection import UNREADABLE, Collector
from llmframe._batch.lane import MOST_ROUNDS, BatchLane
from llmframe._batch.lines import BatchResult
from llmframe._batch.reattach import collect_before_live, in_open_batch, reattach
from llmframe._batch.submission import SubmissionContext

__all__ = [
    "MOST_ROUNDS",
    "UNREADABLE",
    "BatchLane",
    "BatchResult",
    "Collector",
    "SubmissionContext",
    "collect_before_live",
    "in_open_batch",
    "reattach",
]
