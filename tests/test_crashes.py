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
import pandas as pd
import pytest

import llmframe
from llmframe.testing import Fault, LocalServer, made_up_answer, request_digest

MODEL = "gpt-6-luna"
CONCURRENCY = 50

CALLER = """
import json, sys
import pandas as pd, llmframe
from llmframe._journal.sqlite import journal
from llmframe._journal import lease
from llmframe._journal import liveness
settings = json.loads(sys.argv[1])
frame = pd.DataFrame({"q": settings.pop("rows")})
out = settings.pop("out")
if (seconds := settings.pop("lease")) is not None:
    lease.LEASE_SECONDS = journal.LEASE_SECONDS = seconds
    lease._RENEW_SECONDS, liveness._TIME_TO_RENEW = seconds / 3, seconds / 2
print("ready", flush=True)
sys.stdin.readline()
frame.llm.complete("q", into="a", **settings)
run = llmframe.last_run()
with open(out, "w") as file:
    counts = {name: getattr(run, name) for name in ("sent", "from_journal", "uncertain", "failed")}
    json.dump({"answers": frame["a"].tolist(), **counts}, file)
"""


def body(text):
    return {"model": MODEL, "messages": [{"role": "user", "content": text}]}


def texts(*numbers):
    return [f"Tell me about the number {number}." for number in range(*numbers)]


@pytest.fixture
def slow():
    """Give a server that takes a tenth of a second for an answer."""
    with LocalServer(latency=0.1) as server:
        yield server


