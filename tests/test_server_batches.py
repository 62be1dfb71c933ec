"""The local server's files and batches: what it takes, refuses, runs, writes and breaks."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import openai
import pytest
import pytest_asyncio

from llmframe.testing import Batches, Fault, Limits, LocalServer, made_up_answer, request_digest

OPENAPI = Path(__file__).parents[2] / "shared" / "openai-spec" / "chat-batch.openapi.json"
MODEL = "gpt-6-luna"
CHAT = "/v1/chat/completions"
DAY = 86_400
pytestmark = pytest.mark.asyncio


def ask(text="Say something.", **more):
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}


def row(number, body=None, **more):
    line = {"custom_id": f"row-{number}", "method": "POST", "url": CHAT, "body": body or ask(f"Row {number}")}
    return line | more


def rows(count):
    return [row(number) for number in range(count)]


def jsonl(lines):
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def parsed(content):
    return [json.loads(line) for line in content.splitlines()]


@pytest_asyncio.fixture
async def api(server):
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as client:
        yield client


async def upload(api, lines, **more):
    content = lines if isinstance(lines, bytes) else jsonl(lines)
    return await api.files.create(file=("rows.jsonl", content), purpose="batch", **more)


async def create(api, lines, **more):
    stored = await upload(api, lines)
    return await api.batches.create(input_file_id=stored.id, endpoint=CHAT, completion_window="24h", **more)


async def ended(api, batch):
    """Poll until a batch is in its last state."""
    async with asyncio.timeout(20):
        while batch.status not in {"completed", "failed", "expired", "cancelled"}:
            await asyncio.sleep(0.002)
            batch = await api.batches.retrieve(batch.id)
    return batch


async def content(api, name):
    return [] if name is None else parsed((await api.files.content(name)).content)


async def ran(api, lines, **more):
    """Return an ended batch with its output and its errors, by custom_id."""
    batch = await ended(api, await create(api, lines, **more))
    output, errors = await content(api, batch.output_file_id), await content(api, batch.error_file_id)
    return batch, {each["custom_id"]: each for each in output}, {each["custom_id"]: each for each in errors}


def call(server, path, body=None, *, method="GET", key="k", form=None):
    """Return status and parsed body of one request."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    headers["content-type"] = form or "application/json"
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    base = server.base_url if path.startswith("/") else server.base_url.removesuffix("v1")
    request = urllib.request.Request(base + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, json.loads(answer.read())


def order(name, **more):
    return {"input_file_id": name, "endpoint": CHAT, "completion_window": "24h"} | more


@pytest.fixture
def published():
    jsonschema = pytest.importorskip("jsonschema")
    if not OPENAPI.exists():
        pytest.skip("the published OpenAPI document is not here")
    document = json.loads(OPENAPI.read_text(encoding="utf-8"))

    def validate(name, value):
        jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{name}", **document}).validate(value)

    return validate


def without_nulls(value):
    """The API sends null for what an object does not have; its document leaves that out."""
    return {name: each for name, each in value.items() if each is not None}


async def test_a_batch_answers_every_row_as_a_live_request_would(server, api):
    """The output has each row's completion, with the same text and usage as live."""
    batch, output, errors = await ran(api, rows(7), metadata={"recipe": "r1"})
    assert (batch.status, batch.model, batch.metadata) == ("completed", MODEL, {"recipe": "r1"})
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (
        7,
        7,
        0,
    )
    assert (batch.errors, batch.error_file_id, errors) == (None, None, {})
    assert output.keys() == {f"row-{i}" for i in range(7)}
    for number in range(7):
        line = output[f"row-{number}"]
        assert line.keys() == {"id", "custom_id", "response", "error"}
        assert line["error"] is None
        assert line["response"].keys() == {"status_code", "request_id", "body"}
        live = await api.chat.completions.create(**ask(f"Row {number}"))
        answer = line["response"]["body"]
        assert answer["choices"][0]["message"]["content"] == live.choices[0].message.content
        assert answer["usage"]["total_tokens"] == live.usage.total_tokens
    assert batch.usage.total_tokens == sum(
        line["response"]["body"]["usage"]["total_tokens"] for line in output.values()
    )


async def test_the_output_is_not_in_the_order_of_the_input(api):
    """The lines of the output are shuffled."""
    batch = await ended(api, await create(api, rows(50)))
    found = [line["custom_id"] for line in await content(api, batch.output_file_id)]
    assert sorted(found) == sorted(f"row-{i}" for i in range(50))
    assert found != [f"row-{i}" for i in range(50)]


async def test_objects_have_the_published_shapes(server, published):
    """Files, batches and lists of them, in all that they say, are as the API's own document has them."""
    form = b"--b\r\nContent-Disposition: form-data; name=purpose\r\n\r\nbatch\r\n"
    form += b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.jsonl"\r\n\r\n'
    form += jsonl(rows(2)) + b"\r\n--b--\r\n"
    kind = "multipart/form-data; boundary=b"
    status, stored = call(server, "/files", form, method="POST", form=kind)
    assert status == 200
    assert stored["bytes"] == len(jsonl(rows(2)))
    published("OpenAIFile", without_nulls(stored))
    published("CreateBatchRequest", order(stored["id"], metadata={"a": "b"}))
    _, batch = call(server, "/batches", order(stored["id"], metadata={"a": "b"}), method="POST")
    assert batch["status"] == "validating"
    published("Batch", without_nulls(batch))
    server.advance(1)
    _, batch = call(server, f"/batches/{batch['id']}")
    assert batch["status"] == "completed"
    published("Batch", without_nulls(batch))
    _, files = call(server, "/files")
    published("ListFilesResponse", files | {"data": list(map(without_nulls, files["data"]))})
    _, batches = call(server, "/batches")
    published("ListBatchesResponse", batches | {"data": list(map(without_nulls, batches["data"]))})
    published("ErrorResponse", call(server, "/batches/nope")[1])
    published("DeleteFileResponse", call(server, f"/files/{stored['id']}", method="DELETE")[1])


async def test_files_are_listed_page_by_page_and_can_be_deleted(server, api):
    """Lists go by purpose, order, limit and `after`; a deleted file is gone everywhere."""
    made = [(await upload(api, rows(1))).id for _ in range(5)]
    other = (await api.files.create(file=("x.txt", b"x"), purpose="user_data")).id
    assert server.files == (*made, other)
    assert [each.id async for each in api.files.list(limit=2, purpose="batch")] == made[::-1]
    assert [each.id async for each in api.files.list(order="asc", limit=4)] == [*made, other]
    page = await api.files.list(limit=2, after=made[3])
    assert ([each.id for each in page.data], page.has_more) == ([made[2], made[1]], True)
    assert (await api.files.retrieve(made[0])).bytes == len(jsonl(rows(1)))
    assert (await api.files.content(made[0])).content == jsonl(rows(1))
    assert (await api.files.delete(made[0])).deleted
    assert server.files == (*made[1:], other)
    for attempt in (api.files.retrieve, api.files.content, api.files.delete):
        with pytest.raises(openai.NotFoundError, match="No such File object"):
            await attempt(made[0])
    ledger = server.ledger
    assert (ledger.uploads, ledger.downloads, ledger.files_deleted) == (6, 1, 1)


async def test_files_expire(server, api):
    """An uploaded batch file exists for 30 days or as long as was asked, a written one likewise."""
    month = await upload(api, rows(1))
    hour = await upload(api, rows(1), expires_after={"anchor": "created_at", "seconds": 3600})
    assert month.expires_at - month.created_at == 30 * DAY
    assert hour.expires_at - hour.created_at == 3600
    short = await api.batches.create(
        **order(month.id), output_expires_after={"anchor": "created_at", "seconds": 7200}
    )
    output = (await ended(api, short)).output_file_id
    server.advance(3601)
    assert server.files == (month.id, output)
    with pytest.raises(openai.BadRequestError, match="Cannot find file"):
        await api.batches.create(**order(hour.id))
    server.advance(3600)
    assert server.files == (month.id,)
    server.advance(30 * DAY)
    assert server.files == ()


@pytest.mark.parametrize(
    ("filename", "fields", "message"),
    [
        ("rows.txt", {"purpose": "batch"}, r"Must be \.jsonl"),
        ("rows.jsonl", {"purpose": "fun"}, "Supported values are: 'assistants'"),
        ("rows.jsonl", {"purpose": "batch", "extra_body": {"colour": "red"}}, "Unknown parameter: 'colour'"),
        (
            "rows.jsonl",
            {"purpose": "batch", "expires_after": {"anchor": "created_at", "seconds": 60}},
            "Expected a value >= 3600",
        ),
        (
            "rows.jsonl",
            {"purpose": "batch", "expires_after": {"anchor": "today", "seconds": 3600}},
            "Supported values are: 'created_at'",
        ),
    ],
)
async def test_a_bad_upload_is_refused(server, api, filename, fields, message):
    """What the API does not take as a file is a 400, and nothing is stored."""
    with pytest.raises(openai.BadRequestError, match=message):
        await api.files.create(file=(filename, jsonl(rows(1))), **fields)
    assert (server.files, server.ledger.uploads) == ((), 0)


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b"{}", "application/json", "multipart form"),
        (b"", "multipart/form-data", "multipart form"),
        (b"nothing", "multipart/form-data; boundary=b", "multipart form"),
        (b"--b--\r\n", "multipart/form-data; boundary=b", "'file'"),
        (
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nx\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
            "'purpose'",
        ),
    ],
)
async def test_a_broken_form_is_refused(server, body, kind, message):
    """An upload that is no form, or lacks a field, is a 400."""
    status, answer = call(server, "/files", body, method="POST", form=kind)
    assert (status, server.files) == (400, ())
    assert message in answer["error"]["message"]


