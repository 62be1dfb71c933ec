"""Rows that a batch does not answer."""

from __future__ import annotations

import pytest
from batch.calls import DAY, api, complete, right, start, until_created
from helpers import about, asked

import llmframe
from llmframe._batch.lane import MOST_ROUNDS
from llmframe.testing import Batches, Fault


def test_rows_that_cannot_succeed_fail_with_their_reasons(llm):
    """An error of the error file is its row's failure; refusals are paid, and kept."""
    llm.faults = [
        Fault("context_length_exceeded", when=about(3)),
        Fault("refusal", when=about(4)),
        Fault("length_empty", when=about(5)),
    ]
    frame = asked(10)
    with pytest.raises(llmframe.CompletionError) as error:
        complete(frame)
    failures = error.value.run.failures
    assert failures[["position", "code"]].to_numpy().tolist() == [
        [3, "context_length_exceeded"], [4, "refusal"], [5, "length"],
    ]  # fmt: skip
    assert "mode='live'" not in str(error.value)  # none of them is mended there
    with pytest.raises(llmframe.CompletionError):
        complete(frame, overwrite=True)
    assert llm.ledger.billed == 9
    assert llmframe.last_run().sent == 1


def test_a_batch_with_only_an_error_file_is_collected(llm):
    """`completed` does not mean that there is an output file."""
    llm.faults = [Fault("context_length_exceeded")]
    with pytest.raises(llmframe.CompletionError, match="3 × context_length_exceeded"):  # noqa: RUF001
        complete(asked(3))


def test_rows_that_met_a_passing_fault_are_submitted_again(llm):
    """They go out by batch again, and never in the live lane."""
    llm.faults = [Fault("500", when=about(1, 2), times_per_request=2)]
    frame = asked(6)
    run = complete(frame)
    assert right(frame)
    assert llm.ledger.batches_created == 3
    assert (run.sent, run.retries) == (6, 4)
    assert llm.ledger.requests == 0


def test_a_row_is_submitted_a_bounded_number_of_times(llm):
    """After `MOST_ROUNDS` it has failed, and the message names the other lane."""
    llm.faults = [Fault("500", when=about(1))]
    frame = asked(3)
    with pytest.raises(llmframe.CompletionError, match="mode='live'"):
        complete(frame)
    assert llm.ledger.batches_created == 1 + MOST_ROUNDS
    assert llmframe.last_run().failures["attempts"].tolist() == [1 + MOST_ROUNDS]


@pytest.mark.parametrize("retries", [0, 1, 4, 9])
def test_the_user_says_how_often_a_row_is_submitted_again(retries, llm):
    """More often than by default, too."""
    llm.faults = [Fault("500", when=about(1), times_per_request=retries)]
    frame = asked(2)
    complete(frame, max_retries=retries)
    assert right(frame)
    llm.faults = [Fault("500", when=about(2))]
    with pytest.raises(llmframe.CompletionError):
        complete(asked(2, 3), max_retries=retries)
    assert llmframe.last_run().failures["attempts"].tolist() == [1 + retries]


def test_the_finished_rows_of_an_expired_batch_are_kept_and_the_others_submitted_again(llm):
    """No finished row is paid twice."""
    llm.batches = Batches(seconds=1_000, unfinished=0.4)
    frame = asked(40)
    run = start(frame)
    until_created(llm, 1)
    llm.batches = Batches()
    llm.advance(2 * DAY)
    run.result(30)
    assert right(frame)
    assert llm.ledger.batches_created == 2
    assert llm.ledger.billed == 40
    assert 0 < run.retries < 40


def test_the_finished_rows_of_a_batch_that_somebody_cancelled_are_kept(llm):
    """The others are submitted again, because llmframe was not told to cancel."""
    llm.batches = Batches(seconds=1_000)
    frame = asked(40)
    run = start(frame)
    until_created(llm, 1)
    llm.advance(500)
    client = api(llm)
    client.batches.cancel(client.batches.list().data[0].id)
    llm.batches = Batches()
    llm.advance(1_000)
    run.result(30)
    assert right(frame)
    assert llm.ledger.billed == 40
    assert llm.ledger.batches_created == 2