class Caller:
    """A process of its own that makes one call and writes down what came of it."""

    def __init__(self, server, tmp_path, rows, name="caller", lease=None):
        self._out = tmp_path / f"{name}.json"
        settings = {
            "rows": rows,
            "out": str(self._out),
            "journal": str(tmp_path / "journal.sqlite"),
            "base_url": server.base_url,
            "api_key": "any",
            "model": MODEL,
            "progress": False,
            "lease": lease,
            "max_concurrency": CONCURRENCY,
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


def kept_texts(tmp_path):
    """Return the answers' texts that the journal holds."""
    with reading(tmp_path) as journal:
        bodies = [orjson.loads(row[0]) for row in journal.execute("SELECT body FROM answer")]
    return {kept["choices"][0]["message"]["content"] for kept in bodies}


needs_kill = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")


@needs_kill
@pytest.mark.parametrize("seed", range(3))
def test_a_killed_run_goes_on_where_it_was(slow, tmp_path, seed):
    """After kill -9 at any moment: all that was delivered is there, and only what was in flight may be paid twice."""
    chance = random.Random(seed)
    rows = texts(1000)
    by_digest = {request_digest(body(text)): made_up_answer(body(text)) for text in rows}
    with Caller(slow, tmp_path, rows) as caller:
        caller.go()
        so_many = chance.randrange(1, 800)
        assert slow.ledger.wait_for(lambda ledger: ledger.billed >= so_many, timeout=60)
        delivered = {by_digest[digest] for digest in slow.ledger.billed_by_request}
        time.sleep(0.5)  # the promise is 0.2 s; this machine may be busy
        time.sleep(chance.random() / 10)
        caller.kill()
    assert slow.ledger.wait_for(lambda ledger: ledger.in_flight == 0, timeout=30)
    kept = kept_texts(tmp_path)
    assert delivered <= kept
    paid = {by_digest[digest] for digest in slow.ledger.billed_by_request}
    with reading(tmp_path) as journal:
        claims = journal.execute("SELECT coalesce(sum(length(keys)), 0) / 16 FROM flight").fetchone()[0]
    # Claimed are the requests in flight, as many again that were next, and answers on their way to the disk.
    assert claims - len(paid - kept) <= 2 * CONCURRENCY

    frame = pd.DataFrame({"q": rows})
    settings = {"base_url": slow.base_url, "api_key": "any", "model": MODEL, "max_concurrency": CONCURRENCY}
    began = time.monotonic()
    frame.llm.complete("q", into="a", journal=tmp_path / "journal.sqlite", **settings)
    run = llmframe.last_run()
    assert time.monotonic() - began < 45  # a lease of a minute was not waited for
    assert frame["a"].tolist() == list(by_digest.values())
    assert run.from_journal == len(kept)
    assert run.sent == len(rows) - len(kept)
    assert run.uncertain == claims
    paid_twice = slow.ledger.billed - len(rows)
    assert paid_twice == len(paid - kept) <= run.uncertain
    assert max(slow.ledger.billed_by_request.values()) <= 2


def test_two_processes_pay_each_request_once(slow, tmp_path):
    """Overlapping rows are asked by one of them, and both have all answers."""
    first, second = texts(500), texts(250, 750)[::-1]
    with Caller(slow, tmp_path, first, "one") as one, Caller(slow, tmp_path, second, "two") as two:
        one.go()
        two.go()
        results = one.result(), two.result()
    for result, rows in zip(results, (first, second), strict=True):
        assert result["answers"] == [made_up_answer(body(text)) for text in rows]
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
        began = time.monotonic()
        result = two.result()
        assert time.monotonic() - began < 45
    assert result["answers"] == [made_up_answer(body(text)) for text in rows[::-1]]
    assert slow.ledger.billed - 800 <= result["uncertain"] <= 5 * CONCURRENCY
    assert max(slow.ledger.billed_by_request.values()) <= 2


@needs_kill
def test_a_process_that_was_stopped_claims_anew_what_it_had_not_sent(tmp_path):
    """It sends nothing that others took over and answered meanwhile."""
    rows = texts(600)
    with LocalServer(latency=0.5) as server:
        first = Caller(server, tmp_path, rows, "first", lease=1.5)
        second = Caller(server, tmp_path, rows[::-1], "second", lease=1.5)
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
        assert there["answers"] == [made_up_answer(body(text)) for text in rows[::-1]]
        assert back["answers"] == there["answers"][::-1]
        assert server.ledger.billed - billed <= CONCURRENCY // 5
        assert there["uncertain"] >= billed - len(rows)


def test_a_run_waits_for_what_another_is_asking_and_gets_its_answer(llm):
    """A request in flight elsewhere is not sent again."""
    llm.faults = [Fault("trickle", seconds=1.5)]
    frame = pd.DataFrame({"q": texts(5)})
    first = frame.llm.complete("q", into="a", wait=False)
    assert llm.ledger.wait_for(lambda ledger: ledger.requests == 5)
    answers = frame["q"].llm.complete()
    assert answers.tolist() == [made_up_answer(body(text)) for text in frame["q"]]
    assert llmframe.last_run().from_journal == 5
    assert llmframe.last_run().sent == 0
    first.result(30)
    assert llm.ledger.billed == 5


def test_a_run_that_must_stop_does_not_wait_for_another(llm):
    """While a row is held elsewhere, a fatal fault ends the run at once."""
    held, bad = texts(2)
    llm.faults = [
        Fault("hang", when=lambda asked: asked["messages"][0]["content"] == held),
        Fault("insufficient_quota", when=lambda asked: asked["messages"][0]["content"] == bad),
    ]
    other = pd.DataFrame({"q": [held]}).llm.complete("q", wait=False)
    assert llm.ledger.wait_for(lambda ledger: ledger.requests == 1)
    with pytest.raises(llmframe.StoppedError, match="quota"):
        llmframe.complete([bad, held])
    assert not other.done()
    other.cancel()
    with pytest.raises(llmframe.StoppedError):
        other.result(30)


FORKING = """
import json, os, sys, time
import llmframe
llmframe.options.base_url, llmframe.options.journal = sys.argv[1:]
llmframe.options.api_key, llmframe.options.model = "any", "gpt-6-luna"
llmframe.options.max_concurrency, llmframe.options.progress = 10, False
run = llmframe.complete([f"Parent {number}." for number in range(60)], wait=False)
while run.answered < 5:
    time.sleep(0.01)
children = []
for child in range(3):
    children.append(os.fork())
    if not children[-1]:
        llmframe.complete([f"Child {child}, {number}." for number in range(60 + 20 * child)])
        os._exit(0)
run.result()
print([os.waitpid(child, 0)[1] for child in children])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_forked_children_and_their_parent_share_the_journal(slow, tmp_path):
    """Forks while the journal is in use: all answers of all processes are kept, whoever ends first."""
    command = [sys.executable, "-c", FORKING, slow.base_url, str(tmp_path / "journal.sqlite")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.returncode) == ("[0, 0, 0]\n", 0), done.stderr
    assert slow.ledger.billed == 60 + 60 + 80 + 100
    with reading(tmp_path) as journal:
        assert journal.execute("SELECT count(*), count(DISTINCT key) FROM answer").fetchone() == (300, 300)
        assert journal.execute("SELECT count(*) FROM flight").fetchone() == (0,)
        assert journal.execute("PRAGMA integrity_check").fetchone() == ("ok",)


OPENING_KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from llmframe._journal.sqlite.journal import SqliteJournal
from llmframe._values import Answer, Usage
chance = random.Random(1)

def use(path):
    journal = SqliteJournal(path)
    session = journal.begin(b"recipe", {}, fresh=b"")
    journal.claim(session, [b"k" * 16], retry_failed=False)
    journal.record(session, [(Answer(b"k" * 16, b"{}", Usage(), ""), None)], [])
    found = len(journal.lookup(session, [b"k" * 16]))
    journal.end(session, {}, finished=True)
    journal.close()
    return found

for number in range(60):
    path = Path(sys.argv[1]) / f"{number}.sqlite"
    child = os.fork()
    if not child:
        use(path)
        os._exit(0)
    time.sleep(chance.random() * 0.03)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert use(path) in (1, 2), number
print("sound")
"""


@needs_kill
def test_a_kill_while_a_journal_is_made_leaves_one_that_can_be_used(tmp_path):
    """Whatever step of the first opening was cut short, the next process finishes it."""
    command = [sys.executable, "-c", OPENING_KILLED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.returncode) == ("sound\n", 0), done.stderr
