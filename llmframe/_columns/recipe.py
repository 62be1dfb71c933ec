"""What decides the answers: the part that all rows have in common, and each request's identity."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import orjson

from llmframe._addresses import SECRET_HEADERS
from llmframe._json import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmframe._values import Endpoint, Key

IDENTITY_VERSION = 1
"""Part of every identity; it changes only when the same request would get another hash."""

KEY_BYTES = 16

OUTPUT_BOUNDS = ("max_completion_tokens", "max_tokens")
"""The parameters that bound an answer's tokens: an answer that ended by itself serves any bound."""

_PARTS = b'"content":['
"""Within a text the quotation marks would be escaped."""

_NOT_IN_IDENTITY = frozenset(
    {"service_tier", "metadata", "user", "safety_identifier", "store", *OUTPUT_BOUNDS}
)


@dataclass(frozen=True)
class Recipe:
    """What decides the answers and is the same in every row.

    Parameters
    ----------
    server
        The normalised address (Azure: with its API version), or the server's name.
    endpoint
        Where the requests go, and how their bodies are written.
    params
        The API's parameters, merged with `extra_body`; JSON values.
    headers
        The call's `extra_headers`; those that carry a key are left out of the identity.
    version
        The user's own mark for new answers.
    draw
        The number of the draw, where several are asked for each answer.
    """

    verb: str
    server: str
    endpoint: Endpoint
    model: str
    params: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    version: str | None = None
    draw: int = 0

    @property
    def prefix(self) -> bytes:
        """The part of every identity that all rows have in common, as canonical JSON."""
        params = {
            name: canonical(value, sort=False)
            for name, value in sorted(self.params.items())
            if name not in _NOT_IN_IDENTITY and not name.startswith("prompt_cache_")
        }
        headers = sorted(
            (name.lower(), value)
            for name, value in self.headers.items()
            if name.lower() not in SECRET_HEADERS
        )
        decisive = [
            IDENTITY_VERSION,
            self.server,
            self.endpoint.path,
            self.model,
            params,
            headers,
            self.version,
        ]
        return orjson.dumps([*decisive, self.draw] if self.draw else decisive)

    @property
    def template(self) -> bytes:
        """The start of every request body, up to the row's content."""
        params = {name: canonical(value, sort=False) for name, value in self.params.items()}
        return self.endpoint.template(self.model, params)

    def describe(self) -> dict[str, Any]:
        """Return the recipe's description for the journal: no prompts, no headers, no nested values."""
        plain = {name: value for name, value in self.params.items() if isinstance(value, str | int | float)}
        return {
            "verb": self.verb,
            "server": self.server.partition("?")[0],
            "endpoint": self.endpoint.path,
            "model": self.model,
            "params": {
                name: value for name, value in plain.items() if name not in {"user", "safety_identifier"}
            },
            "version": self.version,
        }


def hashed(prefix: bytes) -> blake2b:
    """Hash the part that all rows have in common."""
    return blake2b(prefix + b"\n", digest_size=KEY_BYTES)


def identity(shared: blake2b, content: bytes, draw: int = 0) -> Key:
    """Hash what decides an answer; `draw` distinguishes equal requests.

    A message's null `content` counts as none: Arrow adds it to messages that have none. It is never the last key.
    Adjacent text parts count as one text, and breakpoints of the prompt cache as nothing.

    Examples
    --------
    >>> identity(hashed(b"[]"), b"[]").hex()
    '1dc909498904db1477bbd3ce1d821d1f'
    """
    if _PARTS in content:
        content = _with_joined_texts(content)
    digest = shared.copy()
    digest.update(content.replace(b'"content":null,', b""))
    if draw:
        digest.update(b"\n%d" % draw)
    return digest.digest()


def _with_joined_texts(messages: bytes) -> bytes:
    """Return messages (a JSON array) with adjacent text parts as one, a content of text alone as text, and no breakpoints."""
    read = orjson.loads(messages)
    for message in read:
        if isinstance(message.get("content"), list):
            message["content"] = _joined(message["content"])
    return orjson.dumps(read)


def _joined(parts: list[Any]) -> Any:
    joined: list[Any] = []
    for part in parts:
        if not isinstance(part, dict):
            return parts  # which the API refuses
        said = {name: value for name, value in part.items() if name != "prompt_cache_breakpoint"}
        if joined and _is_text(said) and _is_text(joined[-1]):
            said["text"] = joined.pop()["text"] + said["text"]
        joined.append(said)
    return joined[0]["text"] if len(joined) == 1 and _is_text(joined[0]) else joined


def _is_text(part: Mapping[str, Any]) -> bool:
    return part.keys() == {"text", "type"} and part["type"] == "text" and isinstance(part["text"], str)
