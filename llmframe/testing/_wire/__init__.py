"""What crosses the wire: requests, responses, errors in the API's shapes, and the ledger that counts them."""

from llmframe.testing._wire import errors
from llmframe.testing._wire.errors import ErrorResponse, Invalid, Refused
from llmframe.testing._wire.exchange import BATCHES, CHAT, FILES, Request, Response, Upload, json_response
from llmframe.testing._wire.ledger import Ledger

__all__ = [
    "BATCHES",
    "CHAT",
    "FILES",
    "ErrorResponse",
    "Invalid",
    "Ledger",
    "Refused",
    "Request",
    "Response",
    "Upload",
    "errors",
    "json_response",
]
