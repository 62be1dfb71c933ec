"""Checks of the requests for decisions, as strict as the API's."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Any

import orjson

from llmframe.testing._requests.openapi import component
from llmframe.testing._requests.validation import checker
from llmframe.testing._wire import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_check_shape = checker(component("CreateDecisionRequest"))
_IMAGE = re.compile(r"data:image/[\w.+-]+;base64,[A-Za-z0-9+/]+={0,2}|https?://\S+")
_OUTPUTS = {"function_call_output": "function_call", "custom_tool_call_output": "custom_tool_call"}
_DEEPEST_JSON = 32
_MOST_JSON_VALUES = 10_000
_LARGEST_JSON = 256 * 1024


def check_decision(body: dict[str, Any]) -> None:
    """Raise `Invalid` unless the API would accept this body."""
    if "model" not in body:
        raise Invalid("you must provide a model parameter", None, None)
    _check_shape(body)
    _check_questions(body["questions"])
    if isinstance(body["input"], list):
        _check_calls(body["input"])
    for path, part in _parts(body):
        _check_part(path, part)


def _check_questions(questions: list[dict[str, Any]]) -> None:
    names = [(f"questions[{i}].name", each["name"]) for i, each in enumerate(questions) if "name" in each]
    _check_unique(names, "question names")
    for i, question in enumerate(questions):
        for options, word in (("choices", "value"), ("levels", "label")):
            found = [
                (f"questions[{i}].{options}[{j}].{word}", each[word])
                for j, each in enumerate(question.get(options, ()))
            ]
            _check_unique(found, f"{word}s of {options}")


def _check_unique(found: Iterable[tuple[str, str | bool]], what: str) -> None:
    """Check that no value occurs twice; text and booleans are distinct."""
    seen = set()
    for path, value in found:
        if value in seen:
            raise Invalid(
                f"Invalid '{path}': {what} must be unique, but {value!r} was used before.",
                path,
                "invalid_value",
            )
        seen.add(value)


def _check_calls(items: list[dict[str, Any]]) -> None:
    calls = set()
    for i, item in enumerate(items):
        kind = item.get("type")
        if kind in _OUTPUTS.values():
            calls.add((kind, item["call_id"]))
        elif kind in _OUTPUTS and (_OUTPUTS[kind], item["call_id"]) not in calls:
            message = f"No tool call found for {kind.replace('_', ' ')} with call_id {item['call_id']}."
            raise Invalid(message, f"input[{i}].call_id", None)


def _parts(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield all parts of contents, of outputs and of instructions, with their paths."""
    places = [
        (f"questions[{i}].instructions", each["instructions"]) for i, each in enumerate(body["questions"])
    ]
    for i, item in enumerate(body["input"] if isinstance(body["input"], list) else ()):
        places += [(f"input[{i}].{word}", item[word]) for word in ("content", "output") if word in item]
    for path, parts in places:
        for i, part in enumerate(parts if isinstance(parts, list) else ()):
            yield f"{path}[{i}]", part


def _check_part(path: str, part: dict[str, Any]) -> None:
    if part["type"] == "input_image" and not _IMAGE.fullmatch(part["image_url"]):
        message = (
            f"Invalid '{path}.image_url'. Expected a base64-encoded data URL with an image MIME type "
            "(e.g. 'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU='), or an HTTP(S) URL."
        )
        raise Invalid(message, f"{path}.image_url", "invalid_value")
    if part["type"] == "input_json":
        reason = _too_much(part["data"])
        if reason:
            raise Invalid(f"Invalid '{path}.data': {reason}.", f"{path}.data", "invalid_value")


def _too_much(data: Any) -> str | None:
    """Return why JSON is over the API's sizes, or None."""
    values, waiting = 0, deque([(data, 1)])
    while waiting:
        value, depth = waiting.popleft()
        values += 1
        if isinstance(value, dict | list):
            if depth > _DEEPEST_JSON:
                return f"JSON nested too deeply. Expected at most {_DEEPEST_JSON} levels"
            waiting.extend(
                (each, depth + 1) for each in (value.values() if isinstance(value, dict) else value)
            )
    if values > _MOST_JSON_VALUES:
        return f"too many values. Expected at most {_MOST_JSON_VALUES} values"
    too_large = len(orjson.dumps(data)) > _LARGEST_JSON
    return f"JSON too large. Expected at most {_LARGEST_JSON} bytes of compact JSON" if too_large else None
