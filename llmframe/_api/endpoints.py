"""The endpoints of the API: paths, parameters, and how bodies are written and read."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson

from llmframe._values import Answer, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmframe._values import Key, LaneName

_TOO_MANY_TOKENS = 10**10
"""No answer costs this many tokens: a server that reports more reports impossible values."""


@dataclass(frozen=True)
class JsonEndpoint:
    """One endpoint, as a value; it implements the protocol `Endpoint`.

    Parameters
    ----------
    path
        The path in identities and in the lines of batches.
    content
        The member of a request's body with the row's content.
    answer
        The member that every body with an answer has.
    sdk_method
        Returns the SDK's method, whose signature lists the other members of a body.
    read_usage
        Reads a body's tokens.
    """

    path: str
    content: str
    answer: str
    sdk_method: Callable[[], Callable[..., Any]]
    read_usage: Callable[[Mapping[str, Any]], Usage]

    @property
    def route(self) -> str:
        return self.path.removeprefix("/v1")

    def parameters(self) -> frozenset[str]:
        return _parameters(self.sdk_method) - {self.content}

    def template(self, model: str, params: Mapping[str, Any]) -> bytes:
        return orjson.dumps({"model": model, **params})[:-1] + f',"{self.content}":'.encode()

    def body(self, template: bytes, content: bytes) -> bytes:
        return template + content + b"}"

    def read_charge(self, data: Mapping[str, Any]) -> int | None:
        usage = data.get("usage")
        return _tokens(usage.get("total_tokens")) or None if isinstance(usage, dict) else None

    def read_answer(self, key: Key, raw: bytes, data: Mapping[str, Any], lane: LaneName) -> Answer:
        tier, model = data.get("service_tier"), data.get("model")
        return Answer(
            key,
            raw,
            self.read_usage(data),
            lane,
            tier if isinstance(tier, str) else None,
            model if isinstance(model, str) else None,
        )


@cache
def _parameters(sdk_method: Callable[[], Callable[..., Any]]) -> frozenset[str]:
    names = frozenset(inspect.signature(sdk_method()).parameters)
    return names - {"self", "model", "extra_headers", "extra_query", "extra_body", "timeout"}


def _create_completion() -> Callable[..., Any]:
    from openai.resources.chat.completions import AsyncCompletions  # noqa: PLC0415 (it takes a second to import)

    return AsyncCompletions.create


def _completion_usage(data: Mapping[str, Any]) -> Usage:
    usage = data.get("usage")
    if not isinstance(usage, dict):
        return Usage()
    get = usage.get
    prompt, completion = get("prompt_tokens_details"), get("completion_tokens_details")
    cached = written = reasoning = 0
    if isinstance(prompt, dict):
        cached, written = _tokens(prompt.get("cached_tokens")), _tokens(prompt.get("cache_write_tokens"))
    if isinstance(completion, dict):
        reasoning = _tokens(completion.get("reasoning_tokens"))
    return Usage(_tokens(get("prompt_tokens")), _tokens(get("completion_tokens")), cached, reasoning, written)


def _tokens(value: object) -> int:
    """Read a number of tokens; an absent or impossible value counts as 0."""
    return value if isinstance(value, int) and 0 < value < _TOO_MANY_TOKENS else 0


CHAT_COMPLETIONS = JsonEndpoint(
    "/v1/chat/completions", "messages", "choices", _create_completion, _completion_usage
)
