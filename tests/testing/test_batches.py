"""The way of a batch: status, output, time, expiry, cancelling, limits."""

import asyncio
import time
from collections import Counter

import openai
import pytest
from openapi import validator
from testing.batch_client import DAY, content, create, ended, jsonl, order, ran, request, rows, upload
from testing.client import MODEL, ask

from llmframe.testing import Batches, LocalServer, made_up_answer, request_digest

pytestmark = pytest.mark.asyncio


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
    batch = await ended(api, await create(api, rows(50)))
    found = [line["custom_id"] for line in await content(api, batch.output_file_id)]
    assert sorted(found) == sorted(f"row-{i}" for i in range(50))
    assert found != [f"row-{i}" for i in range(50)]


def without_nulls(value):
    """The API sends null for what an object does not have; its document leaves that out."""
    return {name: each for name, each in value.items() if each is not None}


async def test_objects_have_the_published_shapes(server):
    """Files, batches and lists of them, in all that they say, are as the API's own document has them."""
    form = b"--b\r\nContent-Disposition: form-data; name=purpose\r\n\r\nbatch\r\n"
    form += b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.jsonl"\r\n\r\n'
    form += jsonl(rows(2)) + b"\r\n--b--\r\n"
    kind = "multipart/form-data; boundary=b"
    status, stored = request(server, "/files", form, method="POST", form=kind)
    assert status == 200
    assert stored["bytes"] == len(jsonl(rows(2)))
    validator("OpenAIFile").validate(without_nulls(stored))
    validator("CreateBatchRequest").validate(order(stored["id"], metadata={"a": "b"}))
    _, batch = request(server, "/batches", order(stored["id"], metadata={"a": "b"}), method="POST")
    assert batch["status"] == "validating"
    validator("Batch").validate(without_nulls(batch))
    server.advance(1)
    _, batch = request(server, f"/batches/{batch['id']}")
    assert batch["status"] == "completed"
    validator("Batch").validate(without_nulls(batch))
    _, files = request(server, "/files")
    validator("ListFilesResponse").validate(files | {"data": list(map(without_nulls, files["data"]))})
    _, batches = request(server, "/batches")
    validator("ListBatchesResponse").validate(batches | {"data": list(map(without_nulls, batches["data"]))})
    validator("ErrorResponse").validate(request(server, "/batches/nope")[1])
    validator("DeleteFileResponse").validate(request(server, f"/files/{stored['id']}", method="DELETE")[1])


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


async def test_batches_are_listed_newest_first_and_page_by_page(server, api):
    """Lists have 20 entries unless told, at most 100, and go on behind `after`."""
    stored = await upload(api, rows(1))
    made = [(await api.batches.create(**order(stored.id))).id for _ in range(23)][::-1]
    page = await api.batches.list()
    assert ([batch.id for batch in page.data], page.has_more) == (made[:20], True)
    _, raw = request(server, "/batches?limit=3")
    assert (raw["object"], raw["first_id"], raw["last_id"]) == ("list", made[0], made[2])
    assert [batch.id async for batch in api.batches.list(limit=5)] == made
    for query, param in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("colour=red", "colour"),
    ]:
        status, answer = request(server, f"/batches?{query}")
        assert (status, answer["error"]["param"]) == (400, param)
    assert request(server, "/batches?after=batch_nope")[0] == 400


async def test_unknown_batches_addresses_and_methods_get_json_errors(server, api):
    """What does not exist is a 404, a wrong method a 405, and no key a 401."""
    for attempt in (api.batches.retrieve, api.batches.cancel):
        with pytest.raises(openai.NotFoundError, match="No batch found with id 'batch_nope'"):
            await attempt("batch_nope")
    assert request(server, "/batches/x/y")[0] == 404
    assert request(server, "/filesystem")[0] == 404
    assert request(server, "/files", method="PUT")[0] == 405
    assert request(server, "/batches/x/cancel")[0] == 405
    for path in ("/files", "/files/x/content", "/batches"):
        assert request(server, path, key=None)[0] == 401


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
    _, counts = request(server, "llmframe/ledger")
    assert (counts["uploads"], counts["batches_created"], counts["billed"]) == (1, 1, 2)
    assert counts["requests"] == 0


async def test_a_batch_is_written_as_the_settings_say(server, api):
    """Everywhere that it is shown; the function learns how often it was shown since it ended."""
    seen = []

    def write(batch, looks):
        seen.append(looks)
        return batch | {"status": batch["status"].upper(), "error_file_id": ""}

    server.batches = Batches(write_batch=write)
    batch = await create(api, rows(2))
    assert batch.status == "VALIDATING"
    async with asyncio.timeout(20):
        while batch.status != "COMPLETED":
            await asyncio.sleep(0.002)
            batch = await api.batches.retrieve(batch.id)
    (listed,) = (await api.batches.list()).data
    assert (listed.status, listed.error_file_id) == ("COMPLETED", "")
    assert seen[-2:] == [1, 2]
    assert not any(seen[:-2])


@pytest.mark.parametrize("path", ["batches", "files"])
async def test_pages_are_written_as_the_settings_say(path, server, api):
    """The function gets the page and its query; other responses stay as they are."""
    await ended(api, await create(api, rows(1)))
    server.batches = Batches(write_page=lambda page, query: page | {"data": None, "limit": query["limit"]})
    page = await getattr(api, path).list(limit=7)
    assert (page.data, page.limit) == (None, "7")


async def test_result_files_are_written_as_the_settings_say(server, api):
    """The function gets the content and how often it was downloaded; input files stay as they are."""
    server.batches = Batches(write_file=lambda content, downloads: content[:10] * downloads)
    batch = await ended(api, await create(api, rows(2)))
    for downloads in (1, 2):
        written = (await api.files.content(batch.output_file_id)).content
        assert written == b'{"id":"bat' * downloads
    assert (await api.files.content(batch.input_file_id)).content == jsonl(rows(2))
