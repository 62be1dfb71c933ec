"""Limits on what is enqueued in batches."""

import openai
import pytest
from testing.batch_client import DAY, create, ended, ran, row, rows
from testing.client import MODEL, ask

from llmframe.testing import Batches, Limits, LocalServer

pytestmark = pytest.mark.asyncio


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


async def test_live_limits_do_not_hold_for_batches():
    """Rows of batches neither wait for the live limits nor use them up."""
    with LocalServer(limits=Limits(requests_per_minute=1)) as server:
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as api:
            _, output, _ = await ran(api, rows(20))
            assert len(output) == 20
            await api.chat.completions.create(**ask())
