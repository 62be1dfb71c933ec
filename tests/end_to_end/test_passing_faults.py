"""A server that misbehaves for a while: no row is lost or mixed up, and what is paid twice is counted."""

from __future__ import annotations

import time

import pytest
from end_to_end.live_calls import answers, complete
from helpers import about, asked, paid_again

from llmframe.testing import Fault, Limits, LocalServer


@pytest.mark.slow
def test_thousands_of_rows_are_answered_despite_every_passing_fault_at_once(llm):
    """Each row has its own answer, and exactly the lost answers are paid twice and counted."""
    kinds = ["500", "502", "503", "408", "409", "rate_limit", "reset", "truncated", "garbled"]
    llm.faults = [Fault(kind, rate=0.015, seed=seed, times_per_request=2) for seed, kind in enumerate(kinds)]
    llm.limits = Limits(requests_per_minute=90_000)
    frame = asked(2000)
    run, error = complete(frame, timeout=120)
    assert error is None
    assert frame["a"].tolist() == answers(frame)
    assert set(llm.ledger.statuses) >= {200, 500, 502, 503, 408, 409}
    assert paid_again(llm) == run.uncertain > 50
    assert run.sent == 2000
    assert run.sent + run.retries == llm.ledger.requests
    assert run.limited > 10


def test_rows_that_hang_or_are_refused_for_speed_are_asked_again(llm):
    """Timeouts and 429s cost no row its answer; what may have been billed is counted."""
    llm.faults = [
        Fault("hang", rate=0.05, times_per_request=1),
        Fault("rate_limit", first=5),
        Fault("trickle", rate=0.02, seconds=30, times_per_request=1),
    ]
    llm.limits = Limits(requests_per_minute=60_000)
    frame = asked(150)
    run, error = complete(frame, timeout=2)
    assert error is None
    assert frame["a"].tolist() == answers(frame)
    assert run.limited >= 5
    assert paid_again(llm) <= run.uncertain
    assert run.uncertain >= llm.ledger.requests - 150 - run.limited - llm.ledger.statuses[500]


def test_a_slow_answer_is_waited_for_and_never_asked_twice(llm):
    """Bodies that come in drops are read to their end; no second request is sent meanwhile."""
    llm.faults = [Fault("trickle", rate=0.02, seconds=0.2)]
    complete(asked(250))
    assert llm.ledger.requests == 250


def test_retry_after_is_waited_for(llm):
    """The seconds that the server names are the least pause, after a 503 and after a 429."""
    for kind in ("503", "rate_limit"):
        llm.reset()
        llm.faults = [Fault(kind, seconds=1.2, first=1)]
        _, error = complete(asked(1), journal=False)
        assert error is None
        first, second = llm.ledger.arrivals
        assert second - first >= 1.2


def test_an_answer_that_trickles_is_cut_off_by_the_timeout(llm):
    """`timeout` is for the whole answer, not for the pauses between its bytes."""
    llm.faults = [Fault("trickle", seconds=60, when=about(1))]
    frame = asked(3)
    began = time.monotonic()
    run, error = complete(frame, timeout=1, max_retries=1)
    assert time.monotonic() - began < 30
    assert error.run is run
    (failure,) = run.failures.itertuples()
    assert (failure.position, failure.code, failure.attempts) == (1, "timeout", 2)
    assert run.uncertain == 2
    assert frame["a"].isna().tolist() == [False, True, False]


@pytest.mark.slow
def test_an_outage_in_mid_run_loses_no_row(llm):
    """After three seconds without a server every row is answered in the end."""
    with LocalServer(latency=0.05) as server:
        frame = asked(1500)
        run = frame.llm.complete("q", into="a", base_url=server.base_url, wait=False)
        assert server.ledger.wait_for(lambda ledger: ledger.answered >= 300, timeout=60)
        with server.outage():
            time.sleep(3)
            assert not run.done()
        run.result(120)
        assert frame["a"].tolist() == answers(frame)
        assert paid_again(server) <= run.uncertain
        assert run.retries > 0