async def test_a_file_that_is_too_large_is_refused(server, api):
    """A file over the limit is a 400 with the API's message; one at the limit is taken."""
    size = len(jsonl(rows(3)))
    server.batches = Batches(max_bytes=size)
    await upload(api, rows(3))
    with pytest.raises(openai.BadRequestError, match=r"File is too large\."):
        await upload(api, rows(4))
    with pytest.raises(openai.BadRequestError, match=r"File is too large\."):
        await upload(api, b"x" * 3_000_000)


async def test_a_large_file_comes_back_whole(api):
    """Megabytes go up and down unchanged, whatever looks like a boundary in them."""
    data = (b"--\r\n--x\r\n" + bytes(range(256))) * 20_000
    stored = await api.files.create(file=("x.bin", data), purpose="user_data")
    assert stored.bytes == len(data)
    assert (await api.files.content(stored.id)).content == data


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
    status, answer = call(server, "/batches", body, method="POST")
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, code, param)
    assert call(server, "/batches")[1]["data"] == []
    assert server.ledger.batches_created == 0


async def test_an_order_needs_a_file_for_batches_and_a_json_object(server, api):
    """A file with another purpose and a body that is no object are refused."""
    other = await api.files.create(file=("x.jsonl", jsonl(rows(1))), purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="purpose 'batch'") as caught:
        await api.batches.create(**order(other.id))
    assert caught.value.code == "invalid_purpose"
    assert call(server, "/batches", b"[1]", method="POST")[0] == 400
    assert call(server, "/batches", b"", method="POST")[0] == 400


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


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("500", 500, None),
        ("502", 502, None),
        (418, 418, None),
        ("rate_limit", 429, "rate_limit_exceeded"),
        ("insufficient_quota", 429, "insufficient_quota"),
        ("context_length_exceeded", 400, "context_length_exceeded"),
        ("model_not_found", 404, "model_not_found"),
        ("invalid_api_key", 401, "invalid_api_key"),
    ],
)
async def test_an_error_fault_puts_rows_into_the_error_file(server, api, kind, status, code):
    """A row that is hit by an error has its status and error in the error file and is not billed."""
    server.faults = [Fault(kind, when=lambda body: "Row 1" in body["messages"][0]["content"])]
    batch, output, errors = await ran(api, rows(3))
    assert (batch.status, batch.request_counts.failed) == ("completed", 1)
    assert (output.keys(), errors.keys()) == ({"row-0", "row-2"}, {"row-1"})
    response = errors["row-1"]["response"]
    assert (response["status_code"], response["body"]["error"]["code"]) == (status, code)
    assert server.ledger.billed == 2


