"""The account's limits on what is enqueued."""

from __future__ import annotations

import time

import pandas as pd
import pytest
from batch.calls import complete, interrupt, right, sizes, start, until_created, use_empty_journal
from helpers import asked, texts, tune

import llmframe
from llmframe._api import BatchRefusal, BatchSize
from llmframe._batch.enqueued_limit import EnqueuedLimit, Halve, SubmitLater
from llmframe._options import Tuning
from llmframe.testing import Batches
from llmframe.testing._batch import service


def test_parts_beyond_the_enqueued_limit_wait_for_earlier_ones(llm):
    """A part that is refused late is submitted again when another has ended; nothing is paid twice."""
    tune(batch_requests=20)
    llm.batches = Batches(seconds=0.2, enqueued_requests=45)
    frame = asked(120)
    complete(frame)
    assert right(frame)
    assert llm.ledger.billed == 120
    assert llm.ledger.batches_created > 6


def test_a_run_says_which_enqueued_limit_it_waits_for(llm):
    """In the server's words, while a part is held back for another."""
    tune(batch_requests=20)
    llm.batches = Batches(seconds=1_000, enqueued_requests=25)
    run = start(asked(40))
    until_created(llm, 2)
    llm.advance(200)
    deadline = time.monotonic() + 30
    while run.waiting is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert "Enqueued request limit reached" in run.waiting.words
    llm.batches = Batches()
    llm.advance(1_000)
    run.result(30)
    assert run.waiting is None


def test_a_part_that_is_too_large_alone_is_halved(llm):
    """The account's message states the limit, so that no time is spent waiting."""
    llm.batches = Batches(enqueued_requests=15)
    frame = asked(50)
    complete(frame)
    assert right(frame)
    assert llm.ledger.billed == 50


def test_one_row_that_can_never_fit_fails_alone(llm):
    llm.batches = Batches(enqueued_tokens=400)
    frame = pd.DataFrame({"q": [*texts(20), "many words " * 2_000]})
    with pytest.raises(llmframe.CompletionError, match="1 × token_limit_exceeded"):  # noqa: RUF001
        complete(frame)
    assert right(frame.head(20))
    assert llm.ledger.billed == 20


def _unstated(unit, *_):
    return {"code": f"{unit}_limit_exceeded", "message": "Too much is enqueued.", "param": None, "line": None}


def test_a_large_row_does_not_make_the_parts_of_the_others_small(llm, monkeypatch):
    """The account does not state its limit: the part is halved until the large row is alone, and no later one is."""
    tune(batch_requests=16)
    tune(lone_refusals=4)
    monkeypatch.setattr(service, "_limit_error", _unstated)
    llm.batches = Batches(enqueued_tokens=750)
    frame = pd.DataFrame({"q": [*texts(18), "many words " * 1_000, *texts(18, 76)]})
    with pytest.raises(llmframe.CompletionError, match="1 × token_limit_exceeded"):  # noqa: RUF001
        complete(frame)
    assert right(frame.drop(18))
    assert sorted(sizes(llm))[-3:] == [16, 16, 16]


def test_a_lagging_release_is_waited_for(llm):
    """Just after a batch's end its tokens may still count: the next part is not halved for that."""
    tune(batch_requests=20)
    llm.batches = Batches(enqueued_requests=20, release_seconds=0.5)
    frame = asked(60)
    complete(frame)
    assert right(frame)
    assert sizes(llm) == [20, 20, 20]


def test_another_notebooks_batches_are_waited_for(llm, tmp_path):
    """What else the account has enqueued is no reason to halve a part."""
    llm.batches = Batches(seconds=1_000, enqueued_requests=25)
    other = start(asked(100, 120))
    until_created(llm, 1)
    interrupt(other)
    llm.advance(200)
    llm.batches = Batches(enqueued_requests=25)
    use_empty_journal(tmp_path)
    frame = asked(10)
    run = start(frame, "Another recipe.")
    assert llm.ledger.wait_for(lambda ledger: ledger.batches_created >= 3)
    llm.advance(1_000)
    run.result(30)
    assert sorted(sizes(llm)) == [10, 20]


def test_a_part_that_is_refused_alone_again_and_again_is_halved():
    """After `lone_refusals`, although something ended lately; later parts have half of the tokens at most."""
    tuning = Tuning()
    limit = EnqueuedLimit(tuning)
    refusal = BatchRefusal("token_limit_exceeded", "…", requests=False, limit=None, never=False)
    size = BatchSize(100, 1_000)
    decisions = [
        limit.on_refused(refusal, size, refusals=number, alone=number, lagging=True)
        for number in range(1, tuning.lone_refusals + 1)
    ]
    assert all(isinstance(decision, SubmitLater) for decision in decisions[:-1])
    assert decisions[-1] == Halve()
    assert limit.fits(BatchSize(100, 500))
    assert not limit.fits(BatchSize(100, 501))
