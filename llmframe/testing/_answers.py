"""Completions that are a pure function of the request."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson

from llmframe.testing._instances import instance
from llmframe.testing._sentiment import sentiment

if TYPE_CHECKING:
    from collections.abc import Callable

# What the answer does not depend on: who asks, how it is billed, where it is cached.
_BESIDE_THE_POINT = frozenset(
    {
        "service_tier",
        "metadata",
        "user",
        "safety_identifier",
        "store",
        "prompt_cache_key",
        "prompt_cache_retention",
        "prompt_cache_options",
    },
)


@dataclass(frozen=True, slots=True)
class Completion:
    """What one request gets: a text for each choice and how it ended."""

    texts: tuple[str | None, ...]
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str = "stop"
    refusal: str | None = None
    reasoning_tokens: int = 0
    cached_tokens: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


def request_digest(body: dict[str, Any]) -> str:
    """Return the name under which the ledger counts a request body.

    Parameters
    ----------
    body
        The JSON object of the request. The order of its keys does not matter.

    Returns
    -------
    str
        32 hexadecimal digits.

    Examples
    --------
    >>> request_digest({"a": 1, "b": 2}) == request_digest({"b": 2, "a": 1})
    True
    """
    canonical = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(canonical, digest_size=16).hexdigest()


def made_up_answer(body: dict[str, Any], choice: int = 0) -> str:
    """Return the text that the server answers to a request body unless it was given an `answer`.

    Prompts that ask for positive or negative get one of the two by the words of the last user message; a
    response format gets JSON that fits it; all others get a short sentence with a hash of the request in it.

    Parameters
    ----------
    body
        The JSON object of the request.
    choice
        Which of `n` choices, from 0.

    Returns
    -------
    str
        The same for the same request. `service_tier`, `metadata`, `user`, `safety_identifier`, `store` and
        `prompt_cache_*` make no difference.

    Examples
    --------
    >>> question = "One word, positive or negative: The soup was delicious."
    >>> made_up_answer({"model": "gpt-6-luna", "messages": [{"role": "user", "content": question}]})
    'positive'
    """
    texts = message_texts(body)
    label = sentiment(texts, _last_user_text(texts, body))
    shape = body.get("response_format") or {}
    if shape.get("type") == "json_schema":
        schema = shape["json_schema"].get("schema") or {}
        return orjson.dumps(instance(schema, _answer_hash(body, choice), label)).decode()
    answer = label or f"A made-up answer, {_answer_hash(body, choice)}."
    if shape.get("type") == "json_object":
        return orjson.dumps({"answer": answer}).decode()
    return answer


def message_texts(body: dict[str, Any]) -> list[str]:
    """Return each message's text, parts joined."""
    return [_text(message.get("content")) for message in body["messages"]]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "\n".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def _answer_hash(body: dict[str, Any], choice: int) -> str:
    core = {name: value for name, value in body.items() if name not in _BESIDE_THE_POINT}
    digest = request_digest(core)[:12]
    return f"{digest}-{choice}" if choice else digest


def _last_user_text(texts: list[str], body: dict[str, Any]) -> str:
    roles = (message.get("role") for message in reversed(body["messages"]))
    return next(
        (text for text, role in zip(reversed(texts), roles, strict=True) if role == "user"), texts[-1]
    )


def count_tokens(text: str) -> int:
    """Return about as many tokens as a text has: a quarter of its UTF-8 bytes."""
    return (len(text.encode("utf-8", "surrogatepass")) + 3) // 4


def prompt_tokens(body: dict[str, Any]) -> int:
    return max(1, sum(map(count_tokens, message_texts(body))))


def output_cap(body: dict[str, Any]) -> int | None:
    cap = body.get("max_completion_tokens")
    return body.get("max_tokens") if cap is None else cap


def complete(
    body: dict[str, Any], answer: Callable[[dict[str, Any]], str] | None, cached: float = 0.0
) -> Completion:
    """Answer a valid request."""
    number = body.get("n") or 1
    texts = [made_up_answer(body, i) if answer is None else answer(body) for i in range(number)]
    cap, reason = output_cap(body), "stop"
    if cap is not None and any(count_tokens(text) > cap for text in texts):
        texts, reason = [_cut(text, cap) for text in texts], "length"
    prompt = prompt_tokens(body)
    spent = sum(map(count_tokens, texts))
    return Completion(tuple(texts), prompt, spent, reason, cached_tokens=int(prompt * cached))


def _cut(text: str, tokens: int) -> str:
    return text.encode()[: tokens * 4].decode(errors="ignore")


def spoil(completion: Completion, kind: str, body: dict[str, Any]) -> Completion:
    """Return the completion as an answer fault leaves it; all of them are billed."""
    texts = completion.texts
    if kind == "length_empty":
        spent = (output_cap(body) or 512) * len(texts)
        completion = replace(completion, completion_tokens=spent, reasoning_tokens=spent)
    return replace(
        completion,
        texts=_spoilt_texts(texts, kind),
        finish_reason=_FINISH_REASONS.get(kind, completion.finish_reason),
        refusal="I'm sorry, I can't assist with that request." if kind == "refusal" else None,
    )


_FINISH_REASONS = {"content_filter": "content_filter", "length_empty": "length", "length_text": "length"}


def _spoilt_texts(texts: tuple[str | None, ...], kind: str) -> tuple[str | None, ...]:
    if kind == "empty_choices":
        return ()
    if kind == "length_text":
        return tuple(text and text[: max(1, len(text) // 2)] for text in texts)
    return (None if kind == "refusal" else "",) * len(texts)


def answer_body(completion: Completion, body: dict[str, Any], name: str, created: int) -> bytes:
    """Write a completion as the API does; `name` makes its id."""
    tier = body.get("service_tier")
    answer = {
        "id": f"chatcmpl-{name}",
        "object": "chat.completion",
        "created": created,
        "model": body["model"],
        "choices": [_choice(completion, i, text) for i, text in enumerate(completion.texts)],
        "usage": _usage(completion),
        "service_tier": "default" if tier in (None, "auto") else tier,
        "system_fingerprint": "fp_llmframe",
    }
    return orjson.dumps(answer)


def _choice(completion: Completion, index: int, text: str | None) -> dict[str, Any]:
    return {
        "index": index,
        "message": {
            "role": "assistant",
            "content": text,
            "refusal": completion.refusal,
            "annotations": [],
        },
        "logprobs": None,
        "finish_reason": completion.finish_reason,
    }


def _usage(completion: Completion) -> dict[str, Any]:
    return {
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
        "total_tokens": completion.tokens,
        "prompt_tokens_details": {"cached_tokens": completion.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": completion.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
