"""Lines of a batch that were answered 429: a limit, and no failed attempt of their rows."""

from __future__ import annotations

import time
from random import Random

import pytest
from batch.calls import DAY, complete, interrupt, right, start
from helpers import about, asked, tune

import llmframe
from llmframe._batch.limited_lines import LimitPause
from llmframe._pacing import RetryPolicy
from llmframe._values import FaultKind, RequestFault
from llmframe.testing import Batches, Fault

LIMITED = RequestFault(FaultKind.LIMIT, "rate_limit_exceeded", "Slow down.")


def test_limited_rows_are_submitted_again_without_losing_attempts(llm):
    """They are counted as limited, and more often than a row may fail."""
    llm.faults = [Fault("rate_limit", when=about(1, 2), times_per_request=2)]
    frame = asked(6)
    run = complete(frame, max_retries=0)
    assert right(frame)
    assert (run.limited, run.sent, run.retries) == (4, 6, 4)
    assert (llm.ledger.billed, llm.ledger.batches_created) == (6, 3)
    assert run.waited_seconds > 0


def test_the_run_says_what_it_waits_for(llm, monkeypatch):
    """The server's words and until when, in the run and beside the bar; an interrupt ends the wait."""
    monkeypatch.setattr("llmframe._pacing.retry.FIRST_DELAY_SECONDS", 60.0)
    monkeypatch.setattr("llmframe._pacing.retry.LONGEST_DELAY_SECONDS", 60.0)
    llm.faults = [Fault("rate_limit", when=about(1))]
    frame = asked(3)
    run = start(frame)
    deadline = time.monotonic() + 30
    while run.waiting is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    words, until = run.waiting
    assert "Rate limit reached" in words
    assert until.tzinfo is not None
    assert "waiting for the rate limit until" in run._execution.progress().waiting
    assert "Rate limit reached" in run._execution.progress().waiting
    run._task.cancel()
    with pytest.raises(llmframe.StoppedError):
        run.result(10)
    llm.faults = []
    complete(frame)
    assert right(frame)
    assert (llm.ledger.billed, llm.ledger.batches_created) == (3, 2)


def test_limited_rows_of_an_earlier_runs_batch_wait_as_well(llm):
    """The batch was submitted before the interrupt; its limited rows leave after a pause."""
    llm.faults = [Fault("rate_limit", when=about(1), times_per_request=1)]
    llm.batches = Batches(seconds=DAY)
    frame = asked(4)
    interrupt(start(frame))
    llm.advance(2 * DAY)
    llm.batches = Batches()
    run = complete(frame)
    assert right(frame)
    assert (run.limited, llm.ledger.billed, llm.ledger.batches_created) == (1, 4, 2)
    assert run.waited_seconds > 0


def test_a_quota_that_is_spent_ends_the_run(llm):
    """Such a line is no limit that passes, although its status is 429."""
    llm.faults = [Fault("insufficient_quota", when=about(1))]
    with pytest.raises(llmframe.StoppedError) as error:
        complete(asked(4))
    assert error.value.code == "insufficient_quota"
    assert llm.ledger.batches_created == 1


def test_a_cancelled_run_submits_no_limited_row_again(llm):
    """What its batch has of them when it ends is their reason."""
    llm.faults = [Fault("rate_limit")]
    llm.batches = Batches(seconds=1_000)
    frame = asked(4)
    run = start(frame)
    assert llm.ledger.wait_for(lambda ledger: ledger.batches_created == 1)
    llm.advance(500)
    run.cancel()
    with pytest.raises(llmframe.StoppedError):
        run.result(30)
    llm.advance(DAY)
    assert llm.ledger.batches_created == 1


def test_pauses_grow_with_each_limited_batch_in_succession():
    """They are bounded, and the first one is short again after a batch without limited lines."""
    pause, now, lengths = LimitPause(RetryPolicy(6, Random(1))), 100.0, []
    for _ in range(12):
        pause.end_batch(LIMITED, now, now)
        lengths.append(pause.left(now))
        assert pause.wait(now).words == "Slow down."
        now += pause.left(now)
        assert pause.wait(now) is None
    assert lengths[0] < lengths[3] < lengths[-1] <= 30
    assert pause.waited_seconds == pytest.approx(sum(lengths))
    pause.end_batch(None, now, now)
    pause.end_batch(LIMITED, now, now)
    assert pause.left(now) < 1


def test_a_wait_that_the_server_states_is_kept():
    pause = LimitPause(RetryPolicy(6, Random(1)))
    pause.end_batch(RequestFault(FaultKind.LIMIT, "c", "m", retry_after=45.0), 0.0, 0.0)
    assert pause.left(0.0) == 45.0


def test_calls_that_were_answered_429_are_counted_and_named(llm):
    """The creation of the batch waits for a limit, too."""
    llm.faults = [Fault("rate_limit", path="/v1/batches", method="POST", first=2, seconds=0.5)]
    frame = asked(3)
    run = start(frame)
    deadline = time.monotonic() + 30
    while run.waiting is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert "Rate limit reached" in run.waiting.words
    run.result(30)
    assert right(frame)
    assert run.limited == 2
    assert run.waiting is None


def test_a_call_that_is_limited_for_ever_ends_the_run(llm):
    """The options that say how long a limit is waited for hold for files and batches too."""
    tune(lasting_limit_seconds=0.3)
    llm.faults = [Fault("rate_limit", path="/v1/batches", method="POST", seconds=0.1)]
    with (
        llmframe.option_context(longest_wait=0.05),
        pytest.raises(llmframe.StoppedError, match="did not pass"),
    ):
        complete(asked(3))
    assert llm.ledger.batches_created == 0
