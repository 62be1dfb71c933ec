"""One frame asked live and by batch."""

from __future__ import annotations

import pytest
from batch.calls import DAY, HANGS, complete, interrupt, right, start, until_created
from helpers import asked

import llmframe

pytestmark = pytest.mark.usefixtures("swift")


def test_rows_in_an_open_batch_are_not_asked_live(llm):
    """The error names the two ways on; when the batch has ended, its answers are taken first."""
    llm.batches = HANGS
    run = start(asked(10))
    until_created(llm, 1)
    interrupt(run)
    more = asked(12)
    with pytest.raises(llmframe.StoppedError, match=r"mode='batch'.*llmframe\.cancel\('batch_"):
        complete(more, mode="live")
    assert llm.ledger.requests == 0
    others = asked(10, 12)
    complete(others, mode="live")
    assert right(others)
    llm.advance(DAY)
    complete(more, mode="live")
    assert right(more)
    assert llm.ledger.billed == 12


def test_an_interrupted_live_run_is_finished_by_batch(llm):
    """Only the rows without an answer are submitted."""
    complete(asked(7), mode="live")
    frame = asked(10)
    run = complete(frame)
    assert right(frame)
    assert (run.from_journal, run.sent) == (7, 3)
    assert llm.ledger.billed == 10
