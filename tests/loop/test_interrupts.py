"""Ctrl-C, and cancellations that come at a bad moment."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from end_to_end.scripts import kept
from helpers import MODEL
from loop.calls import PATIENCE, press, press_when_silent, reviews

import llmframe
from llmframe import StoppedError
from llmframe._api import sdk_client
from llmframe._loop import submit, tasks, uninterrupted
from llmframe._run import starting
from llmframe.testing import Fault, LocalServer

if TYPE_CHECKING:
    from pathlib import Path


class PressedWhenWritten(pd.DataFrame):
    """A frame into which a column is written just as Ctrl-C is pressed."""

    def __setitem__(self, key: Any, value: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        super().__setitem__(key, value)


def test_ctrl_c_while_the_column_is_written_waits_until_it_is_whole(llm: LocalServer) -> None:
    """The write-back is not interruptible, and the interrupt is not forgotten."""
    frame = PressedWhenWritten(reviews())
    with pytest.raises(KeyboardInterrupt):
        frame.llm.complete("review", into="answer")
    assert frame["answer"].notna().all()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.asyncio
async def test_ctrl_c_while_an_awaited_column_is_written_waits_likewise(llm: LocalServer) -> None:
    """Where the loop has no handler of its own for SIGINT, the write-back is not interruptible either."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    frame = PressedWhenWritten(reviews())
    try:
        with pytest.raises(KeyboardInterrupt):
            await frame.llm.acomplete("review", into="answer")
    finally:
        signal.signal(signal.SIGINT, before)
    assert frame["answer"].notna().all()


def test_ctrl_c_between_the_start_and_the_wait_is_not_lost(
    llm: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt that comes just as the run starts ends the run."""
    llm.faults = [Fault("hang")]
    plain_start = starting.start

    def interrupted_start(*arguments: Any, **settings: Any) -> Any:
        run = plain_start(*arguments, **settings)
        signal.raise_signal(signal.SIGINT)
        return run

    monkeypatch.setattr(starting, "start", interrupted_start)
    with pytest.raises(KeyboardInterrupt):
        reviews().llm.complete("review", into="answer")
    assert llmframe.last_run().status == "interrupted"
    assert llm.ledger.wait_for(lambda ledger: ledger.in_flight == 0)


def test_a_second_ctrl_c_does_not_wait_for_work_that_will_not_unwind() -> None:
    """Work that ignores its cancellation holds the caller for one press, not for two."""
    released = threading.Event()

    async def stubborn() -> None:
        while not released.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    work = submit(stubborn)
    began = time.monotonic()
    press(0.2, 0.6)
    with pytest.raises(KeyboardInterrupt), uninterrupted() as interrupts:
        work.wait(None, interrupts)
    assert time.monotonic() - began < tasks.UNWIND_SECONDS
    released.set()
    assert work.future.result(PATIENCE) is None


def test_a_run_that_does_not_unwind_still_writes_and_says_so(
    llm: LocalServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the transport does not close, the column is written and the line is said at the second Ctrl-C."""
    close, released = sdk_client.SdkTransport.close_connections, threading.Event()

    async def late_close(transport: sdk_client.SdkTransport) -> None:
        await asyncio.to_thread(released.wait, PATIENCE)
        await close(transport)

    monkeypatch.setattr(sdk_client.SdkTransport, "close_connections", late_close)
    llm.faults = [Fault("hang", after=10)]
    frame = reviews(40)

    press_when_silent(llm, 10, 20, 0.5)
    with pytest.raises(KeyboardInterrupt):
        frame.llm.complete("review", into="answer", max_concurrency=30, progress=True)
    assert not llmframe.last_run().done()
    assert frame["answer"].notna().sum() == 10
    assert capsys.readouterr().err.count("interrupted: run the cell again") == 1
    assert frame.attrs["llmframe"]["answer"]["complete"] is False
    released.set()
    with pytest.raises(StoppedError):
        llmframe.last_run().result(timeout=PATIENCE)


def test_a_run_that_is_cancelled_while_the_journal_is_busy_leaves_the_journal_usable(
    llm: LocalServer, tmp_path: Path
) -> None:
    """Cancelling what waits for the journal's thread does not take the thread with it."""
    llmframe.complete(["first"])
    other = sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    run = llmframe.complete(["second"], wait=False)
    with pytest.raises(TimeoutError):
        run.result(timeout=0.3)
    run.cancel()
    time.sleep(0.1)
    other.execute("ROLLBACK")
    other.close()
    with pytest.raises(StoppedError):
        run.result(timeout=PATIENCE)
    assert llmframe.complete(["third"], wait=False).result(timeout=PATIENCE)[0]


def test_answers_that_came_are_kept_when_the_run_is_cancelled_while_it_writes_them(tmp_path: Path) -> None:
    """A cancellation does not break into the journal's last commits."""
    waves = iter([1.5] * 5 + [2.0] * 5)
    with LocalServer(latency=lambda _: next(waves)) as slow:
        llmframe.options.base_url, llmframe.options.api_key = slow.base_url, "any"
        llmframe.options.model = MODEL
        run = llmframe.complete([f"row {row}" for row in range(10)], wait=False)
        assert slow.ledger.wait_for(lambda ledger: ledger.in_flight == 10)
        other = sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert slow.ledger.wait_for(lambda ledger: ledger.answered == 10)
        while run.answered < 10:
            time.sleep(0.01)
        time.sleep(0.1)
        run.cancel()
        time.sleep(0.1)
        other.execute("ROLLBACK")
        other.close()
        with pytest.raises(StoppedError):
            run.result(timeout=PATIENCE)
    assert kept(tmp_path) == (10, 0)
