"""Requests, responses, errors in the API's format, and the ledger that counts them."""

from llmframe.testing._wire import errors
from llmframe.testing._wire.bills import Bill
from llmframe.testing._wire.errors import ErrorResponse, Invalid, RefusedRequest
from llmframe.testing._wire.exchange import (
    BATCHES,
    DECISIONS,
    FILES,
    HttpRequest,
    HttpResponse,
    Upload,
    json_bytes,
    json_response,
)
from llmframe.testing._wire.ledger import Ledger

__all__ = [
    "BATCHES",
    "DECISIONS",
    "FILES",
    "Bill",
    "ErrorResponse",
    "HttpRequest",
    "HttpResponse",
    "Invalid",
    "Ledger",
    "RefusedRequest",
    "Upload",
    "errors",
    "json_bytes",
    "json_response",
]
