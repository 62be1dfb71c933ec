"""Faults that no row can avoid end a run early; what is paid is kept."""

from __future__ import annotations

import contextlib
import socket
import time
from datetime import UTC, datetime

import pytest
from end_to_end.live_calls import answers, complete
from helpers import MODEL, about, asked, tune, wait_until

import llmframe
from llmframe.testing import Fault, LocalServer

STOPS = [
    ("invalid_api_key", "invalid_api_key", "a valid key"),
    ("permission", "missing_scope", "use a key, an account or a region that may do this"),
    ("model_not_found", "model_not_found", "model="),
    ("insufficient_quota", "insufficient_quota", "add credit"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stop", "after"),
    [*((stop, 0) for stop in STOPS), *((stop, 200) for stop in STOPS if stop[0] != "model_not_found")],
    ids=lambda value: value[0] if isinstance(value, tuple) else str(value),
)
@pytest.mark.parametrize("errors", ["raise", "coerce"])
def test_what_no_row_can_survive_stops_a_run_within_a_few_requests(llm, errors, after, stop):
    """At the start and in mid-run: what is answered is kept, and the error says what to change."""
    kind, code, remedy = stop
    llm.faults = [Fault(kind, after=after)]
    frame = asked(600)
    run, error = complete(frame, errors=errors, max_concurrency=20)
    assert isinstance(error, llmframe.StoppedError)
    assert error.code == code
    assert str(error).splitlines()[-1].startswith("To go on: ")
    assert remedy in str(error).splitlines()[-1]
    assert error.run is run
    assert error.result is frame
    assert run.status == "stopped"
    assert llm.ledger.requests <= after + 41
    assert run.answered == llm.ledger.answered == after
    assert ("a" in frame) == bool(after)
    if after:
        assert frame["a"].notna().sum() == after
        llm.faults = []
        frame.llm.complete("q", into="a")
        assert frame["a"].tolist() == answers(frame)
        assert llm.ledger.billed == 600


@pytest.mark.parametrize("errors", ["raise", "coerce"])
def test_a_parameter_that_is_refused_for_every_row_stops_the_run(llm, errors):
    """The error shows the API's own words, and which parameter to leave out."""
    llm.faults = [Fault("unsupported_parameter")]
    frame = asked(500)
    run, error = complete(frame, temperature=0.5, errors=errors)
    assert isinstance(error, llmframe.StoppedError)
    assert error.code == "unsupported_parameter"
    assert "'temperature' is not supported" in str(error)
    assert "leave out temperature=" in str(error)
    assert llm.ledger.requests <= 60
    assert run.answered == 0
    assert "a" not in frame


def test_answers_that_are_all_paid_and_empty_stop_the_run(llm):
    """20 to 40 are paid; they are in the journal, and not asked again."""
    llm.faults = [Fault("length_empty")]
    run, error = complete(asked(1000), max_concurrency=10)
    assert isinstance(error, llmframe.StoppedError)
    assert error.code == "empty_answers"
    assert "max_completion_tokens" in str(error)
    billed = llm.ledger.billed
    assert 20 <= billed <= 40
    assert run.failures["code"].tolist() == ["length"] * billed
    llm.faults = []
    frame = asked(1000)
    run, error = complete(frame)
    assert llm.ledger.billed == 1000
    assert (run.from_journal, run.failed) == (billed, billed)
    assert frame["a"].notna().sum() == 1000 - billed


@pytest.mark.parametrize("errors", ["raise", "coerce"])
def test_a_server_that_is_not_there_soon_ends_the_run(llm, errors):
    """A wrong address ends the run before any row has had its seven attempts."""
    address = llm.base_url
    llm.stop()
    frame = asked(1000)
    began = time.monotonic()
    run, error = complete(frame, base_url=address, errors=errors)
    assert time.monotonic() - began < 20
    assert isinstance(error, llmframe.StoppedError)
    assert error.code == "unreachable"
    assert "check the network and base_url" in str(error)
    assert run.uncertain == 0
    assert run.sent + run.retries < 100


def test_a_server_that_takes_no_connection_soon_ends_the_run(llm):
    """An address that swallows packets is unreachable, not slow: nothing there was billed."""
    tune(connect_seconds=0.4)
    with socket.socket() as hole, contextlib.ExitStack() as fillers:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        for _ in range(3):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())
        time.sleep(0.1)
        run, error = complete(asked(3), base_url=f"http://127.0.0.1:{hole.getsockname()[1]}/v1", timeout=600)
    assert isinstance(error, llmframe.StoppedError)
    assert error.code == "unreachable"
    assert run.uncertain == 0


@pytest.mark.slow
def test_a_network_that_goes_away_in_mid_run_stops_the_run(llm):
    """It ends after as long as one row's retries may take; what came is in the column, and the same call goes on later."""
    with LocalServer(latency=0.05) as server:
        frame = asked(3000)
        run = frame.llm.complete(
            "q",
            into="a",
            base_url=server.base_url,
            wait=False,
            max_concurrency=200,
            max_retries=2,
            errors="coerce",
        )
        assert server.ledger.wait_for(lambda ledger: ledger.answered >= 400, timeout=60)
        server.down()
        down = time.monotonic()
        with pytest.raises(llmframe.StoppedError) as caught:
            run.result(120)
        assert time.monotonic() - down < 60
        assert caught.value.code == "unreachable"
        assert len(run.failures) <= 1  # the row that met the end
        assert frame["a"].notna().sum() == run.answered >= 400
        assert run.retries < 1500
        server.up()
        frame.llm.complete("q", into="a", base_url=server.base_url)
        assert frame["a"].tolist() == answers(frame)