async def test_a_fault_that_passes_lets_a_second_batch_through(server, api):
    """Faults count rows of batches as they count live requests."""
    server.faults = [Fault("500", times_per_request=1)]
    _, output, errors = await ran(api, rows(3))
    assert (len(output), len(errors)) == (0, 3)
    _, output, errors = await ran(api, rows(3))
    assert (len(output), len(errors)) == (3, 0)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("refusal", "stop"),
        ("content_filter", "content_filter"),
        ("length_empty", "length"),
        ("empty", "stop"),
    ],
)
async def test_an_answer_fault_is_in_the_output_and_billed(server, api, kind, reason):
    """Answers that say nothing are finished rows with status 200."""
    server.faults = [Fault(kind)]
    batch, output, _ = await ran(api, rows(2))
    assert batch.request_counts.completed == 2
    for line in output.values():
        (choice,) = line["response"]["body"]["choices"]
        assert (choice["finish_reason"], choice["message"]["content"] or "") == (reason, "")
    assert server.ledger.billed == 2


@pytest.mark.parametrize("kind", ["reset", "hang", "truncated", "garbled", "trickle"])
async def test_faults_of_the_connection_pass_rows_by(server, api, kind):
    """A fault of the connection neither hits a row of a batch nor counts it."""
    server.faults = [Fault(kind, first=1)]
    _, output, errors = await ran(api, rows(2))
    assert (len(output), len(errors)) == (2, 0)


