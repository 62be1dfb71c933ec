"""What a chat completion request may contain, as strict as the API."""

from __future__ import annotations

from typing import Any

import orjson

from llmframe.testing._requests import rules as r
from llmframe.testing._requests.strict_schemas import check_schema
from llmframe.testing._wire import Invalid

_SCHEMA_NAME = "[a-zA-Z0-9_-]+"
_BREAKPOINT = {"prompt_cache_breakpoint": r.record({"mode": r.choice("explicit")})}
_TEXT_PART = r.record({"type": r.choice("text"), "text": r.text()}, _BREAKPOINT)
_USER_PARTS = {
    "text": _TEXT_PART,
    "image_url": r.record(
        {
            "type": r.text(),
            "image_url": r.record({"url": r.text()}, {"detail": r.choice("auto", "low", "high")}),
        },
        _BREAKPOINT,
    ),
    "input_audio": r.record(
        {"type": r.text(), "input_audio": r.record({"data": r.text(), "format": r.choice("wav", "mp3")})},
        _BREAKPOINT,
    ),
    "file": r.record(
        {
            "type": r.text(),
            "file": r.record({}, {"filename": r.text(), "file_data": r.text(), "file_id": r.text()}),
        },
        _BREAKPOINT,
    ),
}
_ASSISTANT_PARTS = {
    "text": _TEXT_PART,
    "refusal": r.record({"type": r.text(), "refusal": r.text()}),
}


def _content(parts: dict[str, r.Rule]) -> r.Rule:
    array = r.array(r.tagged("type", parts), shortest=1)
    return r.by_type("a string or array of objects", {str: r.text(), list: array})


_CALLS = {
    "function": r.record(
        {
            "id": r.text(),
            "type": r.text(),
            "function": r.record({"name": r.text(), "arguments": r.text()}),
        },
    ),
    "custom": r.record(
        {"id": r.text(), "type": r.text(), "custom": r.record({"name": r.text(), "input": r.text()})},
    ),
}
_TEXT_CONTENT = _content({"text": _TEXT_PART})
_NAME = {"name": r.text()}
_ROLE = {"role": r.text()}
_MESSAGE = r.tagged(
    "role",
    {
        "system": r.record(_ROLE | {"content": _TEXT_CONTENT}, _NAME),
        "assistant": r.record(
            _ROLE,
            {
                "content": r.nullable(_content(_ASSISTANT_PARTS)),
                "refusal": r.nullable(r.text()),
                "name": r.text(),
                "audio": r.nullable(r.record({"id": r.text()})),
                "tool_calls": r.array(r.tagged("type", _CALLS)),
                "function_call": r.nullable(r.record({"arguments": r.text(), "name": r.text()})),
                "annotations": r.array(r.anything),
            },
        ),
        "user": r.record(_ROLE | {"content": _content(_USER_PARTS)}, _NAME),
        "function": r.record(_ROLE | {"content": r.nullable(r.text()), "name": r.text()}),
        "tool": r.record(_ROLE | {"content": _TEXT_CONTENT, "tool_call_id": r.text()}),
        "developer": r.record(_ROLE | {"content": _TEXT_CONTENT}, _NAME),
    },
)
_PLAIN_ROLES = frozenset({"system", "user", "assistant", "developer"})


def _message(value: Any, path: str) -> None:
    # Nearly every message is just a role and a text; the full rules cost ten times as much.
    plain = type(value) is dict and len(value) == 2 and type(value.get("content")) is str
    if not (plain and type(value.get("role")) is str and value["role"] in _PLAIN_ROLES):
        _MESSAGE(value, path)


_GRAMMAR = r.record({"definition": r.text(), "syntax": r.choice("lark", "regex")})
_TOOLS = {
    "function": r.record(
        {
            "type": r.text(),
            "function": r.record(
                {"name": r.text(shortest=1, longest=64, pattern=_SCHEMA_NAME)},
                {"description": r.text(), "parameters": r.anything, "strict": r.nullable(r.boolean)},
            ),
        },
    ),
    "custom": r.record(
        {
            "type": r.text(),
            "custom": r.record(
                {"name": r.text()},
                {
                    "description": r.text(),
                    "format": r.tagged(
                        "type",
                        {
                            "text": r.record({"type": r.text()}),
                            "grammar": r.record({"type": r.text(), "grammar": _GRAMMAR}),
                        },
                    ),
                },
            ),
        },
    ),
}
_NAMED = r.record({"name": r.text()})
_TOOL_CHOICES = {
    "function": r.record({"type": r.text(), "function": _NAMED}),
    "custom": r.record({"type": r.text(), "custom": _NAMED}),
    "allowed_tools": r.record(
        {
            "type": r.text(),
            "allowed_tools": r.record({"mode": r.choice("auto", "required"), "tools": r.array(r.anything)}),
        },
    ),
}
_JSON_SCHEMA = r.record(
    {"name": r.text(shortest=1, longest=64, pattern=_SCHEMA_NAME), "schema": r.anything},
    {"description": r.text(), "strict": r.nullable(r.boolean)},
)
_RESPONSE_FORMATS = {
    "text": r.record({"type": r.text()}),
    "json_object": r.record({"type": r.text()}),
    "json_schema": r.record({"type": r.text(), "json_schema": _JSON_SCHEMA}),
}
_LOCATION = r.record({}, dict.fromkeys(("country", "region", "city", "timezone"), r.text()))
_MODERATION = r.nullable(r.record({"mode": r.choice("score", "block")}))
_VOICE = r.by_type(
    "a string or an object", {str: r.text(shortest=1), dict: r.record({"id": r.text(shortest=1)})}
)
_PREDICTION = r.record({"type": r.choice("content"), "content": _TEXT_CONTENT})

