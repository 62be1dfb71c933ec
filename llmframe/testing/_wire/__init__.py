"""What crosses the wire: requests, responses and errors in the API's shapes, and the ledger that counts them."""

from llmframe.testing._wire import errors
from llmframe.testing._wire.errors import ErrorAnswer, Invalid, Refused
from llmframe.testing._wire.exchange import BATCHES, CHAT, FILES, Asked, Reply, Upload, json_reply
from llmframe.testing._wire.ledger import Ledger

__all__ = [
    "BATCHES",
    "CHAT",
    "FILES",
    "Asked",
    "ErrorAnswer",
    "Invalid",
    "Ledger",
    "Refused",
    "Reply",
    "Upload",
    "errors",
    "json_reply",
]