async def test_live_limits_do_not_hold_for_batches():
    """Rows of batches neither wait for the live limits nor use them up."""
    with LocalServer(limits=Limits(requests_per_minute=1)) as server:
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as api:
            _, output, _ = await ran(api, rows(20))
            assert len(output) == 20
            await api.chat.completions.create(**ask())


async def test_an_answer_function_that_raises_fails_its_row_alone(caplog):
    """The row gets a 500 and the log says why; the others are answered."""

    def answer(body):
        if body["messages"][0]["content"] == "Row 1":
            raise RuntimeError("no idea")
        return "fine"

    with LocalServer(answer=answer, cached=1.0) as server:
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as api:
            batch, output, errors = await ran(api, rows(3))
    assert (len(output), errors["row-1"]["response"]["status_code"]) == (2, 500)
    assert batch.usage.input_tokens_details.cached_tokens == batch.usage.input_tokens
    assert "could not be answered" in caplog.text


async def test_a_batch_goes_through_its_states_as_time_goes_by(server, api):
    """Validating, in progress, finalizing, completed: each in its share of the time, with its timestamps."""
    server.batches = Batches(seconds=1000)
    batch = await create(api, rows(10))
    assert batch.status == "validating"
    assert batch.expires_at == batch.created_at + DAY
    states = []
    for step in (90, 20, 390, 410, 100):
        server.advance(step)
        batch = await api.batches.retrieve(batch.id)
        states.append((batch.status, batch.request_counts.total, batch.request_counts.completed))
    assert states == [
        ("validating", 0, 0),
        ("in_progress", 10, 0),
        ("in_progress", 10, 5),
        ("finalizing", 10, 10),
        ("completed", 10, 10),
    ]
    since = [at - batch.created_at for at in (batch.in_progress_at, batch.finalizing_at, batch.completed_at)]
    assert since == [pytest.approx(at, abs=1) for at in (100, 900, 1000)]
    assert {batch.failed_at, batch.expired_at, batch.cancelling_at, batch.cancelled_at} == {None}


async def test_rows_are_billed_when_they_are_finished(server, api):
    """The ledger counts a row of a batch once its time has come, by the digest of its body."""
    server.batches = Batches(seconds=1000)
    await create(api, rows(10))
    server.advance(90)
    assert server.ledger.billed == 0
    server.advance(410)
    assert server.ledger.billed == 5
    server.advance(500)
    ledger = server.ledger
    assert ledger.billed_by_request == Counter(request_digest(ask(f"Row {i}")) for i in range(10))
    assert ledger.tokens > 0
    assert len(ledger.bodies) == 10
    counts = (ledger.requests, ledger.answered, ledger.max_in_flight, len(ledger.arrivals))
    assert counts == (0, 0, 0, 0)
    assert (ledger.statuses, ledger.batches_created) == (Counter(), 1)


async def test_without_seconds_a_batch_ends_by_itself(server, api):
    """A batch that takes no time is done, and billed, without being looked at."""
    await create(api, rows(20))
    assert server.ledger.wait_for(lambda ledger: ledger.billed == 20)


async def test_real_time_counts_too(server, api):
    """The server's time goes on by itself."""
    server.batches = Batches(seconds=0.2)
    before = time.monotonic()
    batch = await ended(api, await create(api, rows(3)))
    assert batch.status == "completed"
    assert time.monotonic() - before >= 0.2


