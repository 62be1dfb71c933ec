"""The lines of the Batch API's files: one request per input line, one result per output line."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from llmframe._api import status_fault
from llmframe._json import UnreadableJSONError, load
from llmframe._values import FaultKind, RequestFault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmframe._values import Answer, Endpoint, Key, Request

_REQUEST = re.compile(rb'\{"custom_id":"([0-9a-f]{32})"')


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
        When the line is incomplete.
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
    response = data.get("response")
    if isinstance(response, dict):
        return _read_response(key, response, endpoint)
    error = data.get("error")
    return BatchResult(key, None, None, _unanswered(error if isinstance(error, dict) else {}))


def _key(custom_id: object) -> Key | None:
    if isinstance(custom_id, str) and re.fullmatch("[0-9a-f]{32}", custom_id):
        return bytes.fromhex(custom_id)
    return None


def _read_response(key: Key, response: dict[str, Any], endpoint: Endpoint) -> BatchResult:
    status, body = response.get("status_code"), response.get("body")
    if status == 200 and isinstance(body, dict) and endpoint.answer in body:
        with suppress(orjson.JSONEncodeError):  # nested too deeply to be written
            raw = orjson.dumps(body)
            return BatchResult(key, endpoint.read_answer(key, raw, body, "batch"), body, None)
        status = None
    if not isinstance(status, int) or status < 400:
        fault = RequestFault(FaultKind.PASSING, "unparsable_answer", "the answer is no completion")
        return BatchResult(key, None, None, fault)
    return BatchResult(key, None, None, status_fault(status, body, None))


def _unanswered(error: dict[str, Any]) -> RequestFault:
    code, message = error.get("code"), error.get("message")
    return RequestFault(
        FaultKind.PASSING,
        code if isinstance(code, str) and code else "no_answer",
        message if isinstance(message, str) and message else "the batch ended without an answer to this row",
    )
