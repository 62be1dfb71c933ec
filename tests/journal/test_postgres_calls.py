"""Calls whose journal is a database: several processes and machines, lost connections, and a password that is kept."""

import json
import logging
import pickle
import subprocess
import sys
import traceback
from contextlib import ExitStack
from pathlib import Path

import pytest
from helpers import MODEL, answer, asked, paid_again, texts, tune, wait_until
from journal.networks import network_to

import llmframe
from llmframe.cli import main
from llmframe.testing import LocalServer

_TESTS = Path(__file__).parents[1]

needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="needs fork")


@pytest.fixture
def llm(llm, database):
    llmframe.options.journal = database.url
    return llm


def answers(*numbers):
    return [answer(text) for text in texts(*numbers)]


def count(database, table):
    return database.sql(f"SELECT count(*) FROM llmframe.{table}")[0][0]


def test_what_is_in_the_database_is_not_asked_again(llm, database, lane):
    """In both lanes, and by the other lane."""
    frame = asked(20).llm.complete("q", into="a")
    assert frame["a"].tolist() == answers(20)
    for mode in ("live", "batch", "offline"):
        assert asked(20).llm.complete("q", into="a", mode=mode)["a"].tolist() == answers(20)
    assert llm.ledger.billed == 20
    assert (count(database, "answer"), count(database, "claim")) == (20, 0)
    assert len(llmframe.batches()) == (lane == "batch")


CALLER = f"""
import json, socket, sys
settings = json.loads(sys.argv[1])
if host := settings.pop("host", None):
    socket.gethostname = lambda: host
import pandas as pd, llmframe
from helpers import asked, tune
llmframe.options.model, llmframe.options.api_key, llmframe.options.progress = {MODEL!r}, "any", False
tune(lease_seconds=settings.pop("lease_seconds"))
frame = asked(settings.pop("rows"))
print("ready", flush=True)
sys.stdin.readline()
frame.llm.complete("q", into="a", **settings)
run = llmframe.last_run()
print(json.dumps({{"answers": frame["a"].tolist(), "sent": run.sent, "uncertain": run.uncertain}}), flush=True)
"""


class Caller:
    """A process of its own that makes one call, perhaps as on another machine."""

    def __init__(self, server, database, rows, *, lease_seconds=100_000.0, **more):
        settings = {
            "rows": rows, "base_url": server.base_url, "journal": database.url, "lease_seconds": lease_seconds, **more,
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-c", CALLER, json.dumps(settings)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_TESTS,
        )  # fmt: skip

    def __enter__(self):
        assert self.process.stdout.readline() == "ready\n"
        return self

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def result(self):
        return json.loads(self.process.stdout.readline())

    def kill(self):
        self.process.kill()
        self.process.wait(30)

    def __exit__(self, *_):
        self.process.kill()
        with self.process:
            pass


@pytest.mark.slow
def test_processes_of_two_machines_pay_each_request_once(llm, database):
    """Each has all answers at the end, whoever asked."""
    with ExitStack() as stack:
        callers = [
            stack.enter_context(Caller(llm, database, 600, host=host, max_concurrency=40))
            for host in ("here", "there", "there")
        ]
        for caller in callers:
            caller.go()
        results = [caller.result() for caller in callers]
    assert [result["answers"] for result in results] == [answers(600)] * 3
    assert (llm.ledger.billed, paid_again(llm)) == (600, 0)
    assert sum(result["sent"] for result in results) == 600
    assert (count(database, "answer"), count(database, "claim"), count(database, "owner")) == (600, 0, 0)


@pytest.mark.slow
def test_at_random_no_request_is_paid_twice(database):
    """Five machines at once, whose runs claim, answer, release and vanish: no conflict of theirs is an error."""
    database.sql("CREATE TABLE paid (key BYTEA)")
    command = [sys.executable, "-m", "journal.claiming", database.url]
    children = [subprocess.Popen([*command, str(seed), "4"], cwd=_TESTS) for seed in range(5)]
    try:
        assert [child.wait(60) for child in children] == [0] * 5
        paid, distinct = database.sql("SELECT count(*), count(DISTINCT key) FROM paid")[0]
    finally:
        for child in children:
            child.kill()
        database.sql("DROP TABLE paid")
    assert paid == distinct == count(database, "answer") > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "lease_seconds"), [(None, 100_000.0), ("elsewhere", 2.0)], ids=["here", "elsewhere"]
)
def test_the_claims_of_a_killed_process_are_taken_over(database, host, lease_seconds):
    """At once where it can be seen that it is gone, and else when its lease is over; only what was in flight is paid twice."""
    in_flight = 20
    more = {"lease_seconds": lease_seconds, "max_concurrency": in_flight}
    with LocalServer(latency=0.1) as server:
        with Caller(server, database, 300, host=host, **more) as caller:
            caller.go()
            assert server.ledger.wait_for(lambda ledger: ledger.billed >= 100, timeout=30)
            caller.kill()
        with Caller(server, database, 300, **more) as caller:
            caller.go()
            result = caller.result()
        assert result["answers"] == answers(300)
        assert server.ledger.billed - 300 <= min(result["uncertain"], 2 * in_flight)


def test_a_call_goes_on_when_the_connection_was_lost_in_its_middle(llm, database):
    """Several times: every answer is there, and none is paid twice."""
    with network_to(database) as (network, url):
        run = asked(600).llm.complete("q", into="a", journal=url, wait=False, max_concurrency=20)
        for done in (50, 200, 400):
            wait_until(lambda done=done: run.answered >= done)
            network.break_all()
        assert run.result()["a"].tolist() == answers(600)
    assert llm.ledger.billed == 600
    assert (count(database, "answer"), count(database, "claim")) == (600, 0)