async def test_an_expired_batch_has_what_was_finished(server, api):
    """After a day, finished rows are in the output and billed, the others in the error file with their code."""
    server.batches = Batches(unfinished=0.5, seconds=60)
    batch = await create(api, rows(40))
    server.advance(DAY - 10)
    batch = await api.batches.retrieve(batch.id)
    assert batch.status == "in_progress"
    done = batch.request_counts.completed
    assert 0 < done < 40
    server.advance(11)
    batch, output = await api.batches.retrieve(batch.id), {}
    assert batch.status == "expired"
    assert batch.expired_at == batch.created_at + DAY
    assert (batch.request_counts.total, batch.request_counts.completed) == (40, done)
    assert batch.request_counts.failed == 0
    output = {each["custom_id"] for each in await content(api, batch.output_file_id)}
    errors = await content(api, batch.error_file_id)
    assert len(output) == server.ledger.billed == done
    assert output | {each["custom_id"] for each in errors} == {f"row-{i}" for i in range(40)}
    assert len(errors) == 40 - done
    assert {(each["response"], each["error"]["code"]) for each in errors} == {(None, "batch_expired")}


async def test_which_rows_stay_unfinished_goes_by_their_custom_id(server, api):
    """The same rows are left over each time; without any finished there is no output file."""
    server.batches = Batches(unfinished=0.5)
    left = []
    for _ in range(2):
        batch = await create(api, rows(20))
        server.advance(DAY + 1)
        batch = await api.batches.retrieve(batch.id)
        left.append({each["custom_id"] for each in await content(api, batch.error_file_id)})
    assert left[0] == left[1] != set()
    server.batches = Batches(unfinished=1)
    batch = await create(api, rows(3))
    server.advance(DAY + 1)
    batch = await api.batches.retrieve(batch.id)
    assert (batch.status, batch.output_file_id) == ("expired", None)


async def test_a_batch_that_takes_more_than_a_day_expires(server, api):
    """A slow batch expires with the rows that were finished by then."""
    server.batches = Batches(seconds=2 * DAY)
    batch = await create(api, rows(10))
    server.advance(3 * DAY)
    batch = await api.batches.retrieve(batch.id)
    assert (batch.status, batch.request_counts.completed, server.ledger.billed) == ("expired", 5, 5)
    assert len(await content(api, batch.error_file_id)) == 5


async def test_a_cancelled_batch_keeps_what_was_finished(server, api):
    """Cancelling takes its time; finished rows are in the output and billed, the others nowhere."""
    server.batches = Batches(seconds=1000)
    batch = await create(api, rows(10))
    server.advance(500)
    batch = await api.batches.cancel(batch.id)
    assert (batch.status, batch.request_counts.completed) == ("cancelling", 5)
    assert (await api.batches.cancel(batch.id)).status == "cancelling"
    server.advance(99)
    assert (await api.batches.retrieve(batch.id)).status == "cancelling"
    server.advance(2)
    batch = await api.batches.retrieve(batch.id)
    assert (batch.status, batch.error_file_id) == ("cancelled", None)
    assert batch.cancelled_at - batch.cancelling_at == pytest.approx(100, abs=1)
    assert len(await content(api, batch.output_file_id)) == server.ledger.billed == 5
    with pytest.raises(openai.ConflictError, match="Cannot cancel a batch with status 'cancelled'"):
        await api.batches.cancel(batch.id)
    assert server.ledger.batches_cancelled == 1


async def test_a_batch_can_be_cancelled_while_validating(server, api):
    """It has no files then, and nothing is billed."""
    server.batches = Batches(seconds=1000)
    batch = await api.batches.cancel((await create(api, rows(3))).id)
    server.advance(2000)
    batch = await api.batches.retrieve(batch.id)
    assert (batch.status, batch.output_file_id, batch.error_file_id) == ("cancelled", None, None)
    assert server.ledger.billed == 0


async def test_an_ended_batch_cannot_be_cancelled(api):
    """Too late is a 409."""
    batch = await ended(api, await create(api, rows(1)))
    with pytest.raises(openai.ConflictError, match="'completed'"):
        await api.batches.cancel(batch.id)


