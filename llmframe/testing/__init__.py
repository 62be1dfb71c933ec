"""An OpenAI-compatible server on this machine, for tests, benchmarks and free experiments."""

from llmframe.testing._chat import made_up_answer, request_digest
from llmframe.testing._reviews import reviews
from llmframe.testing._server import LocalServer, serve
from llmframe.testing._settings import Batches, Fault, Limits, Reply
from llmframe.testing._wire import Ledger

__all__ = [
    "Batches",
    "Fault",
    "Ledger",
    "Limits",
    "LocalServer",
    "Reply",
    "made_up_answer",
    "request_digest",
    "reviews",
    "serve",
]
