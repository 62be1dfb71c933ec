"""Processes that are killed, interrupted, or at work side by side."""

from __future__ import annotations

import json
import random
import signal
import time

import pytest
from batch.calls import DAY, HANGS, Caller, api, complete, input_files, right, start, until_created
from helpers import answer, asked, texts

import llmframe
from llmframe.testing import Batches, Fault


def test_a_killed_process_comes_back_to_the_same_batches(llm, tmp_path):
    """After `kill -9` the same call waits for them, and nothing is submitted twice."""
    llm.batches = HANGS
    with Caller(llm, texts(50), tmp_path / "journal.sqlite", batch_requests=20) as caller:
        until_created(llm, 3)
        caller.process.kill()
    frame = asked(50)
    run = start(frame)
    llm.advance(DAY)
    run.result(30)
    assert right(frame)
    assert llm.ledger.batches_created == 3
    assert llm.ledger.billed == 50


def test_a_part_that_never_became_a_batch_is_forgotten(llm, tmp_path):
    """After a crash between upload and creation the file is deleted, and the rows are submitted again."""
    llm.faults = [Fault("hang", path="/v1/batches", method="POST", first=1)]
    with Caller(llm, texts(5), tmp_path / "journal.sqlite") as caller:
        assert llm.ledger.wait_for(lambda ledger: ledger.uploads == 1, timeout=60)
        time.sleep(0.3)
        caller.process.kill()
    frame = asked(5)
    complete(frame)
    assert right(frame)
    assert llm.ledger.billed == 5
    assert input_files(llm) == 0


@pytest.mark.slow
@pytest.mark.parametrize("journal", ["kept", "emptied"])
def test_kills_at_any_moment_pay_nothing_twice(journal, llm, tmp_path):
    """Four kills between upload and collection; also when the journal is lost each time."""
    llm.batches = Batches(seconds=0.4)
    moments = random.Random(7)
    rows = texts(90)
    for turn in range(4):
        path = tmp_path / (f"{turn}.sqlite" if journal == "emptied" else "journal.sqlite")
        before = llm.ledger.uploads
        with Caller(llm, rows, path, batch_requests=30) as caller:
            llm.ledger.wait_for(lambda ledger, before=before: ledger.uploads > before, timeout=1.5)
            time.sleep(moments.uniform(0, 0.3))
            caller.process.kill()
    frame = asked(90)
    complete(frame)
    assert right(frame)
    assert llm.ledger.billed == 90
    assert llmframe.last_run().uncertain == 0


@pytest.mark.slow
def test_two_processes_at_once_pay_once(llm, tmp_path):
    """Overlapping rows are in one batch only, which one process collects for both."""
    llm.batches = Batches(seconds=1.0)
    journal = tmp_path / "journal.sqlite"
    with (
        Caller(llm, texts(60), journal, batch_requests=20) as one,
        Caller(llm, texts(30, 90), journal, batch_requests=20) as two,
    ):
        for caller, rows in ((one, texts(60)), (two, texts(30, 90))):
            out, err = caller.process.communicate(timeout=90)
            assert json.loads(out) == [answer(text) for text in rows], err
    assert llm.ledger.billed == 90


@pytest.mark.slow
def test_interrupting_detaches_and_says_how_to_come_back(llm, tmp_path):
    """Ctrl-C does not cancel the batches, and says so in one line; the same call waits for them again."""
    llm.batches = HANGS
    with Caller(llm, texts(10), tmp_path / "journal.sqlite") as caller:
        until_created(llm, 1)
        time.sleep(0.3)
        caller.process.send_signal(signal.SIGINT)
        out, err = caller.process.communicate(timeout=30)
    assert "interrupted" in out
    (name,) = [batch.id for batch in api(llm).batches.list()]
    assert (
        f"1 batch goes on; run the cell again to come back, or cancel with llmframe.cancel('{name}')" in err
    )
    assert "24 hours" in err
    assert llm.ledger.batches_cancelled == 0
    llm.advance(DAY)
    frame = asked(10)
    complete(frame)
    assert right(frame)
    assert llm.ledger.billed == 10
