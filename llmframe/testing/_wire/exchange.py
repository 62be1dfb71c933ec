"""What arrives at the server and what it sends, apart from the connection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

CHAT = "/v1/chat/completions"
FILES = "/v1/files"
BATCHES = "/v1/batches"


@dataclass(frozen=True, slots=True)
class Upload:
    """A form with a file; `content` is None where the file was larger than the server takes."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    content: bytes | None = b""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it arrived; `upload` is the form of one that stores a file, if it is one."""

    method: str
    path: str
    authorization: str = ""
    content: bytes = b""
    query: Mapping[str, str] = field(default_factory=dict)
    upload: Upload | None = None

    @property
    def key(self) -> str:
        """The API key, empty where there is none."""
        scheme, _, key = self.authorization.partition(" ")
        return key.strip() if scheme.lower() == "bearer" else ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What to send and how: after `delay` seconds, by a `delivery` that may be a transport fault.

    A `bill` (digest and tokens) falls due when the delay is over.
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    delivery: str = "whole"
    seconds: float | None = None
    bill: tuple[str, int] | None = None


def json_reply(value: Any) -> Reply:
    return Reply(200, orjson.dumps(value))