def test_what_is_in_flight_at_a_stop_is_awaited_and_kept(llm):
    """Slow answers that are paid already are in the journal and in the column."""
    llm.faults = [
        Fault("trickle", seconds=1.5, when=about(*range(10))),
        Fault("insufficient_quota", when=about(10)),
    ]
    frame = asked(2000)
    _, error = complete(frame, max_concurrency=11)
    assert error.code == "insufficient_quota"
    assert frame["a"].tolist()[:10] == answers(frame)[:10]
    assert llm.ledger.abandoned == 0
    assert llm.ledger.billed == frame["a"].notna().sum()
    frame = asked(10)
    frame.llm.complete("q", into="a", mode="offline")
    assert frame["a"].tolist() == answers(frame)


@pytest.mark.parametrize("concurrency", [1, 20, None])
def test_refusals_of_the_first_rows_alone_end_nothing(llm, concurrency):
    """Fifty in a frame that is sorted by length: other rows are asked before the run would stop."""
    llm.faults = [Fault(404, when=about(*range(50)))]
    run, error = complete(asked(120), max_concurrency=concurrency)
    assert not isinstance(error, llmframe.StoppedError)
    assert (run.answered, run.failed) == (70, 50)
    assert run.sent == llm.ledger.requests == 120


@pytest.mark.slow
@pytest.mark.parametrize("status", [401, 403, 404, 405, 410])
@pytest.mark.parametrize("row", [0, 150, 299])
def test_a_single_refusal_ends_nothing(llm, status, row):
    """A refused key is tried again once other rows are answered; any other refusal is its row's."""
    llm.faults = [Fault(status, when=about(row), times_per_request=1)]
    frame = asked(300)
    run, error = complete(frame)
    assert not isinstance(error, llmframe.StoppedError)
    assert run.failures["position"].tolist() == ([] if status == 401 else [row])
    assert frame["a"].notna().sum() == 300 - run.failed


def test_a_repeated_call_with_only_refused_rows_left_is_no_other_than_the_first(llm):
    """The journal's answers show that other rows are answered."""
    llm.faults = [Fault(403, when=about(*range(10, 30)))]
    for _ in range(2):
        run, error = complete(asked(100), overwrite=True)
        assert type(error) is llmframe.CompletionError
        assert (run.answered, run.failed) == (80, 20)


def test_a_single_row_with_a_bad_key_stops_after_one_request(llm):
    llm.faults = [Fault("invalid_api_key")]
    _, error = complete(asked(1), errors="coerce")
    assert error.code == "invalid_api_key"
    assert llm.ledger.requests == 1


@pytest.mark.parametrize("kind", ["invalid_api_key", "model_not_found", "unsupported_parameter", 404, 405])
@pytest.mark.parametrize(("rows", "concurrency"), [(7, None), (1_000, None), (1_000, 1), (1_000, 300)])
def test_what_every_row_meets_stops_within_80_requests(llm, kind, rows, concurrency):
    llm.faults = [Fault(kind)]
    _, error = complete(asked(rows), temperature=0.5, max_concurrency=concurrency)
    assert isinstance(error, llmframe.StoppedError)
    assert llm.ledger.requests <= 80
    assert llm.ledger.billed == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["invalid_api_key", "model_not_found"])
@pytest.mark.parametrize(("latency", "most"), [(0.05, 80), (1.0, 300)])
def test_a_provider_that_refuses_every_row_is_sent_few(monkeypatch, kind, latency, most):
    """At most 80 where it refuses at once, and what may be in flight until then where it takes its time."""
    monkeypatch.setattr("llmframe._run.lanes.is_local", lambda _: False)
    with LocalServer(latency=latency, faults=[Fault(kind)]) as server:
        _, error = complete(asked(1_000), base_url=server.base_url, api_key="any", model=MODEL)
        assert error.code == kind
        assert server.ledger.requests <= most


@pytest.mark.parametrize("rows", [1, 200])
def test_a_wait_of_hours_ends_the_run_with_the_servers_words(llm, rows):
    """What was answered before is kept, and what remains is told."""
    tune(lasting_limit_seconds=0.5)
    llm.faults = [Fault("rate_limit", seconds=28_800, after=rows // 2)]
    frame = asked(rows)
    run, error = complete(frame, max_concurrency=10)
    assert isinstance(error, llmframe.StoppedError)
    assert "Rate limit reached" in str(error)
    assert "28,800 s" in str(error)
    assert f"{rows - rows // 2 - run.failed:,} not done" in str(error) or rows == 1
    assert run.answered == llm.ledger.billed == rows // 2
    assert run.limited > 0


def test_a_run_says_whose_words_it_waits_for_and_until_when(llm):
    llm.faults = [Fault("rate_limit", seconds=30)]
    run = asked(1).llm.complete("q", wait=False)
    try:
        assert llm.ledger.wait_for(lambda ledger: ledger.requests == 1, timeout=60)
        wait_until(lambda: run.waiting is not None)
        waiting = run.waiting
        assert "Rate limit reached" in waiting.words
        assert 20 < (waiting.until - datetime.now(UTC)).total_seconds() <= 30
    finally:
        run.cancel()
    wait_until(run.done)
    assert run.waiting is None
