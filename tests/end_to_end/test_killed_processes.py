"""Several processes on one journal, and processes that are killed: nothing committed is lost, nothing is paid twice."""

import contextlib
import json
import random
import signal
import sqlite3
import subprocess
import sys
import time

import orjson
import pytest
from helpers import MODEL, answer, body, texts

from llmframe.testing import Fault, Limits, LocalServer, request_digest

pytestmark = pytest.mark.slow

CONCURRENCY = 50
LONG = 100_000.0
"""Seconds of a lease that no test could wait for."""

CALLER = """
import json, sys
import pandas as pd, llmframe
settings = json.loads(sys.argv[1])
frame = pd.DataFrame({"q": settings.pop("rows")})
out = settings.pop("out")
lease = settings.pop("lease_seconds")
llmframe.options._tuning = llmframe.options._tuning._replace(lease_seconds=lease)
print("ready", flush=True)
sys.stdin.readline()
frame.llm.complete("q", into="a", **settings)
run = llmframe.last_run()
with open(out, "w") as file:
    counts = {name: getattr(run, name) for name in ("sent", "from_journal", "uncertain", "failed")}
    json.dump({"answers": frame["a"].tolist(), **counts}, file)
"""


@pytest.fixture
def slow():
    """Give a server that takes a tenth of a second for an answer."""
    with LocalServer(latency=0.1) as server:
        yield server


