"""The provider's prompt cache: which tokens of a prompt are read from it, and which are written into it."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from llmframe.testing._chat.messages import count_tokens
from llmframe.testing._requests import takes_cache_options

if TYPE_CHECKING:
    from llmframe.testing._chat.completions import Completion

_LEAST_TOKENS = 1_024
_LIFETIME_SECONDS = 1_800.0
_MOST_WRITTEN = 4


class _Entry(NamedTuple):
    """A prefix in the cache: from when on it can be read, and until when; seconds of the server's time."""

    ready: float
    end: float


class _Breakpoint(NamedTuple):
    digest: bytes
    """Of all that comes before it, and of the model."""
    tokens: int


class PromptCache:
    """Prefixes of prompts, for 30 minutes from their last use; a prefix is found at a breakpoint alone, and exactly.

    Of a request's own breakpoints the latest four of at least 1,024 tokens are written. Unless its
    `prompt_cache_options` say `explicit`, one of the four is implicit, after the newest message. Response format and
    tools come before the messages and are a part of the prompt.
    """

    def __init__(self) -> None:
        self._entries: dict[bytes, _Entry] = {}

    def used_by(self, completion: Completion, body: dict[str, Any], now: float, seconds: float) -> Completion:
        """Return the completion with its use of the cache; what it writes can be read when it has been answered, in so many seconds."""
        first = _tokens_before_messages(body)
        completion = replace(completion, prompt_tokens=completion.prompt_tokens + first)
        if not takes_cache_options(body["model"]):
            return completion
        explicit, end = _breakpoints(body, first)
        written = explicit[-_MOST_WRITTEN:]
        if (body.get("prompt_cache_options") or {}).get("mode") != "explicit":
            written = [*explicit[1 - _MOST_WRITTEN :], end]
        found = [each for each in {*explicit, *written} if self._has(each, now)]
        cached = max((each.tokens for each in found), default=0)
        new = [each for each in written if each.tokens >= _LEAST_TOKENS and each not in found]
        for each in found:
            self._entries[each.digest] = self._entries[each.digest]._replace(end=now + _LIFETIME_SECONDS)
        for each in new:
            self._write(each, now, seconds)
        beyond = max((each.tokens for each in new), default=0) - cached
        return replace(completion, cached_tokens=cached, written_tokens=max(0, beyond))

    def _has(self, asked: _Breakpoint, now: float) -> bool:
        entry = self._entries.get(asked.digest)
        return entry is not None and entry.ready <= now < entry.end

    def _write(self, new: _Breakpoint, now: float, seconds: float) -> None:
        before = self._entries.get(new.digest)
        ready = now + seconds
        if before is not None and before.end > now:  # another request writes it already
            ready = min(ready, before.ready)
        self._entries[new.digest] = _Entry(ready, now + seconds + _LIFETIME_SECONDS)


def _before_messages(body: dict[str, Any]) -> list[Any]:
    return [body[name] for name in ("tools", "functions", "response_format") if body.get(name)]


def _tokens_before_messages(body: dict[str, Any]) -> int:
    return sum(count_tokens(orjson.dumps(each).decode()) for each in _before_messages(body))


def _breakpoints(body: dict[str, Any], tokens: int) -> tuple[list[_Breakpoint], _Breakpoint]:
    """Return a request's own breakpoints, and the place of the implicit one; `tokens` are those before the messages."""
    digest = blake2b(orjson.dumps([body["model"], _before_messages(body)], option=orjson.OPT_SORT_KEYS))
    found: list[_Breakpoint] = []
    for message in body["messages"]:
        others = {name: value for name, value in message.items() if name != "content"}
        digest.update(b"\0" + orjson.dumps(others, option=orjson.OPT_SORT_KEYS) + b"\0")
        content, text = message.get("content"), ""
        for part in content if isinstance(content, list) else [{"type": "text", "text": content or ""}]:
            if part.get("type") == "text":
                text += part["text"]
                digest.update(part["text"].encode("utf-8", "surrogatepass"))
            else:
                said = {name: value for name, value in part.items() if name != "prompt_cache_breakpoint"}
                digest.update(orjson.dumps(said, option=orjson.OPT_SORT_KEYS))
            if part.get("prompt_cache_breakpoint"):
                found.append(_Breakpoint(digest.digest(), tokens + count_tokens(text)))
        tokens += count_tokens(text)
    return found, _Breakpoint(digest.digest(), tokens)
