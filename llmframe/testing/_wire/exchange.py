"""Requests and responses of the server, without their connection."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmframe.testing._wire.bills import Bill

FILES = "/v1/files"
BATCHES = "/v1/batches"
DECISIONS = "/v1/decisions"


@dataclass(frozen=True, slots=True)
class Upload:
    """The form of an upload; `content` is None if the file was larger than the server accepts."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    content: bytes | None = b""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as it arrived; `upload` is its form if it uploads a file."""

    method: str
    path: str
    authorization: str = ""
    content: bytes = b""
    query: Mapping[str, str] = field(default_factory=dict)
    upload: Upload | None = None
    api_key: str = ""
    """Azure's header for the key."""

    @property
    def key(self) -> str:
        """The API key; empty if the request has none."""
        scheme, _, key = self.authorization.partition(" ")
        return key.strip() if scheme.lower() == "bearer" else self.api_key.strip()


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response and how it is sent: after `delay` seconds, by a `delivery` that may be a transport fault.

    The ledger adds the `bill` when the delay is over.
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    delivery: str = "whole"
    seconds: float | None = None
    bill: Bill | None = None


def json_response(value: Any) -> HttpResponse:
    return HttpResponse(200, orjson.dumps(value))


def json_bytes(value: Any) -> bytes:
    """Write any JSON in one line, also what orjson cannot hold: NaN, and integers of more than 64 bits."""
    return json.dumps(value, separators=(",", ":")).encode()