@pytest.mark.parametrize(("unit", "limit", "written"), [("token", 2_000, "2,000"), ("request", 5, "5")])
async def test_what_is_queued_has_a_limit_for_each_model(server, api, unit, limit, written):
    """A batch that goes over the limit fails after validating; an ended one makes room, at once or later."""
    settings = Batches(seconds=1000, release_seconds=300, **{f"enqueued_{unit}s": limit})
    server.batches = settings
    lines = [row(i, ask("x" * 2000)) for i in range(3)]  # 500 tokens each
    first = await create(api, lines)
    second = await create(api, lines)
    server.advance(50)
    assert (await api.batches.retrieve(second.id)).status == "validating"
    server.advance(60)
    assert (await api.batches.retrieve(first.id)).status == "in_progress"
    second = await api.batches.retrieve(second.id)
    assert second.status == "failed"
    (error,) = second.errors.data
    message = (
        f"Enqueued {unit} limit reached for {MODEL} in organization org-llmframe. Limit: {written} enqueued {unit}s. "
        "Please try again once some in_progress batches have been completed."
    )
    assert (error.code, error.message, error.line, error.param) == (
        f"{unit}_limit_exceeded",
        message,
        None,
        None,
    )
    other = await create(api, [row(i, ask("x" * 2000) | {"model": "gpt-5-mini"}) for i in range(3)])
    server.advance(110)
    assert (await api.batches.retrieve(other.id)).status == "in_progress"
    server.advance(800)
    assert (await api.batches.retrieve(first.id)).status == "completed"
    third = await create(api, lines)
    server.advance(110)
    assert (await api.batches.retrieve(third.id)).status == "failed"
    server.advance(300)
    fourth = await create(api, lines)
    server.advance(110)
    assert (await api.batches.retrieve(fourth.id)).status == "in_progress"


async def test_a_batch_that_is_too_large_alone_fails_too(server, api):
    """With nothing else queued, a batch over the limit fails, and half of it passes."""
    server.batches = Batches(enqueued_requests=3)
    assert (await ended(api, await create(api, rows(6)))).errors.data[0].code == "request_limit_exceeded"
    assert (await ended(api, await create(api, rows(3)))).status == "completed"


async def test_failed_and_cancelled_batches_are_not_queued(server, api):
    """Neither a batch that failed nor one that was cancelled keeps others out."""
    server.batches = Batches(seconds=100, enqueued_requests=3)
    cancelled = await create(api, rows(3))
    server.advance(20)
    await create(api, rows(3))
    server.advance(20)
    await api.batches.cancel(cancelled.id)
    server.advance(20)
    last = await create(api, rows(3))
    server.advance(200)
    states = [batch.status async for batch in api.batches.list()]
    assert states == ["completed", "failed", "cancelled"]
    assert (await api.batches.retrieve(last.id)).status == "completed"


async def test_time_that_leaps_changes_no_outcome(server, api):
    """A limit is judged at the time when validating ended, however late anybody looks."""
    server.batches = Batches(seconds=100, enqueued_requests=3)
    await create(api, rows(3))
    await create(api, rows(3))
    server.advance(95)
    await create(api, rows(3))
    server.advance(DAY * 3)
    states = [batch.status async for batch in api.batches.list()]
    assert states == ["completed", "failed", "completed"]


async def test_a_file_just_uploaded_can_be_unknown_for_a_moment(server, api):
    """With `file_seconds`, creating a batch fails at first and works later."""
    server.batches = Batches(file_seconds=5)
    stored = await upload(api, rows(1))
    message = f"Cannot find file {stored.id}, or project proj_llmframe does not have access to it."
    with pytest.raises(openai.BadRequestError) as caught:
        await api.batches.create(**order(stored.id))
    assert (caught.value.body["message"], caught.value.param, caught.value.code) == (message, "file_id", None)
    server.advance(5)
    assert (await ended(api, await api.batches.create(**order(stored.id)))).status == "completed"


async def test_batches_are_listed_newest_first_and_page_by_page(server, api):
    """Lists have 20 entries unless told, at most 100, and go on behind `after`."""
    stored = await upload(api, rows(1))
    made = [(await api.batches.create(**order(stored.id))).id for _ in range(23)][::-1]
    page = await api.batches.list()
    assert ([batch.id for batch in page.data], page.has_more) == (made[:20], True)
    _, raw = call(server, "/batches?limit=3")
    assert (raw["object"], raw["first_id"], raw["last_id"]) == ("list", made[0], made[2])
    assert [batch.id async for batch in api.batches.list(limit=5)] == made
    for query, param in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("colour=red", "colour"),
    ]:
        status, answer = call(server, f"/batches?{query}")
        assert (status, answer["error"]["param"]) == (400, param)
    assert call(server, "/batches?after=batch_nope")[0] == 400


