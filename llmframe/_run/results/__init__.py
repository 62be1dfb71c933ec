"""The results of a run so far: values and failures of its requests and rows, tokens and dollars; and who adds them."""

from llmframe._run.results.outcome_sink import CollectedResults, OutcomeSink
from llmframe._run.results.results import Results

__all__ = ["CollectedResults", "OutcomeSink", "Results"]
