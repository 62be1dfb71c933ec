"""Creating batches, and the input files that fail them or single rows."""

import json

import openai
import pytest
from testing.batch_client import (
    CHAT,
    create,
    ended,
    jsonl,
    order,
    ran,
    request,
    row,
    rows,
    upload,
)
from testing.client import MODEL, ask

from llmframe.testing import Batches

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"input_file_id": "file-nope"}, None, "file_id"),
        ({"input_file_id": 7}, "invalid_type", "input_file_id"),
        ({"input_file_id": ...}, "missing_required_parameter", "input_file_id"),
        ({"endpoint": "/v1/dreams"}, "invalid_value", "endpoint"),
        ({"endpoint": "/v1/embeddings"}, "unsupported_value", "endpoint"),
        ({"endpoint": ...}, "missing_required_parameter", "endpoint"),
        ({"completion_window": "1h"}, "invalid_value", "completion_window"),
        ({"completion_window": ...}, "missing_required_parameter", "completion_window"),
        ({"metadata": {str(i): "" for i in range(17)}}, "object_above_max_properties", "metadata"),
        ({"metadata": {"k" * 65: ""}}, "string_above_max_length", "metadata"),
        ({"metadata": {"k": "v" * 513}}, "string_above_max_length", "metadata.k"),
        ({"metadata": {"k": 1}}, "invalid_type", "metadata.k"),
        (
            {"output_expires_after": {"seconds": 7200}},
            "missing_required_parameter",
            "output_expires_after.anchor",
        ),
        ({"priority": "high"}, "unknown_parameter", "priority"),
    ],
    ids=repr,
)
async def test_a_bad_order_is_refused(server, api, change, code, param):
    """Each way to be wrong when a batch is created is a 400 that names the parameter."""
    stored = await upload(api, rows(1))
    body = {name: value for name, value in order(stored.id, **change).items() if value is not ...}
    status, answer = request(server, "/batches", body, method="POST")
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, code, param)
    assert request(server, "/batches")[1]["data"] == []
    assert server.ledger.batches_created == 0


async def test_an_order_needs_a_file_for_batches_and_a_json_object(server, api):
    """A file with another purpose and a body that is no object are refused."""
    other = await api.files.create(file=("x.jsonl", jsonl(rows(1))), purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="purpose 'batch'") as caught:
        await api.batches.create(**order(other.id))
    assert caught.value.code == "invalid_purpose"
    assert request(server, "/batches", b"[1]", method="POST")[0] == 400
    assert request(server, "/batches", b"", method="POST")[0] == 400


async def test_all_limits_of_metadata_are_taken(api):
    """16 pairs, keys of 64 and values of 512 characters are taken and read back, also from the list."""
    metadata = {f"{i:064}": "v" * 512 for i in range(16)}
    batch = await create(api, rows(1), metadata=metadata)
    assert batch.metadata == metadata
    assert [each.metadata async for each in api.batches.list()] == [metadata]


