"""The API: accounts, endpoints, two ways to send a request, and files and batches over HTTP.

Errors are translated here, once, into a `RequestFault`; other rooms decide whether to retry.
"""

from llmframe._api.account import Account
from llmframe._api.batch_api import (
    COLUMN_KEY,
    PART_KEY,
    RECIPE_KEY,
    BatchApi,
    NoAccessError,
    NotFoundError,
    find_batch,
)
from llmframe._api.batch_limits import BatchRefusal, BatchSize, batch_refusal
from llmframe._api.endpoints import CHAT_COMPLETIONS, DECISIONS
from llmframe._api.faults import status_fault, unreadable_fault
from llmframe._api.http_client import HttpTransport
from llmframe._api.responses import Refused, Reply, Transport
from llmframe._api.sdk_client import SdkTransport, connect, list_models
from llmframe._api.sdk_http import Client

__all__ = [
    "CHAT_COMPLETIONS",
    "COLUMN_KEY",
    "DECISIONS",
    "PART_KEY",
    "RECIPE_KEY",
    "Account",
    "BatchApi",
    "BatchRefusal",
    "BatchSize",
    "Client",
    "HttpTransport",
    "NoAccessError",
    "NotFoundError",
    "Refused",
    "Reply",
    "SdkTransport",
    "Transport",
    "batch_refusal",
    "connect",
    "find_batch",
    "list_models",
    "status_fault",
    "unreadable_fault",
]
