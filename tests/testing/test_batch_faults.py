"""Faults of rows, of batches and of their files."""

import openai
import pytest
from testing.batch_client import create, ended, order, ran, rows, upload
from testing.client import ask

from llmframe.testing import Fault, LocalServer

pytestmark = pytest.mark.asyncio


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