def test_a_call_whose_database_stays_away_ends_with_its_answers_in_the_column(llm, database):
    tune(reconnect_seconds=0.2)
    frame = asked(400)
    with network_to(database) as (network, url):
        run = frame.llm.complete("q", into="a", journal=url, wait=False, max_concurrency=10)
        wait_until(lambda: run.answered >= 50)
        network.up = False
        network.break_all()
        with pytest.raises(llmframe.CompletionError, match="run the same call again") as stopped:
            run.result()
        assert llm.ledger.billed < 400
        assert stopped.value.result["a"].notna().sum() == llm.ledger.billed
        network.up = True
        asked(400).llm.complete(
            "q", into="a", journal=url
        )  # it does not wait for the claims of the run before
    assert count(database, "answer") == 400


@pytest.mark.slow
def test_requests_are_claimed_further_ahead_where_the_database_is_far_away(llm, database):
    """Otherwise few are claimed in each of many round trips, which then set the pace."""
    with network_to(database) as (network, url):
        network.delay = 0.01
        asked(400).llm.complete("q", journal=url, max_concurrency=100)
        claims = network.sent.count(b"INSERT INTO llmframe.claim")
    assert llm.ledger.billed == 400
    assert claims < 40


FORKING = """
import os
before = asked(30).llm.complete("q", into="a", **settings)
background = asked(200).llm.complete("q", into="a", wait=False, max_concurrency=5, **settings)
children = []
for number in range(3):
    child = os.fork()
    if not child:
        again = asked(30).llm.complete("q", into="a", **settings)
        own = asked(1000 * (number + 1), 1000 * (number + 1) + 10).llm.complete("q", into="a", **settings)
        os._exit(0 if again["a"].equals(before["a"]) and own["a"].notna().all() else 1)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
assert background.result()["a"].notna().all()
"""


@pytest.mark.slow
@needs_fork
def test_forked_children_open_connections_of_their_own(llm, database):
    script = CALLER.partition("frame = asked")[0] + 'settings.pop("rows")\n' + FORKING
    settings = {"rows": 0, "base_url": llm.base_url, "journal": database.url, "lease_seconds": 60}
    command = [sys.executable, "-W", "error", "-c", script, json.dumps(settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=_TESTS, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (llm.ledger.billed, paid_again(llm)) == (230, 0)
    assert count(database, "answer") == 230


SECRET = "se%2Fcret-word"
SPELLINGS = ("se%2Fcret-word", "se/cret-word", "cret-word")


@pytest.fixture
def guarded(database):
    """Give the address of the database for a role that needs a password."""
    database.sql("DROP ROLE IF EXISTS ana")
    database.sql("CREATE ROLE ana LOGIN PASSWORD 'se/cret-word' IN ROLE guarded")
    database.sql(f"GRANT CREATE ON DATABASE {database.name} TO ana")
    yield database.server.url(database.name, user="ana", password=SECRET)
    database.sql("DROP OWNED BY ana CASCADE; DROP ROLE ana")


def is_silent(*shown):
    return not any(spelling in str(one) for one in shown for spelling in SPELLINGS)


def test_the_password_is_in_nothing_that_a_call_shows_or_leaves(llm, guarded, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    llmframe.options.journal = guarded
    frame = asked(5).llm.complete("q", into="a")
    run = llmframe.last_run()
    with llmframe.option_context(journal=guarded):
        inside = repr(llmframe.options)
    assert main(["journal", "--journal", guarded]) == 0
    assert main(["journal", "--journal", guarded, "init"]) == 0
    shown = capsys.readouterr()
    assert "ana@127.0.0.1" in shown.out
    assert "ana@127.0.0.1" in inside
    context = pickle.dumps(llmframe.option_context(journal=guarded))
    assert is_silent(
        repr(llmframe.options), inside, llmframe.options.journal, context, frame.attrs, repr(run), run._repr_html_(),
        vars(run), pickle.dumps(run), shown.out, shown.err, caplog.text,
    )  # fmt: skip


WRONG = (
    ("cret-word", "ret-word"),
    ("/journal", "/nowhere"),
    ("se%2F", "se/"),
    ("se%2F", "se@"),
    ("se%2F", "%se"),
    ("@127.0.0.1:", "@127.0.0.1:1"),
    ("@127.0.0.1:", ":"),
)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong[1])
@pytest.mark.parametrize("by", ["argument", "option", "environment"])
def test_the_password_is_in_no_error(llm, guarded, wrong, by, monkeypatch):
    """Nor in what an error hands on: its causes, its traceback, its pickle."""
    address = guarded.replace(*wrong)
    frame = asked(5)
    llmframe.options.journal = None
    with pytest.raises((ValueError, llmframe.JournalError)) as raised:  # noqa: PT012 (an option is checked when it is set)
        if by == "option":
            llmframe.options.journal = address
        elif by == "environment":
            monkeypatch.setenv("LLMFRAME_JOURNAL", address)
        frame.llm.complete("q", into="a", **({"journal": address} if by == "argument" else {}))
    error = raised.value
    assert is_silent(
        *traceback.format_exception(error), repr(error), pickle.dumps(error), repr(error.__cause__), repr(llmframe.options),
        *(vars(one) for one in (error, error.__cause__, error.__context__) if one is not None),
    )  # fmt: skip
    assert llm.ledger.billed == 0


def test_without_psycopg_the_error_says_what_to_install(llm, tmp_path):
    """And nothing else misses it."""
    script = (
        "import sys; sys.modules['psycopg'] = None\n"
        "import llmframe\n"
        "llmframe.complete([], model='m', journal=False, progress=False)\n"
        "try: llmframe.complete(['a'], model='m', api_key='any', journal='postgresql://ana@localhost/llm')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert "pip install 'llmframe[postgres]'" in done.stdout
