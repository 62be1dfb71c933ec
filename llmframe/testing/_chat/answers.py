"""Answers that are a pure function of the request."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from llmframe.testing._chat.instances import instance
from llmframe.testing._chat.messages import joined, last_user_text, message_texts, schema_in_instructions
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

    Prompts that ask for positive or negative get one of the two by the words of the last user message. A JSON Schema,
    in the response format or in a system message, gets JSON that fits it and agrees with the last user message where
    it can: labels, numbers and dates that are in it, quotes from it. All other prompts get a short sentence with a hash
    of the request.

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
        `prompt_cache_*` do not change it, nor does it matter whether a text comes in one part or in several.

    Examples
    --------
    >>> question = "One word, positive or negative: The soup was delicious."
    >>> made_up_answer({"model": "gpt-6-luna", "messages": [{"role": "user", "content": question}]})
    'positive'
    """
    texts = message_texts(body)
    last = last_user_text(texts, body)
    label = sentiment(texts, last)
    schema = asked_schema(body, texts)
    if schema is not None:
        return orjson.dumps(instance(schema, answer_hash(body, choice), label, _asked_about(last))).decode()
    answer = label or f"A made-up answer, {answer_hash(body, choice)}."
    if (body.get("response_format") or {}).get("type") == "json_object":
        return orjson.dumps({"answer": answer}).decode()
    return answer


def asked_schema(body: dict[str, Any], texts: list[str] | None = None) -> dict[str, Any] | None:
    """Return the JSON Schema that a request asks for, in its response format or in a system message."""
    shape = body.get("response_format") or {}
    if shape.get("type") == "json_schema":
        return shape["json_schema"].get("schema") or {}
    return schema_in_instructions(message_texts(body) if texts is None else texts, body)


def _asked_about(message: str) -> str:
    """Return the text of a message without the instruction before it, which ends with a blank line."""
    _, blank, text = message.partition("\n\n")
    return text if blank and text.strip() else message


def answer_hash(body: dict[str, Any], choice: int = 0) -> str:
    """Return a digest of what decides the answer."""
    core = {name: value for name, value in body.items() if name not in _WITHOUT_EFFECT}
    if "messages" in core:
        core["messages"] = [
            {**message, "content": joined(message["content"])} if "content" in message else message
            for message in core["messages"]
        ]
    digest = request_digest(core)[:12]
    return f"{digest}-{choice}" if choice else digest
