"""The endpoints of the API: paths, parameters, and how bodies are written and read."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import TYPE_CHECKING, Any

import orjson

from llmframe._values import Answer, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmframe._values import Key, LaneName

_TOO_MANY_TOKENS = 10**9
"""No answer has this many tokens: a server that reports more reports impossible values."""
_DIGITS = re.compile("[0-9]{1,9}")
_NO_TOKENS = -1
"""Stands for a value that is not a number of tokens."""


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
    other_members
        Returns the other members that a body may have.
    read_usage
        Reads a body's tokens: any JSON becomes possible numbers, or none. The second value is what the body says
        where that is impossible, and otherwise `None`.
    write_content
        Writes a row's messages as the member `content` has them.
    price_list
        genai-prices' name of the price list of its answers; `None`: the model's usual one.
    """

    path: str
    content: str
    answer: str
    other_members: Callable[[], frozenset[str]]
    read_usage: Callable[[Mapping[str, Any]], tuple[Usage, object]]
    write_content: Callable[[bytes], bytes] = bytes
    price_list: str | None = None

    @property
    def route(self) -> str:
        return self.path.removeprefix("/v1")

    def parameters(self) -> frozenset[str]:
        return self.other_members() - {self.content}

    def template(self, model: str, params: Mapping[str, Any]) -> bytes:
        return orjson.dumps({"model": model, **params})[:-1] + f',"{self.content}":'.encode()

    def body(self, template: bytes, content: bytes) -> bytes:
        return template + self.write_content(content) + b"}"

    def read_charge(self, data: Mapping[str, Any]) -> int | None:
        usage = data.get("usage")
        charge = _tokens(usage.get("total_tokens")) if isinstance(usage, dict) else _NO_TOKENS
        return charge if charge > 0 else None

    def read_answer(self, key: Key, raw: bytes, data: Mapping[str, Any], lane: LaneName) -> Answer:
        tier, model = data.get("service_tier"), data.get("model")
        usage, impossible = self.read_usage(data)
        return Answer(
            key,
            raw,
            usage,
            lane,
            tier if isinstance(tier, str) else None,
            model if isinstance(model, str) else None,
            impossible_usage=impossible,
        )


@cache
def _completion_members() -> frozenset[str]:
    from openai.resources.chat.completions import AsyncCompletions  # noqa: PLC0415 (it takes a second to import)

    names = frozenset(inspect.signature(AsyncCompletions.create).parameters)
    return names - {"self", "model", "extra_headers", "extra_query", "extra_body", "timeout"}


def _decision_members() -> frozenset[str]:
    """Return the members that an SDK before 3.57 does not know."""
    return frozenset({"input", "questions", "prompt_cache_key", "prompt_cache_options", "safety_identifier"})


def _completion_usage(data: Mapping[str, Any]) -> tuple[Usage, object]:
    usage = data.get("usage")
    if not isinstance(usage, dict):
        return Usage(), usage
    get = usage.get
    prompt, completion, total = get("prompt_tokens"), get("completion_tokens"), get("total_tokens")
    prompt, completion = _tokens(prompt), _tokens(completion)
    total = prompt + completion if total is None else _tokens(total)
    of_prompt, of_completion = get("prompt_tokens_details"), get("completion_tokens_details")
    written = reasoning = 0
    if of_prompt is None:
        cached = _part(usage, "prompt_cache_hit_tokens")  # DeepSeek's name
    else:
        cached, written = _part(of_prompt, "cached_tokens"), _part(of_prompt, "cache_write_tokens")
    if of_completion is not None:
        reasoning = _part(of_completion, "reasoning_tokens")
    stated = Usage(prompt, completion, cached, reasoning, written)
    agrees = total == prompt + completion and cached + written <= prompt and reasoning <= completion
    if agrees and prompt > 0 and completion >= 0 and cached >= 0 and written >= 0 and reasoning >= 0:
        return stated, None
    read, possible = _reconciled(stated, total)
    return read, None if possible else usage


def _decision_usage(data: Mapping[str, Any]) -> tuple[Usage, object]:
    usage = data.get("usage")
    if not isinstance(usage, dict):
        return Usage(), usage
    names = {
        "input_tokens": "prompt_tokens",
        "output_tokens": "completion_tokens",
        "input_tokens_details": "prompt_tokens_details",
        "output_tokens_details": "completion_tokens_details",
    }
    return _completion_usage({"usage": {names.get(name, name): value for name, value in usage.items()}})


