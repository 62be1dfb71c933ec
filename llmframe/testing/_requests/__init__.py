"""The checks of all requests, by OpenAI's published document and with the API's own errors."""

from llmframe.testing._requests.batches import (
    ENDPOINTS,
    check_batch,
    check_batches_query,
    check_file,
    check_files_query,
    check_line,
    check_line_body,
    integer,
)
from llmframe.testing._requests.completions import check_completion, parse
from llmframe.testing._requests.decisions import check_decision
from llmframe.testing._requests.prompt_cache import takes_cache_options

__all__ = [
    "ENDPOINTS",
    "check_batch",
    "check_batches_query",
    "check_completion",
    "check_decision",
    "check_file",
    "check_files_query",
    "check_line",
    "check_line_body",
    "integer",
    "parse",
    "takes_cache_options",
]
