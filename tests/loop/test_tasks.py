"""A coroutine beside a block: whoever starts it sees its failure, and nothing of it is left running."""

from __future__ import annotations

import asyncio

import pytest

from llmframe._loop import beside


async def fail():
    raise OSError("the disk is full")


async def sleep_for_ever(ended):
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("side task")


async def failing_block(steps):
    async with beside(steps):
        await asyncio.sleep(0)
        raise ValueError("the block's own")


async def others_running():
    """Return the tasks of this loop but the one that asks."""
    return asyncio.all_tasks() - {asyncio.current_task()}


@pytest.mark.asyncio
async def test_a_side_task_is_cancelled_when_its_block_ends():
    """It has unwound before the block's successor runs."""
    ended = []
    async with beside(sleep_for_ever(ended)):
        await asyncio.sleep(0)
        assert ended == []
    assert ended == ["side task"]
    assert not await others_running()


@pytest.mark.asyncio
async def test_a_side_task_that_has_ended_by_itself_is_no_error():
    async with beside(asyncio.sleep(0)):
        await asyncio.sleep(0.01)
    assert not await others_running()


@pytest.mark.asyncio
async def test_a_side_task_that_failed_is_seen_after_the_block():
    """The block runs to its end first."""
    steps = []

    async def block():
        async with beside(fail()):
            await asyncio.sleep(0)
            steps.append("the whole block")

    with pytest.raises(OSError, match="the disk is full"):
        await block()
    assert steps == ["the whole block"]
    assert not await others_running()


@pytest.mark.asyncio
async def test_a_side_task_that_fails_as_it_is_cancelled_is_seen_too():
    async def fail_late():
        try:
            await asyncio.Event().wait()
        finally:
            await fail()

    async def block():
        async with beside(fail_late()):
            await asyncio.sleep(0)

    with pytest.raises(OSError, match="the disk is full"):
        await block()
    assert not await others_running()


@pytest.mark.asyncio
async def test_a_side_task_that_failed_beside_a_failing_block_is_noted_on_its_error():
    with pytest.raises(ValueError, match="the block's own") as raised:
        await failing_block(fail())
    assert raised.value.__notes__ == ["meanwhile this failed: OSError('the disk is full')"]
    assert not await others_running()


@pytest.mark.asyncio
async def test_a_failing_block_cancels_its_side_task():
    ended = []
    with pytest.raises(ValueError, match="the block's own") as raised:
        await failing_block(sleep_for_ever(ended))
    assert not hasattr(raised.value, "__notes__")
    assert ended == ["side task"]
    assert not await others_running()


@pytest.mark.asyncio
async def test_a_cancelled_block_leaves_no_side_task():
    """Also where the side task takes a while to unwind, and the block is cancelled again meanwhile."""
    ended, entered = [], asyncio.Event()

    async def unwind_slowly():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            ended.append("side task")

    async def block():
        async with beside(unwind_slowly()):
            await asyncio.sleep(0)
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(block())
    await entered.wait()
    task.cancel()
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["side task"]
    assert not await others_running()
