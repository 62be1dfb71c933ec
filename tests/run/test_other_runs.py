"""A run beside others that ask the same: it waits for their answers, and does not ask again."""

import pandas as pd
import pytest
from helpers import about, answer, asked, texts

import llmframe
from llmframe.testing import Fault


def test_a_run_waits_for_what_another_is_asking_and_gets_its_answer(llm):
    """A request in flight elsewhere is not sent again."""
    llm.faults = [Fault("trickle", seconds=1.5)]
    frame = asked(5)
    first = frame.llm.complete("q", into="a", wait=False)
    assert llm.ledger.wait_for(lambda ledger: ledger.requests == 5)
    answers = frame["q"].llm.complete()
    assert answers.tolist() == [answer(text) for text in frame["q"]]
    assert llmframe.last_run().from_journal == 5
    assert llmframe.last_run().sent == 0
    first.result(30)
    assert llm.ledger.billed == 5


def test_a_run_that_must_stop_does_not_wait_for_another(llm):
    """While a row is held elsewhere, a fatal fault ends the run at once."""
    held, bad = texts(2)
    llm.faults = [Fault("hang", when=about(0)), Fault("insufficient_quota", when=about(1))]
    other = pd.DataFrame({"q": [held]}).llm.complete("q", wait=False)
    assert llm.ledger.wait_for(lambda ledger: ledger.requests == 1)
    with pytest.raises(llmframe.StoppedError, match="quota"):
        llmframe.complete([bad, held])
    assert not other.done()
    other.cancel()
    with pytest.raises(llmframe.StoppedError):
        other.result(30)
