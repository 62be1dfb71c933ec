"""Answers that are a pure function of the request."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from llmframe.testing._chat.instances import instance
from llmframe.testing._chat.sentiment import sentiment

# Parameters that do not change the answer: they concern the user, the billing or the cache.
_WITHOUT_EFFECT = frozenset(
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


def request_digest(body: dict[str, Any]) -> str:
    """Return the digest by which the ledger counts a request body.

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
    """Return the text of the server's answer to a request body, unless the server has its own `answer`.

    Prompts that ask for positive or negative get one of the two by the words of the last user message; a
    response format gets JSON that fits it; all other prompts get a short sentence with a hash of the request.

    Parameters
    ----------
    body
        The JSON object of the request.
    choice
        Which of `n` choices, from 0.

    Returns
    -------
    str
        The same text for the same request. `service_tier`, `metadata`, `user`, `safety_identifier`, `store` and
        `prompt_cache_*` do not change it.

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
    core = {name: value for name, value in body.items() if name not in _WITHOUT_EFFECT}
    digest = request_digest(core)[:12]
    return f"{digest}-{choice}" if choice else digest


def _last_user_text(texts: list[str], body: dict[str, Any]) -> str:
    roles = (message.get("role") for message in reversed(body["messages"]))
    return next(
        (text for text, role in zip(reversed(texts), roles, strict=True) if role == "user"), texts[-1]
    )


def count_tokens(text: str) -> int:
    """Estimate the tokens of a text: a quarter of its UTF-8 bytes."""
    return (len(text.encode("utf-8", "surrogatepass")) + 3) // 4


def prompt_tokens(body: dict[str, Any]) -> int:
    return max(1, sum(map(count_tokens, message_texts(body))))