async def test_unknown_batches_addresses_and_methods_get_json_errors(server, api):
    """What does not exist is a 404, a wrong method a 405, and no key a 401."""
    for attempt in (api.batches.retrieve, api.batches.cancel):
        with pytest.raises(openai.NotFoundError, match="No batch found with id 'batch_nope'"):
            await attempt("batch_nope")
    assert call(server, "/batches/x/y")[0] == 404
    assert call(server, "/filesystem")[0] == 404
    assert call(server, "/files", method="PUT")[0] == 405
    assert call(server, "/batches/x/cancel")[0] == 405
    for path in ("/files", "/files/x/content", "/batches"):
        assert call(server, path, key=None)[0] == 401


async def test_a_lost_answer_leaves_the_batch_behind(server, api):
    """With "reset" the batch is created though its answer never comes, and the list shows it."""
    stored = await upload(api, rows(2))
    server.faults = [Fault("reset", path="/v1/batches", method="POST", first=1)]
    with pytest.raises(openai.APIConnectionError):
        await api.batches.create(**order(stored.id, metadata={"nonce": "n1"}))
    assert server.ledger.batches_created == 1
    (batch,) = [each async for each in api.batches.list()]
    assert batch.metadata == {"nonce": "n1"}
    assert (await ended(api, batch)).status == "completed"
    assert server.ledger.billed == 2


@pytest.mark.parametrize(("kind", "stored"), [("502", 0), ("reset", 1), ("truncated", 1), ("garbled", 1)])
async def test_an_upload_can_go_wrong_before_or_after_it_was_stored(server, api, kind, stored):
    """An error stores nothing, a broken connection leaves a file behind; the next upload works."""
    server.faults = [Fault(kind, path="/v1/files", method="POST", first=1)]
    with pytest.raises((openai.APIError, json.JSONDecodeError)):  # the SDK lets the latter through
        await upload(api, rows(1))
    assert (len(server.files), server.ledger.uploads) == (stored, stored)
    await upload(api, rows(1))
    assert len(server.files) == stored + 1


async def test_an_upload_that_is_broken_off_stores_nothing(server, api):
    """A client that leaves in the middle of its file leaves no file behind."""
    host, port = urlsplit(server.base_url).hostname, urlsplit(server.base_url).port
    _, writer = await asyncio.open_connection(host, port)
    head = "POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nContent-Length: 100000\r\n"
    head += "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    head += 'Content-Disposition: form-data; name="file"; filename="x.jsonl"\r\n\r\nxxxx'
    writer.write(head.encode())
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.close()
    await writer.wait_closed()
    await upload(api, rows(1))
    assert (len(server.files), server.ledger.uploads) == (1, 1)


@pytest.mark.parametrize("kind", ["502", 503, "reset", "truncated"])
async def test_a_download_can_go_wrong(server, api, kind):
    """A content that did not arrive can be asked for again."""
    batch = await ended(api, await create(api, rows(3)))
    server.faults = [Fault(kind, path="/v1/files", method="GET", first=1)]
    with pytest.raises(openai.APIError):
        await api.files.content(batch.output_file_id)
    assert len(await content(api, batch.output_file_id)) == 3


async def test_polls_can_hang_or_come_in_drops(server, api):
    """Slow answers are possible everywhere."""
    batch = await create(api, rows(1))
    path = f"/v1/batches/{batch.id}"
    server.faults = [Fault("hang", path=path, first=1), Fault("trickle", path=path, seconds=0.1)]
    with pytest.raises(openai.APITimeoutError):
        await api.with_options(timeout=0.3).batches.retrieve(batch.id)
    assert (await api.batches.retrieve(batch.id)).id == batch.id


