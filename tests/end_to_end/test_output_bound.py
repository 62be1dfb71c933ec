"""The bound on an answer's tokens is no part of its identity: what ended by itself serves any bound, what was cut off serves bounds up to its own."""

from __future__ import annotations

import pandas as pd
import pytest
from helpers import asked, tune

import llmframe
from llmframe.testing import Batches, Fault

pytestmark = pytest.mark.filterwarnings("ignore::llmframe.CompletionWarning")

WHOLE, CUT = 3, 40
"""Words of the answers to the first and to the other rows."""


@pytest.fixture
def llm(llm):
    llm.answer = lambda body: "word " * (WHOLE if "number 0" in body["messages"][-1]["content"] else CUT)
    return llm


def newly_billed(llm, **settings):
    """Ask two rows; return how many were billed."""
    before = llm.ledger.billed
    asked(2).llm.complete("q", into="a", **settings)
    return llm.ledger.billed - before


@pytest.mark.parametrize("name", ["max_completion_tokens", "max_tokens"])
@pytest.mark.parametrize("mode", ["live", "batch"])
def test_a_higher_bound_buys_only_what_was_cut_off(llm, name, mode):
    assert newly_billed(llm, mode=mode, **{name: 20}) == 2
    assert newly_billed(llm, mode=mode, **{name: 20}) == 0
    assert newly_billed(llm, mode=mode, **{name: 10}) == 0
    assert newly_billed(llm, mode=mode, **{name: 30}) == 1
    assert newly_billed(llm, mode=mode, **{name: 30}) == 0
    assert newly_billed(llm, mode=mode) == 1
    assert newly_billed(llm, mode=mode, **{name: 500}) == 0
    assert newly_billed(llm, mode="offline") == 0


def test_an_answer_that_was_all_reasoning_is_asked_again_with_a_higher_bound(llm):
    """Without a text it is a failure, which the same call reports again without asking."""
    llmframe.options.errors = "coerce"
    llm.faults = [Fault("length_empty", when=lambda body: body.get("max_completion_tokens") == 50)]
    assert newly_billed(llm, max_completion_tokens=50) == 2
    assert newly_billed(llm, max_completion_tokens=50) == 0
    assert llmframe.last_run().failures["code"].tolist() == ["length"] * 2
    assert newly_billed(llm, max_completion_tokens=100) == 2
    assert llmframe.last_run().answered == 2


def test_what_an_earlier_batch_cut_off_is_known_by_its_tokens(llm):
    """The bound of the call that submitted it is not known here."""
    tune(first_poll_seconds=0.05, longest_poll_seconds=0.05)
    llm.batches = Batches(seconds=1.0)
    run = asked(2).llm.complete("q", mode="batch", max_completion_tokens=20, wait=False)
    while not llm.ledger.batches_created:
        pass
    run._task.cancel()
    with pytest.raises(llmframe.StoppedError):
        run.result(timeout=60)
    df = asked(2).llm.complete("q", mode="batch", max_completion_tokens=100)
    assert pd.Series([len(text.split()) for text in df["q_completion"]]).tolist() == [WHOLE, CUT]
    assert llm.ledger.billed == 3
