"""How many requests are in flight, and runs that share a limit."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest
from end_to_end.live_calls import answers, complete
from helpers import MODEL, asked

from llmframe.testing import Fault, Limits, LocalServer

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("faulty", [False, True])
def test_one_at_a_time_is_strictly_in_order(llm, faulty):
    """With `max_concurrency=1` a row is sent when the one before has ended, retries included."""
    llm.faults = [Fault("500", rate=0.1, times_per_request=1)] if faulty else []
    frame = asked(40)
    _, error = complete(frame, max_concurrency=1)
    assert error is None
    arrived = [request["messages"][0]["content"] for request in llm.ledger.bodies]
    assert list(dict.fromkeys(arrived)) == frame["q"].tolist()
    assert arrived == sorted(arrived, key=frame["q"].tolist().index)
    assert (len(arrived) > 40) == faulty
    assert llm.ledger.max_in_flight == 1


@pytest.mark.parametrize("most", [2, 7, 40])
def test_max_concurrency_is_never_exceeded(most):
    """Neither with retries nor with answers that take different times."""
    with LocalServer(latency=lambda chance: chance.random() / 20) as server:
        server.faults = [
            Fault("500", rate=0.1, times_per_request=1),
            Fault("garbled", rate=0.1, times_per_request=1),
        ]
        frame = asked(most * 12)
        settings = {"base_url": server.base_url, "api_key": "any", "model": MODEL}
        _, error = complete(frame, max_concurrency=most, **settings)
        assert error is None
        assert most / 2 < server.ledger.max_in_flight <= most


@pytest.mark.slow
@pytest.mark.parametrize("headers", [True, False])
def test_runs_on_one_journal_share_a_limit(llm, headers):
    """Two runs at once, under one key, are rarely refused, and no usage report is left in the journal."""
    with LocalServer(limits=Limits(requests_per_minute=6_000, burst=0.5), headers=headers) as server:
        frames = [asked(400), asked(400, 800)]
        runs = [frame.llm.complete("q", into="a", base_url=server.base_url, wait=False) for frame in frames]
        for run, frame in zip(runs, frames, strict=True):
            run.result(60)
            assert frame["a"].tolist() == answers(frame)
        assert server.ledger.statuses[429] < (0.1 if headers else 0.25) * server.ledger.requests
        with contextlib.closing(sqlite3.connect(os.environ["LLMFRAME_JOURNAL"])) as journal:
            assert journal.execute("SELECT count(*) FROM usage_report").fetchone() == (0,)


@pytest.fixture
def provider(monkeypatch):
    """Let the local server count as a provider's."""
    monkeypatch.setattr("llmframe._run.lanes.is_local", lambda _: False)


def settings_of(server):
    return {"base_url": server.base_url, "api_key": "any", "model": MODEL}


@pytest.mark.parametrize("told", [None, 150])
def test_a_few_hundred_rows_are_all_under_way_before_the_first_answer(provider, told):
    """As with a plain gather: 300, or as many as the call states; the next call too."""
    with LocalServer(latency=3.0) as server:
        for offset in (0, 400):
            _, error = complete(asked(offset, offset + 310), max_concurrency=told, **settings_of(server))
            assert error is None
            assert server.ledger.max_in_flight == told or (
                told is None and server.ledger.max_in_flight >= 300
            )


def test_a_local_server_is_not_sent_more_than_16_before_it_answers():
    with LocalServer(latency=1.0) as server:
        run = asked(100).llm.complete("q", into="a", wait=False, **settings_of(server))
        assert server.ledger.wait_for(lambda ledger: ledger.answered > 0, timeout=60)
        assert server.ledger.max_in_flight == 16
        run.result(60)


def test_runs_in_threads_share_one_pace():
    """Eight of them under one limit are hardly refused, and each row has its own answer."""
    with LocalServer(limits=Limits(requests_per_minute=6_000, burst=1.0), latency=0.05) as server:
        frames = [asked(100 * number, 100 * number + 100) for number in range(8)]
        with ThreadPoolExecutor(8) as pool:
            errors = list(pool.map(lambda frame: complete(frame, **settings_of(server))[1], frames))
        assert errors == [None] * 8
        assert all(frame["a"].tolist() == answers(frame) for frame in frames)
        assert server.ledger.statuses[429] < 0.03 * server.ledger.requests


def test_a_ceiling_of_the_users_own_is_kept():
    """Also where the server states nothing; it is all runs' together."""
    with LocalServer() as server:
        runs = [
            asked(20 * number, 20 * number + 20).llm.complete(
                "q", into="a", wait=False, requests_per_minute=1_200, **settings_of(server)
            )
            for number in range(3)
        ]
        for run in runs:
            run.result(60)
        arrivals = server.ledger.arrivals
        assert arrivals[-1] - arrivals[0] > 0.9 * 60 / 20
