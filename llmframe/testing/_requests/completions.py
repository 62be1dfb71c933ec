"""Checks of the requests for chat completions, as strict as the API's."""

from __future__ import annotations

from typing import Any

import orjson

from llmframe.testing._requests.openapi import component
from llmframe.testing._requests.prompt_cache import check_prompt_cache
from llmframe.testing._requests.strict_schemas import check_schema
from llmframe.testing._requests.validation import checker
from llmframe.testing._wire import Invalid

_FORMATS = ("text", "json_object", "json_schema")
_check_shape = checker(component("CreateChatCompletionRequest"))


def parse(content: bytes) -> Any:
    """Return the JSON of a request, or None if it is not JSON."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


def check_completion(body: dict[str, Any], most: str = "json_schema") -> None:
    """Raise `Invalid` unless the API would accept this body; `most` is the last response format that the server knows."""
    if "model" not in body:
        raise Invalid("you must provide a model parameter", None, None)
    _check_shape(body)
    check_prompt_cache(body)
    if len(body) > 2:
        _check_together(body, most)


def _check_together(body: dict[str, Any], most: str) -> None:
    """Check the rules about several parameters."""
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
    _check_format(body, most)


def _check_format(body: dict[str, Any], most: str) -> None:
    shape = body.get("response_format", {})
    if _FORMATS.index(shape.get("type", "text")) > _FORMATS.index(most):
        message = f"Invalid parameter: 'response_format' of type '{shape['type']}' is not supported with this model."
        raise Invalid(message, "response_format", None)
    if shape.get("type") == "json_object" and b"json" not in orjson.dumps(body["messages"]).lower():
        message = "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
        raise Invalid(message, "messages", None)
    if shape.get("type") == "json_schema":
        check_schema(shape["json_schema"])
