"""Batches of earlier runs are found, and their rows are not paid again."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from batch.calls import (
    DAY,
    HANGS,
    Caller,
    api,
    complete,
    interrupt,
    right,
    start,
    until_created,
    until_submitted,
    use_empty_journal,
)
from helpers import asked

import llmframe
from llmframe._api import BatchApi
from llmframe._journal import open_journal
from llmframe.testing import Batches, Fault


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "open"])
def test_another_machine_with_an_empty_journal_finds_the_accounts_batches(finished, submitted, tmp_path):
    """Rows were added and left out meanwhile: only those that are in no batch are submitted."""
    server, _ = submitted
    use_empty_journal(tmp_path)
    frame = asked(3, 14)
    if finished:
        server.advance(DAY)
    run = start(frame)
    until_created(server, 2)
    server.advance(DAY)
    run.result(30)
    assert right(frame)
    assert server.ledger.billed == 14
    assert run.sent == 4


def test_without_a_journal_a_batch_run_still_finds_what_was_paid(llm):
    """With `journal=False` the account itself knows its batches."""
    complete(asked(5), journal=False)
    frame = asked(7)
    complete(frame, journal=False)
    assert right(frame)
    assert llm.ledger.billed == 7


def test_all_pages_of_the_accounts_batches_are_read(submitted, tmp_path):
    """The batch in question is the oldest of 206."""
    server, frame = submitted
    server.batches = Batches()
    client = api(server)
    stored = client.files.create(file=("x.jsonl", b"{}\n"), purpose="batch")
    for _ in range(205):
        client.batches.create(
            input_file_id=stored.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
    server.advance(DAY)
    use_empty_journal(tmp_path)
    complete(frame)
    assert right(frame)
    assert server.ledger.billed == 10


@pytest.mark.parametrize(
    "fault",
    [
        Fault("permission", path="/v1/batches", method="GET"),
        Fault("permission", path="/v1/files/file-", method="GET"),
    ],
    ids=["the list", "a file"],
)
def test_a_run_stops_where_the_accounts_batches_cannot_be_read(fault, submitted, tmp_path):
    """Nothing is submitted that may be paid already, unless `options.reattach` is false."""
    server, frame = submitted
    use_empty_journal(tmp_path)
    server.faults = [fault]
    with pytest.raises(llmframe.StoppedError, match="reattach") as error:
        complete(frame)
    assert error.value.code == "batches_unreadable"
    assert server.ledger.batches_created == 1
    server.faults = []
    server.batches = Batches()
    llmframe.options.reattach = False
    complete(frame)
    assert right(frame)


def test_a_batch_that_came_after_the_listing_is_not_taken_for_none(submitted, tmp_path, monkeypatch):
    """Its run entered it and released it while another run was still reading an older list of the account's."""
    server, frame = submitted
    place = Path(llmframe.options.journal)
    listed, stale = BatchApi.listed, []

    async def forget_batch():
        async with open_journal(place) as journal:
            (part,) = await journal.batches.list_parts()
            await journal.batches.reset_intent(part.nonce, part.nonce)
            return part

    part = asyncio.run(forget_batch())

    async def list_late(account):
        if stale:
            return await listed(account)
        stale.append(await listed(account))
        async with open_journal(place) as journal:
            await journal.batches.set_batch(part.nonce, part.batch)
        return []

    monkeypatch.setattr(BatchApi, "listed", list_late)
    run = start(frame)
    until_submitted(run)
    server.advance(DAY)
    run.result(30)
    assert [[state.id for state in states] for states in stale] == [[part.batch]]
    assert right(frame)
    assert (server.ledger.batches_created, server.ledger.billed) == (1, len(frame))


CLAIMER = """
import asyncio, json, os, sys
from pathlib import Path
from llmframe._journal import open_journal

async def claim(place, keys):
    async with open_journal(place) as journal:
        session = await journal.begin(b"recipe", {})
        claimed = await journal.claim(session, keys)
        os._exit(len(claimed.granted) != len(keys))

asyncio.run(claim(Path(sys.argv[1]), [bytes.fromhex(key) for key in json.loads(sys.argv[2])]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("dead", ["a live run", "a batch run"])
def test_a_dead_runs_claims_keep_no_rows_out_of_an_open_batch(dead, llm, tmp_path):
    """What another machine has submitted is not submitted once more, although a run died here that had claimed it."""
    frame, here = asked(10), tmp_path / "here.sqlite"
    llm.batches = HANGS
    if dead == "a batch run":
        llm.faults = [Fault("hang", path="/v1/batches", method="POST", first=1)]
        with Caller(llm, frame["q"].tolist(), here) as caller:
            assert llm.ledger.wait_for(lambda ledger: ledger.uploads == 1, timeout=60)
            time.sleep(0.3)
            caller.process.kill()
    run = start(frame)
    interrupt(run)
    if dead == "a live run":
        keys = [key.hex() for key in run._plan.keys]
        assert len(keys) == 10
        subprocess.run([sys.executable, "-c", CLAIMER, here, json.dumps(keys[:7])], check=True, timeout=60)
    llmframe.options.journal = str(here)
    run = start(frame)
    until_submitted(run)
    llm.advance(DAY)
    run.result(30)
    assert right(frame)
    assert (llm.ledger.batches_created, llm.ledger.billed) == (1, 10)


def test_a_fresh_run_does_not_take_older_batches_for_its_own(submitted, tmp_path):
    """`fresh=True` asks again what a batch in the account has answered."""
    server, frame = submitted
    server.batches = Batches()
    server.advance(DAY)
    complete(frame)
    complete(frame, fresh=True)
    assert server.ledger.billed == 20
