"""An OpenAI-compatible server on this machine, for tests, benchmarks and trying things out for free."""

from llmframe.testing._answers import made_up_answer, request_digest
from llmframe.testing._batches import Batches
from llmframe.testing._faults import Fault
from llmframe.testing._ledger import Ledger
from llmframe.testing._limits import Limits
from llmframe.testing._reviews import reviews
from llmframe.testing._serve import serve
from llmframe.testing._server import LocalServer

__all__ = [
    "Batches",
    "Fault",
    "Ledger",
    "Limits",
    "LocalServer",
    "made_up_answer",
    "request_digest",
    "reviews",
    "serve",
]