class Caller:
    """A process of its own that makes one call and writes down what came of it."""

    def __init__(self, server, tmp_path, rows, name="caller", lease_seconds=LONG, **more):
        self._out = tmp_path / f"{name}.json"
        settings = {
            "rows": rows,
            "out": str(self._out),
            "journal": str(tmp_path / "journal.sqlite"),
            "base_url": server.base_url,
            "api_key": "any",
            "model": MODEL,
            "progress": False,
            "lease_seconds": lease_seconds,
            "max_concurrency": CONCURRENCY,
            **more,
        }
        command = [sys.executable, "-c", CALLER, json.dumps(settings)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        assert self._process.stdout.readline() == "ready\n"
        return self

    def go(self):
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def send(self, number):
        self._process.send_signal(number)

    def kill(self):
        self._process.kill()
        assert self._process.wait(30) == -signal.SIGKILL

    def result(self):
        assert self._process.wait(120) == 0
        return json.loads(self._out.read_text())

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.kill()
        with self._process:
            pass


@contextlib.contextmanager
def reading(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.sqlite")) as connection, connection:
        yield connection


def recorded_texts(tmp_path):
    """Return the answers' texts that the journal holds."""
    with reading(tmp_path) as journal:
        bodies = [orjson.loads(row[0]) for row in journal.execute("SELECT body FROM answer")]
    return {recorded["choices"][0]["message"]["content"] for recorded in bodies}


needs_kill = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")


@needs_kill
@pytest.mark.parametrize("seed", range(3))
def test_a_killed_run_goes_on_where_it_was(slow, tmp_path, seed):
    """After kill -9 at any moment: all that was delivered is there, and only what was in flight may be paid twice."""
    chance = random.Random(seed)
    rows = texts(1000)
    by_digest = {request_digest(body(text)): answer(text) for text in rows}
    with Caller(slow, tmp_path, rows) as caller:
        caller.go()
        so_many = chance.randrange(1, 800)
        assert slow.ledger.wait_for(lambda ledger: ledger.billed >= so_many, timeout=60)
        delivered = {by_digest[digest] for digest in slow.ledger.billed_by_request}
        time.sleep(0.5)  # the promise is 0.2 s; this machine may be busy
        time.sleep(chance.random() / 10)
        caller.kill()
    assert slow.ledger.wait_for(lambda ledger: ledger.in_flight == 0, timeout=30)
    recorded = recorded_texts(tmp_path)
    assert delivered <= recorded
    paid = {by_digest[digest] for digest in slow.ledger.billed_by_request}
    with reading(tmp_path) as journal:
        claims = journal.execute(
            "SELECT coalesce(sum(length(keys)), 0) / 16 FROM claim WHERE sent"
        ).fetchone()[0]
    # Claimed are the requests in flight, as many again that were next, and answers on their way to the disk.
    assert claims - len(paid - recorded) <= 2 * CONCURRENCY

    with Caller(slow, tmp_path, rows, "again") as caller:
        caller.go()
        again = caller.result()  # it does not wait until the killed run's lease is over
    assert again["answers"] == list(by_digest.values())
    assert again["from_journal"] == len(recorded)
    assert again["sent"] == len(rows) - len(recorded)
    assert again["uncertain"] == claims
    paid_twice = slow.ledger.billed - len(rows)
    assert paid_twice == len(paid - recorded) <= again["uncertain"]
    assert max(slow.ledger.billed_by_request.values()) <= 2


KILLED = {
    "waiting for a slow limit": (
        {"latency": 0.3, "limits": Limits(requests_per_minute=1_200)},
        {},
        lambda ledger: ledger.billed >= 60,
    ),
    "waiting to try again": (
        {"latency": 0.3, "faults": [Fault("rate_limit", after=60, seconds=30)]},
        {"max_concurrency": 400},
        lambda ledger: ledger.statuses[429] >= 40,
    ),
    "with all requests in flight": (
        {"faults": [Fault("hang", after=1)]},
        {"max_concurrency": 300},
        lambda ledger: ledger.in_flight == 300,
    ),
}


@needs_kill
@pytest.mark.parametrize("moment", KILLED)
def test_what_a_killed_run_had_sent_is_told_and_not_what_it_had_claimed(tmp_path, moment):
    """Once, to the next run; the killed process leaves nothing else behind."""
    server, call, until = KILLED[moment]
    rows = texts(1000)
    with LocalServer(**server) as llm:
        with Caller(llm, tmp_path, rows, **call) as caller:
            caller.go()
            assert llm.ledger.wait_for(until, timeout=60)
            time.sleep(0.5)  # what waits longer than a moment is known not to have been sent
            caller.kill()
            unanswered = llm.ledger.requests - llm.ledger.statuses[429]
        unanswered -= len(recorded_texts(tmp_path))
        llm.limits, llm.faults = None, []
        with Caller(llm, tmp_path, rows, "again") as caller:
            caller.go()
            told = caller.result()["uncertain"]
        with Caller(llm, tmp_path, [*rows, "one more"], "once more") as caller:
            caller.go()
            assert caller.result()["uncertain"] == 0
    assert unanswered <= told <= unanswered + 5
    with reading(tmp_path) as journal:
        assert journal.execute("SELECT count(*) FROM owner").fetchone() == (0,)
        assert journal.execute("SELECT count(*) FROM claim").fetchone() == (0,)


def test_two_processes_under_a_slow_limit_share_the_rows(tmp_path):
    """Neither claims the rows that the limit lets leave only later."""
    rows = texts(120)
    with LocalServer(latency=0.2, limits=Limits(requests_per_minute=1_200)) as llm:
        one = Caller(llm, tmp_path, rows, "one", max_concurrency=None)
        two = Caller(llm, tmp_path, rows, "two", max_concurrency=None)
        with one, two:
            one.go()
            two.go()
            results = one.result(), two.result()
        assert llm.ledger.billed == len(rows)
    assert [result["answers"] for result in results] == [[answer(text) for text in rows]] * 2
    assert min(result["sent"] for result in results) >= len(rows) // 4


def test_two_processes_pay_each_request_once(slow, tmp_path):
    """Overlapping rows are asked by one of them, and both have all answers."""
    first, second = texts(500), texts(250, 750)[::-1]
    with Caller(slow, tmp_path, first, "one") as one, Caller(slow, tmp_path, second, "two") as two:
        one.go()
        two.go()
        results = one.result(), two.result()
    for result, rows in zip(results, (first, second), strict=True):
        assert result["answers"] == [answer(text) for text in rows]
        assert (result["uncertain"], result["failed"]) == (0, 0)
        assert result["sent"] + result["from_journal"] == len(rows)
    assert slow.ledger.billed == slow.ledger.requests == 750
    assert set(slow.ledger.billed_by_request.values()) == {1}


@needs_kill
def test_when_one_of_two_processes_is_killed_the_other_takes_over(slow, tmp_path):
    """The survivor asks what the dead one had claimed, at once, and says how much of it is uncertain."""
    rows = texts(800)
    with Caller(slow, tmp_path, rows, "one") as one, Caller(slow, tmp_path, rows[::-1], "two") as two:
        one.go()
        two.go()
        assert slow.ledger.wait_for(lambda ledger: ledger.billed >= 300, timeout=60)
        one.kill()
        result = two.result()
    assert result["answers"] == [answer(text) for text in rows[::-1]]
    assert slow.ledger.billed - 800 <= result["uncertain"] <= 5 * CONCURRENCY
    assert max(slow.ledger.billed_by_request.values()) <= 2


@needs_kill
def test_a_process_that_was_suspended_claims_anew_what_it_had_not_sent(tmp_path):
    """It sends nothing that others took over and answered meanwhile."""
    rows = texts(600)
    with LocalServer(latency=0.5) as server:
        first = Caller(server, tmp_path, rows, "first", lease_seconds=1.5)
        second = Caller(server, tmp_path, rows[::-1], "second", lease_seconds=1.5)
        with first, second:
            first.go()
            assert server.ledger.wait_for(lambda ledger: ledger.billed >= 100, timeout=60)
            time.sleep(0.25)  # all that is to be sent now has been
            first.send(signal.SIGSTOP)
            second.go()
            there = second.result()
            assert len(server.ledger.billed_by_request) == len(rows)
            billed = server.ledger.billed
            first.send(signal.SIGCONT)
            back = first.result()
        assert there["answers"] == [answer(text) for text in rows[::-1]]
        assert back["answers"] == there["answers"][::-1]
        assert server.ledger.billed - billed <= CONCURRENCY // 5
        assert there["uncertain"] >= billed - len(rows)
