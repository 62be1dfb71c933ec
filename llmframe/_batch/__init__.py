"""The batch lane: requests are sent in parts through the OpenAI Batch API, and collected when their batches have ended.

A `Collector` finds and reads batches, including those of earlier runs, for both lanes; `reattach` and `take_back` do
so before a lane begins.
"""

from llmframe._batch.collection import Collector
from llmframe._batch.lane import BatchLane
from llmframe._batch.lines import BatchResult
from llmframe._batch.reattach import in_open_batch, reattach, take_back
from llmframe._batch.submission import SubmissionContext

__all__ = [
    "BatchLane",
    "BatchResult",
    "Collector",
    "SubmissionContext",
    "in_open_batch",
    "reattach",
    "take_back",
]