def _decision_input(messages: bytes) -> bytes:
    """Write messages as the input of a decision: a lone user's text as the text itself; of others what an item may say."""
    read = orjson.loads(messages)
    [first, *others] = read
    if not others and first["role"] == "user" and isinstance(first.get("content"), str):
        return orjson.dumps(first["content"])
    return orjson.dumps([item for message in read for item in _decision_items(message)])


def _decision_items(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return a message as items: its content, then the calls of tools; one that no item can say stays for the API to refuse."""
    role, content, refusal = message["role"], message.get("content"), message.get("refusal")
    if str(role) in {"tool", "function"}:
        call = message.get("tool_call_id", message.get("name"))
        return [{"type": "function_call_output", "call_id": call, "output": _decision_parts(content, role)}]
    legacy = message.get("function_call")
    calls = message.get("tool_calls") or ([{"id": _name_of(legacy), "function": legacy}] if legacy else [])
    try:
        called = [_decision_call(call) for call in calls]
    except (KeyError, TypeError, AttributeError):
        return [message]
    if content is None and isinstance(refusal, str):
        content = [{"type": "refusal", "refusal": refusal}]
    said = [{"role": role, "content": _decision_parts(content, role)}] if content or not called else []
    return [*said, *called]


def _decision_call(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a call of a tool as an item; one of a custom tool as that of a function, so that its output is one too."""
    function = call.get("function") or call["custom"]
    arguments = function.get("arguments", function.get("input"))
    return {"type": "function_call", "call_id": call["id"], "name": function["name"], "arguments": arguments}


def _name_of(function: Any) -> Any:
    return function.get("name") if isinstance(function, dict) else None


def _decision_parts(content: Any, role: str) -> Any:
    if not isinstance(content, list):
        return content
    text = "output_text" if role == "assistant" else "input_text"
    return [_decision_part(part, text) if isinstance(part, dict) else part for part in content]


def _decision_part(part: Mapping[str, Any], text: str) -> Mapping[str, Any]:
    if part.get("type") == "text":
        return {**part, "type": text}
    image = part.get("image_url")
    if part.get("type") == "image_url" and isinstance(image, dict):
        detail = {"detail": image["detail"]} if "detail" in image else {}
        return {**part, "type": "input_image", "image_url": image.get("url"), **detail}
    return part


def _tokens(value: object) -> int:
    """Read a number of tokens, also from a float or digits."""
    if type(value) is int:
        return value if 0 <= value < _TOO_MANY_TOKENS else _NO_TOKENS
    if isinstance(value, str):
        return int(value) if _DIGITS.fullmatch(value) else _NO_TOKENS
    return ceil(value) if isinstance(value, float) and 0 <= value < _TOO_MANY_TOKENS else _NO_TOKENS


def _part(details: object, name: str) -> int:
    """Read a part of the tokens from the details; a part that is not stated is 0."""
    if not isinstance(details, dict):
        return _NO_TOKENS
    value = details.get(name)
    return 0 if value is None else _tokens(value)


def _reconciled(stated: Usage, total: int) -> tuple[Usage, bool]:
    """Return possible numbers of tokens instead of the stated ones, and whether those were possible too.

    Where prompt or completion can be neither read nor inferred, the usage is unknown: it counts no tokens.
    """
    prompt, completion, cached, reasoning, written = stated
    readable = min(stated) >= 0 < prompt
    if prompt <= 0:
        prompt = total - completion
    elif completion < 0:
        completion = total - prompt
    if prompt <= 0 or completion < 0:
        return Usage(), False
    cached, reasoning, written = max(cached, 0), max(reasoning, 0), max(written, 0)
    beyond = total - prompt - completion
    if beyond > 0 and (beyond == reasoning or not (reasoning or beyond == cached + written)):
        completion += beyond  # reasoning is not part of it, and some servers do not state how much there was
    elif beyond > 0 and beyond == cached + written:
        prompt += beyond
    bounded = min(cached, prompt)
    read = Usage(prompt, completion, bounded, min(reasoning, completion), min(written, prompt - bounded))
    unchanged = read[2:] == (cached, reasoning, written)
    return read, readable and unchanged and read.total == total


CHAT_COMPLETIONS = JsonEndpoint(
    "/v1/chat/completions", "messages", "choices", _completion_members, _completion_usage
)
DECISIONS = JsonEndpoint(
    "/v1/decisions",
    "input",
    "answers",
    _decision_members,
    _decision_usage,
    _decision_input,
    "openai-decisions",
)
"""Answers to questions about a text, with their probabilities; not in the Batch API."""
