"""Files of the local server: uploads, lists, downloads, expiry, and what can go wrong."""

import asyncio
import json
from urllib.parse import urlsplit

import openai
import pytest
from testing.batch_client import (
    DAY,
    content,
    create,
    ended,
    jsonl,
    order,
    request,
    rows,
    upload,
)

from llmframe.testing import Batches, Fault

pytestmark = pytest.mark.asyncio


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
    status, answer = request(server, "/files", body, method="POST", form=kind)
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


async def test_an_input_file_may_go_while_its_batch_runs(server, api):
    """Deleting the input file does not hurt the batch."""
    server.batches = Batches(seconds=100)
    batch = await create(api, rows(3))
    await api.files.delete(batch.input_file_id)
    server.advance(100)
    assert (await api.batches.retrieve(batch.id)).request_counts.completed == 3