PARAMETERS: dict[str, r.Rule] = {
    "model": r.text(shortest=1),
    "messages": r.array(_message, shortest=1),
    "audio": r.nullable(
        r.record(
            {"voice": _VOICE, "format": r.choice("wav", "aac", "mp3", "flac", "opus", "pcm16")},
        ),
    ),
    "frequency_penalty": r.nullable(r.number(-2, 2)),
    "function_call": r.by_type(
        "a string or an object",
        {str: r.choice("none", "auto"), dict: _NAMED},
    ),
    "functions": r.array(
        r.record({"name": r.text()}, {"description": r.text(), "parameters": r.anything}),
        shortest=1,
        longest=128,
    ),
    "logit_bias": r.nullable(r.mapping(r.integer(-100, 100))),
    "logprobs": r.nullable(r.boolean),
    "max_completion_tokens": r.nullable(r.integer(1)),
    "max_tokens": r.nullable(r.integer(1)),
    "metadata": r.nullable(r.mapping(r.text(longest=512), most=16, longest_key=64)),
    "modalities": r.nullable(r.array(r.choice("text", "audio"))),
    "moderation": r.nullable(
        r.record(
            {"model": r.text()},
            {"policy": r.nullable(r.record({}, {"input": _MODERATION, "output": _MODERATION}))},
        ),
    ),
    "n": r.nullable(r.integer(1, 128)),
    "parallel_tool_calls": r.boolean,
    "prediction": r.nullable(_PREDICTION),
    "presence_penalty": r.nullable(r.number(-2, 2)),
    "prompt_cache_key": r.nullable(r.text()),
    "prompt_cache_options": r.record({}, {"ttl": r.choice("30m"), "mode": r.choice("implicit", "explicit")}),
    "prompt_cache_retention": r.nullable(r.choice("in_memory", "24h")),
    "reasoning_effort": r.nullable(r.choice("none", "minimal", "low", "medium", "high", "xhigh", "max")),
    "response_format": r.tagged("type", _RESPONSE_FORMATS),
    "safety_identifier": r.nullable(r.text(longest=64)),
    "seed": r.nullable(r.integer(-(2**63), 2**63 - 1)),
    "service_tier": r.nullable(r.choice("auto", "default", "flex", "scale", "priority", "fast")),
    "stop": r.nullable(
        r.by_type(
            "a string or array of strings",
            {str: r.text(), list: r.array(r.text(), shortest=1, longest=4)},
        ),
    ),
    "store": r.nullable(r.boolean),
    "stream": r.nullable(r.boolean),
    "stream_options": r.nullable(
        r.record({}, {"include_usage": r.boolean, "include_obfuscation": r.boolean})
    ),
    "temperature": r.nullable(r.number(0, 2)),
    "tool_choice": r.by_type(
        "a string or an object",
        {str: r.choice("none", "auto", "required"), dict: r.tagged("type", _TOOL_CHOICES)},
    ),
    "tools": r.array(r.tagged("type", _TOOLS), shortest=1),
    "top_logprobs": r.nullable(r.integer(0, 20)),
    "top_p": r.nullable(r.number(0, 1)),
    "user": r.text(),
    "verbosity": r.nullable(r.choice("low", "medium", "high")),
    "web_search_options": r.record(
        {},
        {
            "user_location": r.nullable(
                r.record({"type": r.choice("approximate"), "approximate": _LOCATION}),
            ),
            "search_context_size": r.choice("low", "medium", "high"),
        },
    ),
}


def parse(content: bytes) -> Any:
    """Return the JSON of a request, or None where there is none."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


def check(body: dict[str, Any]) -> None:
    """Raise `Invalid` unless the API would take this body."""
    if "model" not in body:
        raise Invalid("you must provide a model parameter", None, None)
    if "messages" not in body:
        raise r.missing("messages")
    for name, value in body.items():
        rule = PARAMETERS.get(name)
        if rule is None:
            raise r.unknown(name)
        rule(value, name)
    if len(body) > 2:
        _check_together(body)


def _check_together(body: dict[str, Any]) -> None:
    """Check what depends on more than one parameter."""
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        raise Invalid(
            "The 'logprobs' parameter must be enabled when 'top_logprobs' is used.",
            "top_logprobs",
            None,
        )
    for name, needed in (
        ("tool_choice", "tools"),
        ("parallel_tool_calls", "tools"),
        ("function_call", "functions"),
    ):
        if name in body and needed not in body:
            message = f"'{name}' is only allowed when '{needed}' are specified."
            raise Invalid(message, name, None)
    if body.get("stream_options") is not None and not body.get("stream"):
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise Invalid(message, "stream_options", None)
    if body.get("stream"):
        raise Invalid("This local server does not stream.", "stream", "unsupported_value")
    _check_format(body)


def _check_format(body: dict[str, Any]) -> None:
    shape = body.get("response_format", {})
    if shape.get("type") == "json_object" and b"json" not in orjson.dumps(body["messages"]).lower():
        message = "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
        raise Invalid(message, "messages", None)
    if shape.get("type") == "json_schema":
        check_schema(shape["json_schema"])
