"""By batch the call itself submits all rows and waits; the frame that it returns reads the journal."""

from __future__ import annotations

import dask.dataframe as dd
import pytest
from helpers import about, answer, asked, texts

import llmframe
from llmframe.testing import Fault

pytestmark = pytest.mark.usefixtures("swift")


def frame(rows=10):
    return dd.from_pandas(asked(rows).assign(id=range(rows)), npartitions=5)


def test_all_partitions_are_one_batch_and_the_frame_reads_offline(llm):
    answered = frame().llm.complete("q", into="a", mode="batch")
    assert (llm.ledger.batches_created, llm.ledger.billed) == (1, 10)
    assert answered.divisions == frame().divisions
    assert answered.compute()["a"].tolist() == [answer(text) for text in texts(10)]
    assert (llm.ledger.requests, llm.ledger.batches_created) == (0, 1)


def test_the_same_call_again_submits_nothing_and_more_rows_are_one_more_batch(llm):
    frame().llm.complete("q", mode="batch")
    frame().llm.complete("q", mode="batch")
    assert llm.ledger.batches_created == 1
    assert frame(20).llm.complete("q", mode="batch").compute()["q_completion"].notna().all()
    assert (llm.ledger.batches_created, llm.ledger.billed) == (2, 20)


def test_labels_by_batch_are_read_with_the_engine_that_answered(llm):
    ddf = frame()
    labels = ddf.llm.classify("q", ["one", "two"], mode="batch", where=ddf["id"] < 4)
    assert labels.compute()["q_label"].notna().sum() == 4
    assert ddf["q"].llm.classify(["one", "two"], mode="batch").compute().isin(["one", "two"]).all()


def test_fresh_answers_are_the_ones_that_are_read(llm):
    before = frame().llm.complete("q", mode="batch").compute()
    llm.answer = lambda _: "another"
    after = frame().llm.complete("q", mode="batch", fresh=True)
    assert set(after.compute()["q_completion"]) == {"another"} != set(before["q_completion"])
    assert llm.ledger.billed == 20


def test_failed_rows_are_an_error_of_the_call_whose_result_has_the_others(llm):
    llm.faults = [Fault("context_length_exceeded", when=about(4))]
    with pytest.raises(llmframe.CompletionError) as caught:
        frame().llm.complete("q", into="a", mode="batch")
    assert caught.value.code == "context_length_exceeded"
    with pytest.warns(llmframe.CompletionWarning):
        computed = caught.value.result.compute()
    assert computed["a"].isna().tolist() == [number == 4 for number in range(10)]


def test_without_a_journal_there_is_nothing_to_read(llm):
    with pytest.raises(ValueError, match="leave journal=False out"):
        frame().llm.complete("q", mode="batch", journal=False)
    assert llm.ledger.batches_created == 0
