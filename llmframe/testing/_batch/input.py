"""Reading and checking the input file of a batch, line by line, as strictly as the API."""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from llmframe.testing._chat import prompt_tokens
from llmframe.testing._requests import ENDPOINTS, check_completion, check_line, check_line_body
from llmframe.testing._wire import Invalid, RefusedRequest

if TYPE_CHECKING:
    from collections.abc import Generator

    from llmframe.testing._settings import Batches

_MOST_ERRORS = 1_000


@dataclass
class CheckedInput:
    """The result of reading an input file: the offsets of its lines, and its errors.

    `rows` are the offsets of the lines that will be finished, `unfinished_rows` of those that will not.
    """

    total: int = 0
    rows: array[int] = field(default_factory=lambda: array("Q"))
    unfinished_rows: array[int] = field(default_factory=lambda: array("Q"))
    model: str | None = None
    tokens: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return not self.unfinished_rows

    def add_error(
        self, code: str | None, message: str, *, param: str | None = None, line: int | None = None
    ) -> None:
        if len(self.errors) < _MOST_ERRORS:
            self.errors.append({"code": code, "message": message, "param": param, "line": line})


def line_at(content: bytes, start: int) -> bytes:
    end = content.find(b"\n", start)
    return content[start:] if end < 0 else content[start:end]


def check_input(
    content: bytes, endpoint: str, models: tuple[str, ...], batches: Batches, unfinished: float
) -> Generator[None, None, CheckedInput]:
    """Check a file, one line in each step."""
    checked = CheckedInput()
    _check_size(checked, content, batches)
    if checked.errors:
        return checked
    custom_ids: set[str] = set()
    start = 0
    while start < len(content):
        line = line_at(content, start)
        checked.total += 1
        try:
            row = _row(line, endpoint, custom_ids)
            _check_model(checked, row["body"]["model"], models)
            checked.tokens += _prompt_tokens(row["body"])
            never_finished = unfinished > 0 and _share(row["custom_id"]) < unfinished
            (checked.unfinished_rows if never_finished else checked.rows).append(start)
        except Invalid as invalid:
            checked.add_error(invalid.code, invalid.message, param=invalid.param, line=checked.total)
        start += len(line) + 1
        yield
    return checked


def _check_size(checked: CheckedInput, content: bytes, batches: Batches) -> None:
    if not content.strip():
        checked.add_error("empty_file", "The input file is empty. Provide at least one request.")
    elif len(content) > batches.max_bytes:
        checked.add_error("file_too_large", f"The input file is larger than {batches.max_bytes} bytes.")
    else:
        total = content.count(b"\n") + (not content.endswith(b"\n"))
        if total > batches.max_requests:
            checked.add_error(
                "too_many_tasks",
                f"The input file has {total} requests, more than the {batches.max_requests} that a batch may have.",
            )


def _row(line: bytes, endpoint: str, custom_ids: set[str]) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise Invalid("This line is not parseable as valid JSON.", None, "invalid_json_line") from None
    if not isinstance(row, dict):
        raise Invalid("This line is not a JSON object.", None, "invalid_json_line")
    check_line(row)
    if row["custom_id"] in custom_ids:
        message = f"The custom_id '{row['custom_id']}' was used in an earlier line; each must be unique."
        raise Invalid(message, "custom_id", "duplicate_custom_id")
    custom_ids.add(row["custom_id"])
    _check_address(row, endpoint)
    check_line_body({"body": row["body"]})
    if row["body"].get("stream"):
        raise Invalid("Streaming is not supported in batches.", "body.stream", "unsupported_value")
    return row


def _check_address(row: dict[str, Any], endpoint: str) -> None:
    if row["method"] != "POST":
        raise Invalid("The method of a request must be 'POST'.", "method", "invalid_method")
    if row["url"] == endpoint:
        return
    if row["url"] in ENDPOINTS:
        message = f"The URL '{row['url']}' does not match the batch's endpoint '{endpoint}'."
        raise Invalid(message, "url", "mismatched_endpoint")
    raise Invalid("The URL provided for this request is not one of the API's.", "url", "invalid_url")


def _check_model(checked: CheckedInput, model: str, models: tuple[str, ...]) -> None:
    if checked.model is None:
        checked.model = model
        if model not in models:
            message = f"The provided model '{model}' is not supported by the Batch API."
            raise Invalid(message, "body.model", "model_not_found")
    if model != checked.model:
        message = (
            f"The provided model '{model}' does not match the model '{checked.model}' of the first request."
        )
        raise Invalid(message, "body.model", "mismatched_model")


def _prompt_tokens(body: dict[str, Any]) -> int:
    try:
        check_completion(body)
    except RefusedRequest:  # only this row will fail
        return 0
    return prompt_tokens(body)


def _share(custom_id: str) -> float:
    """Return a number in [0, 1) that depends on the custom_id only."""
    return int.from_bytes(hashlib.blake2b(custom_id.encode(), digest_size=7).digest()) / 2**56