def wrong(*lines):
    return b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (wrong(row(0), b"{", row(2)), [("invalid_json_line", None, 2)]),
        (wrong(row(0), b"[1]", b"7"), [("invalid_json_line", None, 2), ("invalid_json_line", None, 3)]),
        (wrong(row(0), b"", row(2)), [("invalid_json_line", None, 2)]),
        (wrong(b'{"custom_id": NaN}'), [("invalid_json_line", None, 1)]),
        (wrong(b"\xff"), [("invalid_json_line", None, 1)]),
        (
            wrong({"custom_id": "a", "url": CHAT, "body": ask()}),
            [("missing_required_parameter", "method", 1)],
        ),
        (
            wrong({"method": "POST", "url": CHAT, "body": ask()}),
            [("missing_required_parameter", "custom_id", 1)],
        ),
        (wrong(row(0, mood="good")), [("unknown_parameter", "mood", 1)]),
        (wrong(row(0, custom_id="")), [("empty_string", "custom_id", 1)]),
        (wrong(row(0, custom_id=7)), [("invalid_type", "custom_id", 1)]),
        (wrong(row(0, custom_id="x" * 65)), [("string_above_max_length", "custom_id", 1)]),
        (wrong(row(0), row(1), row(0)), [("duplicate_custom_id", "custom_id", 3)]),
        (wrong(row(0, method="GET")), [("invalid_method", "method", 1)]),
        (wrong(row(0, url="/v1/embeddings")), [("mismatched_endpoint", "url", 1)]),
        (wrong(row(0, url="https://api.openai.com")), [("invalid_url", "url", 1)]),
        (wrong(row(0, url=[CHAT])), [("invalid_url", "url", 1)]),
        (wrong(row(0, body=[ask()])), [("invalid_type", "body", 1)]),
        (wrong(row(0, body={"messages": []})), [("missing_required_parameter", "body.model", 1)]),
        (wrong(row(0, body=ask() | {"model": 7})), [("invalid_type", "body.model", 1)]),
        (wrong(row(0, body=ask() | {"model": "gpt-2"})), [("model_not_found", "body.model", 1)]),
        (
            wrong(row(0), row(1, body=ask() | {"model": "gpt-5-mini"}), row(2)),
            [("mismatched_model", "body.model", 2)],
        ),
        (wrong(row(0), row(1, body=ask(stream=True))), [("unsupported_value", "body.stream", 2)]),
        (b"", [("empty_file", None, None)]),
        (b"\n \n", [("empty_file", None, None)]),
    ],
)
async def test_a_file_that_is_wrong_fails_the_batch(server, api, lines, expected):
    """The batch fails after validating, says why with code, parameter and line, and nothing is billed."""
    batch, output, errors = await ran(api, lines)
    assert batch.status == "failed"
    assert batch.errors.object == "list"
    assert [(each.code, each.param, each.line) for each in batch.errors.data] == expected
    assert all(each.message for each in batch.errors.data)
    assert (output, errors, server.ledger.billed) == ({}, {}, 0)
    assert batch.failed_at is not None
    assert batch.in_progress_at is None
    assert batch.request_counts.total == 0


async def test_a_batch_has_a_most_of_requests_and_bytes(server, api):
    """A file with too many requests fails its batch, and so does one that is too large by now."""
    server.batches = Batches(max_requests=3)
    batch = await ended(api, await create(api, rows(4)))
    (error,) = batch.errors.data
    assert (batch.status, error.code, error.line) == ("failed", "too_many_tasks", None)
    assert (await ended(api, await create(api, rows(3)))).status == "completed"
    stored = await upload(api, rows(3))
    server.batches = Batches(max_bytes=10)
    batch = await ended(api, await api.batches.create(**order(stored.id)))
    assert (batch.status, batch.errors.data[0].code) == ("failed", "file_too_large")


async def test_a_request_that_is_wrong_fails_alone(server, api):
    """An invalid request is a row of the error file, with the live API's status and error."""
    lines = [row(0), row(1, ask(temperature=9)), row(2, {"model": MODEL})]
    batch, output, errors = await ran(api, lines)
    counts = batch.request_counts
    assert (batch.status, counts.total, counts.completed, counts.failed) == ("completed", 3, 1, 2)
    assert (output.keys(), errors.keys()) == ({"row-0"}, {"row-1", "row-2"})
    assert errors["row-1"]["error"] is None
    assert errors["row-1"]["response"]["status_code"] == 400
    assert errors["row-1"]["response"]["body"]["error"]["code"] == "decimal_above_max_value"
    assert errors["row-2"]["response"]["body"]["error"]["param"] == "messages"
    assert server.ledger.billed == 1


async def test_a_completed_batch_may_have_an_error_file_only(api):
    """Where every row was refused there is no output file."""
    batch, _, errors = await ran(api, [row(0, ask(temperature=9))])
    assert (batch.status, batch.output_file_id, len(errors)) == ("completed", None, 1)