async def test_a_fault_with_a_path_counts_the_requests_of_that_path_only(server, api):
    """Faults of completions leave files and batches alone, and the other way round."""
    seen = []
    server.faults = [
        Fault("500", first=1, after=1),
        Fault(
            429,
            path="/v1/batches",
            method="POST",
            first=1,
            when=lambda b: seen.append(b) or True,
        ),
        Fault(503, path="/v1/files", method="POST", when=lambda body: body.get("purpose") == "user_data"),
    ]
    stored = await upload(api, rows(1))
    with pytest.raises(openai.RateLimitError):
        await api.batches.create(**order(stored.id))
    with pytest.raises(openai.InternalServerError):
        await api.files.create(file=("x", b"x"), purpose="user_data")
    assert seen == [order(stored.id)]
    assert (await api.chat.completions.create(**ask())).choices
    with pytest.raises(openai.InternalServerError):
        await api.chat.completions.create(**ask())
    assert (await ended(api, await api.batches.create(**order(stored.id)))).status == "completed"


@pytest.mark.parametrize(
    "bad",
    [
        {"kind": "500", "method": "POST"},
        {"kind": "500", "path": "files"},
        {"kind": "refusal", "path": "/v1/batches"},
    ],
)
async def test_a_fault_with_an_address_that_makes_no_sense_is_refused(bad):
    """A method without a path, a path that nothing has and an answer fault with a path are errors."""
    with pytest.raises(ValueError, match=r"path|method"):
        Fault(**bad)


@pytest.mark.parametrize(
    "bad",
    [
        {"seconds": -1},
        {"release_seconds": -1},
        {"file_seconds": float("nan")},
        {"unfinished": 1.5},
        {"enqueued_tokens": 0},
        {"max_requests": 0},
    ],
)
async def test_settings_that_make_no_sense_are_refused(bad):
    """Settings are checked when they are made."""
    (name,) = bad
    with pytest.raises(ValueError, match=name):
        Batches(**bad)


async def test_settings_can_be_given_and_changed():
    """The server shows its settings; what a batch was created with stays with it."""
    settings = Batches(seconds=50)
    assert LocalServer().batches == Batches()
    with LocalServer(batches=settings) as server:
        assert server.batches is settings
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as api:
            slow = await create(api, rows(1))
            server.batches = Batches()
            assert (await ended(api, await create(api, rows(1)))).status == "completed"
            assert (await api.batches.retrieve(slow.id)).status == "validating"
            server.advance(50)
            assert (await api.batches.retrieve(slow.id)).status == "completed"


async def test_time_does_not_go_back(server):
    """`advance` takes no negative seconds, and works on a stopped server too."""
    with pytest.raises(ValueError, match="seconds"):
        server.advance(-1)
    LocalServer().advance(10)


async def test_batches_outlive_outages_restarts_and_resets(server, api):
    """A batch goes on while nobody can reach the server, and is there after a restart."""
    server.batches = Batches(seconds=100)
    batch = await create(api, rows(3))
    with server.outage():
        server.advance(100)
    assert (await api.batches.retrieve(batch.id)).status == "completed"
    again = await create(api, rows(3))
    server.stop()
    server.advance(100)
    server.start()
    assert (await ended(api, again)).status == "completed"
    server.reset()
    assert len([each async for each in api.batches.list()]) == 2
    assert (server.ledger.batches_created, server.ledger.uploads) == (0, 0)


async def test_an_input_file_may_go_while_its_batch_runs(server, api):
    """Deleting the input file does not hurt the batch."""
    server.batches = Batches(seconds=100)
    batch = await create(api, rows(3))
    await api.files.delete(batch.input_file_id)
    server.advance(100)
    assert (await api.batches.retrieve(batch.id)).request_counts.completed == 3


async def test_a_large_batch_leaves_the_server_answering(server, api):
    """While thousands of rows are answered, other requests do not wait for them."""
    batch = await create(api, rows(10_000))
    longest, answered = 0.0, 0
    while (batch := await api.batches.retrieve(batch.id)).status != "completed":
        before = time.monotonic()
        answer = await api.chat.completions.create(**ask("Are you there?"))
        longest, answered = max(longest, time.monotonic() - before), answered + 1
        assert answer.choices[0].message.content == made_up_answer(ask("Are you there?"))
    assert answered > 0
    assert longest < 2
    assert batch.request_counts.completed == 10_000
    assert server.ledger.requests == answered


async def test_the_ledger_over_http_counts_files_and_batches(server, api):
    """The counters are in the ledger that a server in another process is asked for."""
    await ended(api, await create(api, rows(2)))
    _, counts = call(server, "llmframe/ledger")
    assert (counts["uploads"], counts["batches_created"], counts["billed"]) == (1, 1, 2)
    assert counts["requests"] == 0
