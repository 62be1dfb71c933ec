"""Rows that fail alone: the others have their answers."""

from __future__ import annotations

import pytest
from end_to_end.live_calls import answers, complete
from helpers import about, asked

import llmframe
from llmframe.testing import Fault


@pytest.mark.parametrize(
    ("kind", "code"),
    [("500", "server_error"), ("reset", "connection_lost"), ("garbled", "unparsable_answer")],
)
def test_a_row_that_meets_a_fault_each_time_fails_alone(llm, kind, code):
    """It is tried as often as allowed, and its failure names the reason and the attempts."""
    llm.faults = [Fault(kind, when=about(7))]
    frame = asked(200)
    run, error = complete(frame, max_retries=2)
    assert isinstance(error, llmframe.CompletionError)
    assert not isinstance(error, llmframe.StoppedError)
    (failure,) = run.failures.itertuples()
    assert (failure.position, failure.code, failure.attempts) == (7, code, 3)
    assert failure.message
    expected = answers(frame)
    assert [text for row, text in enumerate(frame["a"]) if row != 7] == expected[:7] + expected[8:]
    assert error.result is frame


def test_rows_that_are_too_large_fail_as_those_rows(llm):
    """Rows too long for the model or too large for the limit at any rate are not retried, and do not stop the run."""
    llm.faults = [
        Fault("context_length_exceeded", when=about(*range(10))),
        Fault("too_large", when=about(*range(10, 13))),
    ]
    frame = asked(50)
    run, error = complete(frame)
    assert isinstance(error, llmframe.CompletionError)
    assert run.failures["code"].tolist() == ["context_length_exceeded"] * 10 + ["request_too_large"] * 3
    assert run.failures["attempts"].tolist() == [1] * 13
    assert frame["a"].tolist()[13:] == answers(frame)[13:]
    assert llm.ledger.requests == 50
    assert "shorten these rows, for example with {q:.8000} in prompt=" in str(error)


def test_a_bad_request_among_the_first_rows_does_not_stop_the_run(llm):
    """Three rows that are refused with 400 fail, and the others are answered."""
    llm.faults = [Fault("unsupported_parameter", when=about(0, 1, 2))]
    frame = asked(60)
    run, error = complete(frame)
    assert not isinstance(error, llmframe.StoppedError)
    assert run.failures["position"].tolist() == [0, 1, 2]
    assert frame["a"].tolist()[3:] == answers(frame)[3:]
