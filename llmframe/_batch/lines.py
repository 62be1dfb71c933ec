"""The lines of the Batch API's files: a request a line in, a result a line out."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from llmframe._api.faults import classify
from llmframe._columns.text_answers import read
from llmframe._json import load
from llmframe._values import Fault, Trouble

if TYPE_CHECKING:
    from llmframe._values import Answer, Key, Request

LARGEST_PART_REQUESTS = 50_000
LARGEST_PART_BYTES = 200_000_000
"""What one batch may have at most: https://platform.openai.com/docs/guides/batch."""

_REQUEST = re.compile(rb'\{"custom_id":"([0-9a-f]{32})"')


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one request: a paid answer, or a fault."""

    key: Key
    answer: Answer | None
    fault: Fault | None


def request_line(request: Request, endpoint: str) -> bytes:
    """Write a request as a line of an input file; its identity is its `custom_id`."""
    return b'{"custom_id":"%b","method":"POST","url":"%b","body":%b}\n' % (
        request.key.hex().encode(),
        endpoint.encode(),
        request.body,
    )


def key_in(line: bytes) -> Key | None:
    """Read which request a line of an input file holds; `None` for a line that is not ours."""
    found = _REQUEST.match(line)
    return None if found is None else bytes.fromhex(found[1].decode())


def read_result(line: bytes) -> Result | None:
    """Read a line of an output or an error file; `None` where it is of no request of ours.

    Raises
    ------
    ValueError
        When the line is not whole.
    """
    data = load(line)
    if not isinstance(data, dict) or "custom_id" not in data:
        raise ValueError("a line of the result file is no result")
    key = _key(data["custom_id"])
    if key is None:
        return None
    response = data.get("response")
    if isinstance(response, dict):
        return _responded(key, response)
    error = data.get("error")
    return Result(key, None, _unanswered(error if isinstance(error, dict) else {}))


def _key(custom_id: object) -> Key | None:
    if isinstance(custom_id, str) and re.fullmatch("[0-9a-f]{32}", custom_id):
        return bytes.fromhex(custom_id)
    return None


def _responded(key: Key, response: dict[str, Any]) -> Result:
    status, body = response.get("status_code"), response.get("body")
    if status == 200 and isinstance(body, dict) and "choices" in body:
        with suppress(TypeError, RecursionError):  # nested too deeply to be written again
            return Result(key, read(key, orjson.dumps(body), body, "batch"), None)
        status = None
    if not isinstance(status, int) or status < 400:
        return Result(key, None, Fault(Trouble.PASSING, "unparsable_answer", "the answer is no completion"))
    return Result(key, None, classify(status, body, None))


def _unanswered(error: dict[str, Any]) -> Fault:
    code, message = error.get("code"), error.get("message")
    return Fault(
        Trouble.PASSING,
        code if isinstance(code, str) and code else "no_answer",
        message if isinstance(message, str) and message else "the batch ended without an answer to this row",
    )
