"""The lines of the Batch API's files: one request per input line, one result per output line."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from llmframe._api import status_fault, unreadable_fault
from llmframe._json import UnreadableJSONError, as_object, load
from llmframe._values import FaultKind, RequestFault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmframe._values import Answer, Endpoint, Key, Request

_REQUEST = re.compile(rb'\{"custom_id":"([0-9a-f]{32})"')
_ANY_CUSTOM_ID = re.compile(rb'"custom_id"\s*:\s*"([0-9a-fA-F]{32})"')


class UnreadableLineError(Exception):
    """A line of a result file that is incomplete or not a result."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The result of one request: a paid answer with its body as JSON, or a fault."""

    key: Key
    answer: Answer | None
    body: Mapping[str, Any] | None
    fault: RequestFault | None


def request_line(request: Request, endpoint: Endpoint) -> bytes:
    """Write a request as a line of an input file; its identity is its `custom_id`."""
    return b'{"custom_id":"%b","method":"POST","url":"%b","body":%b}\n' % (
        request.key.hex().encode(),
        endpoint.path.encode(),
        request.body,
    )


def read_key(line: bytes) -> Key | None:
    """Read the request's key from a line of an input file; `None` for a line that llmframe did not write."""
    found = _REQUEST.match(line)
    return None if found is None else bytes.fromhex(found[1].decode())


def read_result(line: bytes, endpoint: Endpoint) -> BatchResult | None:
    """Read a line of an output or an error file; `None` for a request that llmframe did not write.

    Raises
    ------
    UnreadableLineError
        When the line is incomplete or no result.
    """
    try:
        data = load(line)
    except UnreadableJSONError as unreadable:
        raise UnreadableLineError(str(unreadable)) from unreadable
    if not isinstance(data, dict) or "custom_id" not in data:
        raise UnreadableLineError("a line of the result file is no result")
    key = _key(data["custom_id"])
    if key is None:
        return None
    response, error = as_object(data.get("response")), _error(data.get("error"))
    status, body = _status(response.get("status_code")), response.get("body")
    if isinstance(body, str):
        body = as_object(body) or body
    if (status is None or 200 <= status < 300) and isinstance(body, dict) and endpoint.answer in body:
        with suppress(orjson.JSONEncodeError):  # nested too deeply to be written
            raw = orjson.dumps(body)
            return BatchResult(key, endpoint.read_answer(key, raw, body, "batch"), body, None)
        body = None
    return BatchResult(key, None, None, _fault(status, body, error))


def read_broken(line: bytes) -> BatchResult | None:
    """Return the fault of the row whose line cannot be read; `None` where the line does not tell which row's it is."""
    found = _ANY_CUSTOM_ID.search(line)
    if found is None:
        return None
    key = bytes.fromhex(found[1].decode())
    return BatchResult(key, None, None, unreadable_fault("the line of the answer is broken"))


def _key(custom_id: object) -> Key | None:
    if isinstance(custom_id, str) and re.fullmatch("[0-9a-f]{32}", custom_id := custom_id.strip().lower()):
        return bytes.fromhex(custom_id)
    return None


def _error(value: object) -> dict[str, Any]:
    """Return what the server says of an error, an object or words; empty where it says nothing."""
    return as_object(value) or ({"message": value} if isinstance(value, str) and value.strip() else {})


def _status(value: object) -> int | None:
    """Return an HTTP status; `None` where there is none, which some servers write as 0."""
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    whole = isinstance(value, int | float) and not isinstance(value, bool) and 100 <= value < 600
    return int(value) if whole else None  # type: ignore[call-overload]


def _fault(status: int | None, body: object, error: dict[str, Any]) -> RequestFault:
    """Return the fault of a line without an answer: by its status, the error in its body, or the one beside it."""
    said = (_error(body.get("error")) if isinstance(body, dict) else {}) or error
    named = status
    if status is None or status < 400:
        named = _status(said.get("code")) or (429 if _is_limit(said) else None)
    if named is not None and named >= 400:
        return status_fault(named, {"error": said} if said else body, None)
    if said or status is None:
        return _unanswered(said)
    return unreadable_fault("the answer is no completion")


def _is_limit(error: dict[str, Any]) -> bool:
    return any(
        isinstance(word := error.get(name), str) and ("rate_limit" in word or "quota" in word)
        for name in ("code", "type")
    )


def _unanswered(error: dict[str, Any]) -> RequestFault:
    code, message = error.get("code"), error.get("message")
    return RequestFault(
        FaultKind.PASSING,
        code if isinstance(code, str) and code else "no_answer",
        message if isinstance(message, str) and message else "the batch ended without an answer to this row",
    )
