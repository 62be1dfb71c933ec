"""Batches that are under way: listed, collected, cancelled and shown."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from batch.calls import DAY, complete, right, start, until_created, use_empty_journal
from helpers import MODEL, asked

import llmframe
from llmframe._api import BatchApi
from llmframe.testing import Batches


def test_batches_are_listed_and_collected(submitted):
    """The table has one row a batch; what is collected is in the journal, with the server gone."""
    server, frame = submitted
    server.advance(DAY / 2)
    table = llmframe.batches()
    assert table[["state", "requests", "model", "column"]].to_numpy().tolist() == [
        ["in_progress", 10, MODEL, "q → a"]
    ]
    assert table["cost"].isna().all()
    assert str(table["created"].dtype).endswith("UTC]")
    assert len(llmframe.collect()) == 1
    server.advance(DAY)
    table = llmframe.collect()
    assert table[["state", "completed"]].to_numpy().tolist() == [["completed", 10]]
    assert table["cost"][0] > 0
    server.stop()
    complete(frame, mode="offline")
    assert right(frame)


def test_collect_finds_the_accounts_batches_without_a_journal_of_them(submitted, tmp_path):
    server, frame = submitted
    server.advance(DAY)
    use_empty_journal(tmp_path)
    assert llmframe.collect()["completed"].tolist() == [10]
    assert complete(frame).from_journal == 10


@pytest.mark.parametrize(("endpoint", "found"), [("/v1/embeddings", 0), (None, 1)])
def test_collect_leaves_batches_of_other_endpoints_open(submitted, tmp_path, monkeypatch, endpoint, found):
    """Their bodies would be read as if they had no answer. A server that states none has only one endpoint."""
    server, _ = submitted
    server.advance(DAY)
    use_empty_journal(tmp_path)
    listed = BatchApi.listed

    async def listed_with_endpoint(self):
        return [replace(state, endpoint=endpoint) for state in await listed(self)]

    monkeypatch.setattr(BatchApi, "listed", listed_with_endpoint)
    assert len(llmframe.collect()) == found


def test_cancel_takes_a_batchs_id(submitted):
    """It returns the state; an unknown id is an error."""
    server, frame = submitted
    (name,) = llmframe.batches()["id"]
    assert llmframe.cancel(name) in {"cancelling", "cancelled"}
    server.advance(DAY)
    assert llmframe.cancel(name) == "cancelled"
    server.batches = Batches()
    complete(frame)
    assert right(frame)
    with pytest.raises(ValueError, match="no batch 'batch_x'"):
        llmframe.cancel("batch_x")
    with pytest.raises(TypeError, match=r"^batch must be"):
        llmframe.cancel(None)
    with pytest.raises(TypeError, match="unexpected keyword 'model'"):
        llmframe.batches(model="x")


def test_cancelling_a_run_cancels_its_batches(llm):
    """What was finished by then is billed, and the next call has it."""
    llm.batches = Batches(seconds=1_000)
    frame = asked(20)
    run = start(frame)
    until_created(llm, 1)
    llm.advance(500)
    run.cancel()
    with pytest.raises(llmframe.StoppedError, match="cancelled"):
        run.result(30)
    assert llm.ledger.wait_for(lambda ledger: ledger.batches_cancelled == 1)
    billed = llm.ledger.billed
    assert 0 < billed < 20
    llm.batches = Batches()
    llm.advance(DAY)
    complete(frame)
    assert right(frame)
    assert llm.ledger.billed == 20


def test_progress_says_how_far_the_batches_are(llm):
    """Requests done of all, parts by state, and the time since submission."""
    llm.batches = Batches(seconds=1_000)
    frame = asked(20)
    run = start(frame)
    until_created(llm, 1)
    llm.advance(500)
    execution = run._execution
    deadline = time.monotonic() + 60
    while not execution.progress().done and time.monotonic() < deadline:
        time.sleep(0.01)
    progress = execution.progress()
    assert 0 < progress.done < 20
    assert "1 in_progress" in progress.waiting
    llm.advance(DAY)
    run.result(30)
    assert execution.progress().done == 20
