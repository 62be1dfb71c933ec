"""The batch lane over real HTTP: parts, limits on what is enqueued, reattaching, harvest, and moving between the lanes."""

from __future__ import annotations

import contextlib
import json
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time

import openai
import pandas as pd
import pytest
from openapi import validator

import llmframe
from llmframe._batch import collection, enqueued_limit, lane, lines, submission
from llmframe.testing import Batches, Fault, made_up_answer

MODEL = "gpt-6-luna"
DAY = 86_400
HANGS = Batches(seconds=DAY)
"""Batches that do not end before somebody advances the time."""

CALLER = """
import json, sys
import pandas as pd, llmframe
from llmframe._batch import lane
from llmframe._batch import submission
settings = json.loads(sys.argv[1])
lane.FIRST_POLL_SECONDS, lane.LONGEST_POLL_SECONDS = 0.01, 0.05
submission.LARGEST_PART_REQUESTS = settings.pop("part", 50_000)
frame = pd.DataFrame({"q": settings.pop("rows")})
try:
    frame.llm.complete("q", into="a", mode="batch", **settings)
except KeyboardInterrupt:
    print("interrupted", flush=True)
print(json.dumps(frame["a"].tolist() if "a" in frame else None), flush=True)
"""

pytestmark = pytest.mark.usefixtures("swift")


def texts(*numbers):
    return [f"Tell me about the number {number}." for number in range(*numbers)]


def asked(*numbers):
    return pd.DataFrame({"q": texts(*numbers)})


def answer(text):
    return made_up_answer({"model": MODEL, "messages": [{"role": "user", "content": text}]})


def about(*numbers):
    chosen = {f"Tell me about the number {number}." for number in numbers}
    return lambda body: body.get("messages", [{}])[-1].get("content") in chosen


def complete(frame, **settings):
    """Run a call by batch and return its run."""
    frame.llm.complete("q", into="a", **{"mode": "batch", **settings})
    return llmframe.last_run()


def right(frame):
    """Every row has its own answer."""
    return frame["a"].tolist() == [answer(text) for text in frame["q"]]


def paid_again(server):
    return server.ledger.billed - len(server.ledger.billed_by_request)


def parts_of(size, monkeypatch):
    monkeypatch.setattr(submission, "LARGEST_PART_REQUESTS", size)


def api(server):
    return openai.OpenAI(base_url=server.base_url, api_key="any", max_retries=0)


@pytest.fixture
def submitted(llm):
    """Give a server with a batch under way, of a run that has let go of it; and the frame that it is of."""
    llm.batches = HANGS
    frame = asked(10)
    run = frame.llm.complete("q", into="a", mode="batch", wait=False)
    assert llm.ledger.wait_for(lambda ledger: ledger.batches_created == 1)
    let_go(run)
    return llm, frame


def until_submitted(run):
    """Wait until a run knows of its batches."""
    deadline = time.monotonic() + 20
    while not run._errand.batches and time.monotonic() < deadline:
        time.sleep(0.005)


def let_go(run):
    """End a run as Ctrl-C does."""
    until_submitted(run)
    run._work.cancel()
    with pytest.raises(llmframe.StoppedError):
        run.result(10)


def empty_journal(tmp_path, name="elsewhere"):
    llmframe.options.journal = str(tmp_path / f"{name}.sqlite")


# --- the column ------------------------------------------------------------------------------------


def test_rows_go_out_in_parts_and_come_back_to_their_places(llm, monkeypatch):
    """Duplicates are one request; missing rows are not sent; the tokens cost half."""
    parts_of(40, monkeypatch)
    frame = pd.DataFrame({"q": [*texts(100), None, *texts(30)]}, index=[0] * 131)
    run = complete(frame)
    assert frame["a"].isna().sum() == 1
    assert right(frame.dropna())
    assert llm.ledger.batches_created == 3
    assert llm.ledger.billed == run.sent == run.distinct == 100
    assert run.retries == run.uncertain == 0
    live = pd.DataFrame({"q": texts(100)})
    complete(live, mode="live", journal=False)
    assert run.cost == pytest.approx(llmframe.last_run().cost / 2)
    assert complete(frame, overwrite=True).sent == 0
    assert llm.ledger.batches_created == 3


def test_every_line_is_what_the_api_takes(llm, monkeypatch):
    """Each line has its identity as a short unique `custom_id`, and its body satisfies the published document."""
    parts_of(7, monkeypatch)
    llmframe.options.keep_batch_files = True
    complete(asked(20), system="Be brief.", temperature=0, extra_body={"metadata": {"team": "a"}})
    client = api(llm)
    files = [stored for stored in client.files.list() if stored.purpose == "batch"]
    lines = [
        json.loads(line) for each in files for line in client.files.content(each.id).content.splitlines()
    ]
    assert len({line["custom_id"] for line in lines}) == len(lines) == 20
    assert all(len(line["custom_id"]) <= 64 for line in lines)
    assert all(list(line) == ["custom_id", "method", "url", "body"] for line in lines)
    check = validator("CreateChatCompletionRequest")
    assert [error.message for line in lines for error in check.iter_errors(line["body"])] == []


def test_a_part_has_no_more_bytes_than_the_api_takes(llm, monkeypatch):
    """Bytes are counted, not guessed; a request that is larger than a part fails alone."""
    monkeypatch.setattr(submission, "LARGEST_PART_BYTES", 2_000)
    llm.batches = Batches(max_bytes=2_000)
    frame = pd.DataFrame({"q": [*texts(40), "é" * 2_000]})
    with pytest.raises(llmframe.CompletionError, match="request_too_large"):
        complete(frame)
    assert right(frame.head(40))
    assert llm.ledger.batches_created > 3


def test_input_files_are_deleted_after_the_harvest_unless_they_are_wanted(llm):
    """Only the results stay in the account."""
    for keep, left in ((False, 0), (True, 1)):
        llmframe.options.keep_batch_files = keep
        complete(asked(5), version=str(keep))
        assert sum(stored.purpose == "batch" for stored in api(llm).files.list()) == left


def test_nothing_is_said_to_the_account_when_all_is_in_the_journal(llm):
    """A run of answered rows needs no key and no network."""
    complete(asked(5))
    llm.stop()
    llmframe.options.api_key = None
    assert complete(asked(5)).from_journal == 5


def test_without_a_journal_a_batch_run_still_finds_what_was_paid(llm):
    """`journal=False` keeps nothing here; the account itself knows its batches."""
    complete(asked(5), journal=False)
    frame = asked(7)
    complete(frame, journal=False)
    assert right(frame)
    assert llm.ledger.billed == 7


def test_azure_is_told_that_it_has_another_batch_api(llm):
    """Before anything is planned."""
    client = openai.AzureOpenAI(api_key="k", api_version="2024-10-21", azure_endpoint="http://localhost:9")
    with pytest.raises(ValueError, match=r"^mode: .*mode='live'"):
        complete(asked(2), client=client)


# --- faults of the account ------------------------------------------------------------------------


FAULTS = {
    "uploads": [Fault("503", path="/v1/files", method="POST", first=2)],
    "an upload's lost answer": [Fault("reset", path="/v1/files", method="POST", first=1)],
    "a garbled answer to an upload": [Fault("garbled", path="/v1/files", method="POST", first=1)],
    "creations": [Fault("500", path="/v1/batches", method="POST", first=2)],
    "a creation's lost answer": [Fault("reset", path="/v1/batches", method="POST", first=2)],
    "a creation's garbled answer": [Fault("garbled", path="/v1/batches", method="POST", first=1)],
    "polls": [Fault("502", path="/v1/batches/", first=3)],
    "lists": [Fault("500", path="/v1/batches", method="GET", first=2)],
    "garbled lists": [Fault("garbled", path="/v1/batches", method="GET", first=1)],
    "garbled polls": [Fault("garbled", path="/v1/batches/", first=1)],
    "downloads": [Fault("502", path="/v1/files/file-", method="GET", first=2)],
    "truncated downloads": [Fault("truncated", path="/v1/files/file-", method="GET", first=2)],
    "garbled downloads": [Fault("garbled", path="/v1/files/file-", method="GET", first=2)],
    "batches that are not known yet": [Fault(404, path="/v1/batches/", first=2)],
    "result files that are not known yet": [Fault(404, path="/v1/files/file-", method="GET", first=2)],
    "input files that are not known yet": [Fault(404, path="/v1/batches", method="POST", first=2)],
    "deletions": [Fault("500", path="/v1/files/file-", method="DELETE", first=1)],
    "rate limits": [Fault("rate_limit", path="/v1/", first=4)],
}


@pytest.mark.parametrize("name", FAULTS)
def test_passing_faults_of_files_and_batches_cost_nothing(name, llm):
    """Whatever breaks once or twice: every row has its answer, and is paid once."""
    llm.faults = FAULTS[name]
    frame = asked(30)
    complete(frame)
    assert right(frame)
    assert llm.ledger.billed == 30
    assert paid_again(llm) == 0


def test_a_file_that_is_not_known_yet_is_waited_for(llm):
    """The API may not find a file that it has just taken."""
    llm.batches = Batches(file_seconds=0.3)
    frame = asked(5)
    complete(frame)
    assert right(frame)


@pytest.mark.parametrize("reattach", [True, False])
def test_a_server_without_batches_is_named(reattach, llm):
    """Many compatible servers have none: that is said in words, and how to go on."""
    llmframe.options.reattach = reattach
    llm.faults = [Fault(404, path="/v1/files"), Fault(404, path="/v1/batches")]
    with pytest.raises(llmframe.StoppedError, match=r"(?s)no batches.*mode='live'"):
        complete(asked(3))


@pytest.mark.parametrize("kind", ["invalid_api_key", "insufficient_quota"])
def test_what_cannot_succeed_stops_the_run(kind, llm):
    """A refused key or spent credit, in whatever step: the run ends and says what to do."""
    llm.faults = [Fault(kind, path="/v1/batches", method="POST")]
    with pytest.raises(llmframe.StoppedError, match="To go on:"):
        complete(asked(5))
    assert llm.ledger.billed == 0
    llm.faults = []
    frame = asked(5)
    complete(frame)
    assert right(frame)
    assert sum(stored.purpose == "batch" for stored in api(llm).files.list()) == 0


def test_a_result_that_is_nested_too_deeply_is_no_answer():
    """It is the row's fault where the line can be read, and the file's where it cannot."""
    line = '{"custom_id": "%s", "response": {"status_code": 200, "body": {"choices": %s}}}'
    deep = (line % ("0" * 32, "[" * 300 + "]" * 300)).encode()
    assert lines.read_result(deep).fault.code == "unparsable_answer"
    deeper = (line % ("0" * 32, "[" * 100_000 + "]" * 100_000)).encode()
    with pytest.raises(ValueError, match="too deeply"):
        lines.read_result(deeper)


def test_an_unknown_model_stops_the_run(llm):
    """It is found out by the validation of the first part."""
    with pytest.raises(llmframe.StoppedError, match="model") as error:
        complete(asked(5), model="gpt-none")
    assert error.value.code == "model_not_found"


# --- the rows -------------------------------------------------------------------------------------


def test_rows_that_cannot_succeed_fail_with_their_reasons(llm):
    """What is in the error file is those rows' failure; refusals are paid, and kept."""
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
    assert "mode='live'" in str(error.value)
    with pytest.raises(llmframe.CompletionError):
        complete(frame, overwrite=True)
    assert llm.ledger.billed == 9
    assert llmframe.last_run().sent == 1


def test_a_batch_with_only_an_error_file_is_harvested(llm):
    """`completed` does not mean that there is an output file."""
    llm.faults = [Fault("context_length_exceeded")]
    with pytest.raises(llmframe.CompletionError, match="3 × context_length_exceeded"):  # noqa: RUF001
        complete(asked(3))


def test_rows_that_met_a_passing_fault_are_submitted_again(llm):
    """A 500 in the error file is asked once more by batch, and never in the live lane."""
    llm.faults = [Fault("500", when=about(1, 2), times_per_request=2)]
    frame = asked(6)
    run = complete(frame)
    assert right(frame)
    assert llm.ledger.batches_created == 3
    assert (run.sent, run.retries) == (6, 4)
    assert llm.ledger.requests == 0


def test_a_row_is_not_submitted_for_ever(llm):
    """After some rounds it has failed, and the message names the other lane."""
    llm.faults = [Fault("500", when=about(1))]
    frame = asked(3)
    with pytest.raises(llmframe.CompletionError, match="mode='live'"):
        complete(frame)
    assert llm.ledger.batches_created == 1 + lane.MOST_ROUNDS
    assert llmframe.last_run().failures["attempts"].tolist() == [1 + lane.MOST_ROUNDS]


def test_lines_that_validation_names_are_failures_and_the_rest_is_submitted_again(llm, monkeypatch):
    """A batch that failed has done nothing; its good lines go out once more."""
    line_of = submission.request_line

    def spoilt(request, endpoint):
        line = line_of(request, endpoint)
        return line.replace(b'"POST"', b'"PUT"') if b"number 2." in line or b"number 7." in line else line

    monkeypatch.setattr(submission, "request_line", spoilt)
    frame = asked(10)
    with pytest.raises(llmframe.CompletionError):
        complete(frame)
    assert llmframe.last_run().failures["position"].tolist() == [2, 7]
    assert right(frame.drop([2, 7]))
    assert llm.ledger.batches_created == 2


def test_the_finished_rows_of_an_expired_batch_are_kept_and_the_others_submitted_again(llm):
    """Expiry costs only time."""
    llm.batches = Batches(seconds=1_000, unfinished=0.4)
    frame = asked(40)
    run = frame.llm.complete("q", into="a", mode="batch", wait=False)
    assert llm.ledger.wait_for(lambda ledger: ledger.batches_created == 1)
    llm.batches = Batches()
    llm.advance(2 * DAY)
    run.result(30)
    assert right(frame)
    assert llm.ledger.batches_created == 2
    assert llm.ledger.billed == 40
    assert 0 < run.retries < 40


def test_the_finished_rows_of_a_batch_that_somebody_cancelled_are_kept(llm):
    """In the dashboard, say: the rest is submitted again."""
    llm.batches = Batches(seconds=1_000)
    frame = asked(40)
    run = frame.llm.complete("q", into="a", mode="batch", wait=False)
    assert llm.ledger.wait_for(lambda ledger: ledger.batches_created == 1)
    llm.advance(500)
    client = api(llm)
    client.batches.cancel(client.batches.list().data[0].id)
    llm.batches = Batches()
    llm.advance(1_000)
    run.result(30)
    assert right(frame)
    assert llm.ledger.billed == 40
    assert llm.ledger.batches_created == 2


# --- limits on what is enqueued -------------------------------------------------------------------


def test_parts_beyond_the_enqueued_limit_wait_for_earlier_ones(llm, monkeypatch):
    """A part that is refused late is submitted again when another has ended; nothing is paid twice."""
    parts_of(20, monkeypatch)
    llm.batches = Batches(seconds=0.2, enqueued_requests=45)
    frame = asked(120)
    complete(frame)
    assert right(frame)
    assert llm.ledger.billed == 120
    assert llm.ledger.batches_created > 6


def test_a_part_that_is_too_large_alone_is_halved(llm):
    """The message states the limit: no waiting would help."""
    llm.batches = Batches(enqueued_requests=15)
    frame = asked(50)
    complete(frame)
    assert right(frame)
    assert llm.ledger.billed == 50


def test_one_row_that_can_never_fit_fails_alone(llm):
    """The others are answered."""
    llm.batches = Batches(enqueued_tokens=400)
    frame = pd.DataFrame({"q": [*texts(20), "many words " * 2_000]})
    with pytest.raises(llmframe.CompletionError, match="1 × token_limit_exceeded"):  # noqa: RUF001
        complete(frame)
    assert right(frame.head(20))
    assert llm.ledger.billed == 20


def test_a_large_row_does_not_make_the_parts_of_the_others_small(llm, monkeypatch):
    """The account does not say its limit: the part is halved until the large row is alone, and no further ones are."""
    parts_of(16, monkeypatch)
    monkeypatch.setattr(enqueued_limit, "_STATED", re.compile("nothing"))
    monkeypatch.setattr(enqueued_limit, "LONELY_REFUSALS", 4)
    llm.batches = Batches(enqueued_tokens=750)
    frame = pd.DataFrame({"q": [*texts(18), "many words " * 1_000, *texts(18, 76)]})
    with pytest.raises(llmframe.CompletionError, match="1 × token_limit_exceeded"):  # noqa: RUF001
        complete(frame)
    assert right(frame.drop(18))
    done = [batch for batch in api(llm).batches.list() if batch.status == "completed"]
    assert sorted(batch.request_counts.total for batch in done)[-3:] == [16, 16, 16]


def test_a_lagging_release_is_waited_for(llm, monkeypatch):
    """Just after a batch's end its tokens may still count: the next part is not taken apart for that."""
    parts_of(20, monkeypatch)
    llm.batches = Batches(enqueued_requests=20, release_seconds=0.5)
    frame = asked(60)
    complete(frame)
    assert right(frame)
    client = api(llm)
    done = [batch for batch in client.batches.list() if batch.status == "completed"]
    assert [batch.request_counts.total for batch in done] == [20, 20, 20]


def test_another_notebooks_batches_are_waited_for(llm, tmp_path):
    """What else the account has enqueued is no reason to take a part apart."""
    llm.batches = Batches(seconds=1_000, enqueued_requests=25)
    other = asked(100, 120).llm.complete("q", into="a", mode="batch", wait=False)
    assert llm.ledger.wait_for(lambda ledger: ledger.batches_created == 1)
    let_go(other)
    llm.advance(200)
    llm.batches = Batches(enqueued_requests=25)
    empty_journal(tmp_path)
    frame = asked(10)
    run = frame.llm.complete("q", "Another recipe.", into="a", mode="batch", wait=False)
    assert llm.ledger.wait_for(lambda ledger: ledger.batches_created >= 3)
    llm.advance(1_000)
    run.result(30)
    client = api(llm)
    done = [batch for batch in client.batches.list() if batch.status == "completed"]
    assert sorted(batch.request_counts.total for batch in done) == [10, 20]


# --- coming back ----------------------------------------------------------------------------------


class Caller:
    """A process of its own that makes one call by batch."""

    def __init__(self, server, rows, journal, **more):
        settings = {
            "rows": rows, "journal": str(journal), "base_url": server.base_url, "api_key": "any", "model": MODEL, **more,
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-c", CALLER, json.dumps(settings)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def test_a_killed_process_comes_back_to_the_same_batches(llm, tmp_path, monkeypatch):
    """`kill -9` after submission: the same call goes on waiting, and nothing is submitted twice."""
    llm.batches = HANGS
    with Caller(llm, texts(50), tmp_path / "journal.sqlite", part=20) as caller:
        assert llm.ledger.wait_for(lambda ledger: ledger.batches_created == 3, timeout=60)
        caller.process.kill()
    frame = asked(50)
    run = frame.llm.complete("q", into="a", mode="batch", wait=False)
    llm.advance(DAY)
    run.result(30)
    assert right(frame)
    assert llm.ledger.batches_created == 3
    assert llm.ledger.billed == 50


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "open"])
def test_another_machine_with_an_empty_journal_finds_them_too(finished, submitted, tmp_path):
    """Also when rows were added, changed and left out meanwhile: only what is in none of them is submitted."""
    server, _ = submitted
    empty_journal(tmp_path)
    frame = asked(3, 14)
    if finished:
        server.advance(DAY)
    run = frame.llm.complete("q", into="a", mode="batch", wait=False)
    assert server.ledger.wait_for(lambda ledger: ledger.batches_created == 2)
    server.advance(DAY)
    run.result(30)
    assert right(frame)
    assert server.ledger.billed == 14
    assert run.sent == 4


def test_all_pages_of_the_accounts_batches_are_read(submitted, tmp_path):
    """The one in question may be the oldest of hundreds."""
    server, frame = submitted
    server.batches = Batches()
    client = api(server)
    stored = client.files.create(file=("x.jsonl", b"{}\n"), purpose="batch")
    for _ in range(205):
        client.batches.create(
            input_file_id=stored.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
    server.advance(DAY)
    empty_journal(tmp_path)
    complete(frame)
    assert right(frame)
    assert server.ledger.billed == 10


@pytest.mark.parametrize(
    "fault",
    [
        Fault("permission", path="/v1/batches", method="GET"),
        Fault("permission", path="/v1/files/file-", method="GET"),
    ],
    ids=["the list", "a file"],
)
def test_where_that_cannot_be_read_it_stops_and_asks(fault, submitted, tmp_path):
    """Nothing is submitted that may be paid already; `options.reattach` is the answer."""
    server, frame = submitted
    empty_journal(tmp_path)
    server.faults = [fault]
    with pytest.raises(llmframe.StoppedError, match="reattach") as error:
        complete(frame)
    assert error.value.code == "batches_unreadable"
    assert server.ledger.batches_created == 1
    server.faults = []
    server.batches = Batches()
    llmframe.options.reattach = False
    complete(frame)
    assert right(frame)


def test_a_batch_that_came_after_the_listing_is_not_taken_for_none(submitted, tmp_path, monkeypatch):
    """Its run entered it and let go of it while another run was still reading an older list of the account's."""
    server, frame = submitted
    journal = llmframe.options.journal
    listed, stale = collection.Collector._listed, []
    with contextlib.closing(
        sqlite3.connect(journal, isolation_level=None, check_same_thread=False)
    ) as connection:
        (batch,) = connection.execute("SELECT batch FROM part").fetchone()
        connection.execute("UPDATE part SET batch = NULL, state = 'intended'")

        async def late(harvester):
            if not stale:
                stale.append(await listed(harvester))
                connection.execute("UPDATE part SET batch = ?", (batch,))
                return []
            return await listed(harvester)

        monkeypatch.setattr(collection.Collector, "_listed", late)
        run = frame.llm.complete("q", into="a", mode="batch", wait=False)
        until_submitted(run)
        server.advance(DAY)
        run.result(30)
    assert len(stale) == 1
    assert right(frame)
    assert (server.ledger.batches_created, server.ledger.billed) == (1, len(frame))


CLAIMER = """
import json, os, sys
from pathlib import Path
from llmframe._journal.sqlite.journal import SqliteJournal
journal = SqliteJournal(Path(sys.argv[1]))
session = journal.begin(b"recipe", {}, fresh=b"")
journal.claim(session, [bytes.fromhex(key) for key in json.loads(sys.argv[2])], retry_failed=False)
os._exit(0)
"""


@pytest.mark.parametrize("dead", ["a live run", "a batch run"])
def test_a_dead_runs_claims_keep_no_rows_out_of_an_open_batch(dead, llm, tmp_path):
    """What another machine has submitted is not submitted once more, whoever died here meaning to ask it."""
    frame, here = asked(10), tmp_path / "here.sqlite"
    llm.batches = HANGS
    if dead == "a batch run":
        llm.faults = [Fault("hang", path="/v1/batches", method="POST", first=1)]
        with Caller(llm, frame["q"].tolist(), here) as caller:
            assert llm.ledger.wait_for(lambda ledger: ledger.uploads == 1, timeout=60)
            time.sleep(0.3)
            caller.process.kill()
    let_go(frame.llm.complete("q", into="a", mode="batch", wait=False))
    if dead == "a live run":
        with contextlib.closing(sqlite3.connect(llmframe.options.journal)) as connection:
            keys = [key.hex() for (key,) in connection.execute("SELECT key FROM claim")]
        assert len(keys) == 10
        subprocess.run([sys.executable, "-c", CLAIMER, here, json.dumps(keys[:7])], check=True, timeout=60)
    llmframe.options.journal = str(here)
    run = frame.llm.complete("q", into="a", mode="batch", wait=False)
    until_submitted(run)
    llm.advance(DAY)
    run.result(30)
    assert right(frame)
    assert (llm.ledger.batches_created, llm.ledger.billed) == (1, 10)


def test_a_part_that_never_became_a_batch_is_forgotten(llm, tmp_path):
    """A crash between upload and creation: its file goes, and its rows are submitted anew."""
    llm.faults = [Fault("hang", path="/v1/batches", method="POST", first=1)]
    with Caller(llm, texts(5), tmp_path / "journal.sqlite") as caller:
        assert llm.ledger.wait_for(lambda ledger: ledger.uploads == 1, timeout=60)
        time.sleep(0.3)
        caller.process.kill()
    frame = asked(5)
    complete(frame)
    assert right(frame)
    assert llm.ledger.billed == 5
    assert sum(stored.purpose == "batch" for stored in api(llm).files.list()) == 0


@pytest.mark.parametrize("journal", ["kept", "emptied"])
def test_kills_at_any_moment_pay_nothing_twice(journal, llm, tmp_path):
    """Between upload and harvest, again and again; also when the journal is lost each time."""
    llm.batches = Batches(seconds=0.4)
    moments = random.Random(7)
    rows = texts(90)
    for turn in range(4):
        path = tmp_path / (f"{turn}.sqlite" if journal == "emptied" else "journal.sqlite")
        before = llm.ledger.uploads
        with Caller(llm, rows, path, part=30) as caller:
            llm.ledger.wait_for(lambda ledger, before=before: ledger.uploads > before, timeout=1.5)
            time.sleep(moments.uniform(0, 0.3))
            caller.process.kill()
    frame = asked(90)
    complete(frame)
    assert right(frame)
    assert llm.ledger.billed == 90
    assert llmframe.last_run().uncertain == 0


def test_two_processes_at_once_pay_once(llm, tmp_path):
    """Overlapping rows are in one batch only; whoever goes first harvests for both."""
    llm.batches = Batches(seconds=1.0)
    journal = tmp_path / "journal.sqlite"
    with Caller(llm, texts(60), journal, part=20) as one, Caller(llm, texts(30, 90), journal, part=20) as two:
        for caller, rows in ((one, texts(60)), (two, texts(30, 90))):
            out, err = caller.process.communicate(timeout=90)
            assert json.loads(out) == [answer(text) for text in rows], err
    assert llm.ledger.billed == 90


def test_interrupting_detaches_and_says_how_to_come_back(llm, tmp_path):
    """Ctrl-C leaves the batches alone, in one line, and the same call goes on."""
    llm.batches = HANGS
    with Caller(llm, texts(10), tmp_path / "journal.sqlite") as caller:
        assert llm.ledger.wait_for(lambda ledger: ledger.batches_created == 1, timeout=60)
        time.sleep(0.3)
        caller.process.send_signal(signal.SIGINT)
        out, err = caller.process.communicate(timeout=30)
    assert "interrupted" in out
    (name,) = [batch.id for batch in api(llm).batches.list()]
    assert (
        f"1 batch goes on; run the cell again to come back, or cancel with llmframe.cancel('{name}')" in err
    )
    assert "24 hours" in err
    assert llm.ledger.batches_cancelled == 0
    llm.advance(DAY)
    frame = asked(10)
    complete(frame)
    assert right(frame)
    assert llm.ledger.billed == 10


def test_cancelling_a_run_cancels_its_batches(llm):
    """What was finished by then is billed, and comes with the next call."""
    llm.batches = Batches(seconds=1_000)
    frame = asked(20)
    run = frame.llm.complete("q", into="a", mode="batch", wait=False)
    assert llm.ledger.wait_for(lambda ledger: ledger.batches_created == 1)
    llm.advance(500)
    run.cancel()
    with pytest.raises(llmframe.StoppedError, match="cancelled"):
        run.result(30)
    assert llm.ledger.wait_for(lambda ledger: ledger.batches_cancelled == 1)
    billed = llm.ledger.billed
    assert 0 < billed < 20
    llm.batches = Batches()
    llm.advance(DAY)
    complete(frame)
    assert right(frame)
    assert llm.ledger.billed == 20


def test_a_fresh_run_does_not_take_older_batches_for_its_own(submitted, tmp_path):
    """`fresh=True` asks again, whatever is under way or in the account."""
    server, frame = submitted
    server.batches = Batches()
    server.advance(DAY)
    complete(frame)
    complete(frame, fresh=True)
    assert server.ledger.billed == 20


# --- what is under way, and the other lane --------------------------------------------------------


def test_batches_are_listed_collected_and_cancelled(submitted):
    """Whichever call they came from."""
    server, frame = submitted
    server.advance(DAY / 2)
    table = llmframe.batches()
    assert table[["state", "requests", "model", "column"]].to_numpy().tolist() == [
        ["in_progress", 10, MODEL, "q → a"]
    ]
    assert table["cost"].isna().all()
    assert str(table["created"].dtype).endswith("UTC]")
    assert len(llmframe.collect()) == 1
    server.advance(DAY)
    table = llmframe.collect()
    assert table[["state", "completed"]].to_numpy().tolist() == [["completed", 10]]
    assert table["cost"][0] > 0
    server.stop()
    complete(frame, mode="offline")
    assert right(frame)


def test_collect_finds_the_accounts_batches_without_a_journal_of_them(submitted, tmp_path):
    """On a new machine."""
    server, frame = submitted
    server.advance(DAY)
    empty_journal(tmp_path)
    assert llmframe.collect()["completed"].tolist() == [10]
    assert complete(frame).from_journal == 10


def test_cancel_takes_a_batchs_id(submitted):
    """It says the state; an unknown id is an error."""
    server, frame = submitted
    (name,) = llmframe.batches()["id"]
    assert llmframe.cancel(name) in {"cancelling", "cancelled"}
    server.advance(DAY)
    assert llmframe.cancel(name) == "cancelled"
    server.batches = Batches()
    complete(frame)
    assert right(frame)
    with pytest.raises(ValueError, match="no batch 'batch_x'"):
        llmframe.cancel("batch_x")
    with pytest.raises(TypeError, match=r"^batch must be"):
        llmframe.cancel(None)
    with pytest.raises(TypeError, match="unexpected keyword 'model'"):
        llmframe.batches(model="x")


def test_rows_in_an_open_batch_are_not_asked_live(submitted):
    """The error names the two ways on; when the batch has ended, its answers are taken first."""
    server, _ = submitted
    more = asked(12)
    with pytest.raises(llmframe.StoppedError, match=r"mode='batch'.*llmframe\.cancel\('batch_"):
        complete(more, mode="live")
    assert server.ledger.requests == 0
    others = asked(10, 12)
    complete(others, mode="live")
    assert right(others)
    server.advance(DAY)
    complete(more, mode="live")
    assert right(more)
    assert server.ledger.billed == 12


def test_an_interrupted_live_run_is_finished_by_batch(llm):
    """Only what is missing is submitted."""
    complete(asked(7), mode="live")
    frame = asked(10)
    run = complete(frame)
    assert right(frame)
    assert (run.from_journal, run.sent) == (7, 3)
    assert llm.ledger.billed == 10


def test_a_journal_from_before_the_batch_lane_is_taken_as_it_is(llm, tmp_path):
    """Its answers stay, and batches are known to it from now on."""
    complete(asked(5), mode="live")
    path = tmp_path / "journal.sqlite"
    import sqlite3

    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE part")
        connection.execute("DROP TABLE report")
        connection.execute("ALTER TABLE owner DROP COLUMN sends")
    connection.close()
    frame = asked(8)
    assert complete(frame).sent == 3
    assert right(frame)
    assert len(llmframe.batches()) == 1


def test_progress_says_how_far_the_batches_are(llm, capsys):
    """Requests done of all, parts by state, and the time since submission."""
    llm.batches = Batches(seconds=1_000)
    frame = asked(20)
    run = frame.llm.complete("q", into="a", mode="batch", wait=False)
    assert llm.ledger.wait_for(lambda ledger: ledger.batches_created == 1)
    llm.advance(500)
    errand = run._errand
    deadline = time.monotonic() + 10
    while not errand._standing().done and time.monotonic() < deadline:
        time.sleep(0.01)
    standing = errand._standing()
    assert 0 < standing.done < 20
    assert "1 in_progress" in standing.waiting
    llm.advance(DAY)
    run.result(30)
    assert errand._standing().done == 20


def test_the_lonely_patience_is_bounded():
    """A part that is refused again and again while nothing else is enqueued is taken apart in the end."""
    queue = enqueued_limit.EnqueuedLimit()
    refusal = enqueued_limit.Refusal("token_limit_exceeded", "…", requests=False, limit=None, never=False)
    size = enqueued_limit.PartSize(100, 1_000)
    decisions = [
        queue.refused(refusal, size, refusals=number, lonely=number, lagging=True)
        for number in range(1, enqueued_limit.LONELY_REFUSALS + 1)
    ]
    assert all(isinstance(decision, enqueued_limit.SubmitLater) for decision in decisions[:-1])
    assert decisions[-1] == enqueued_limit.Halve()
    assert queue.fits(enqueued_limit.PartSize(100, 500))
    assert not queue.fits(enqueued_limit.PartSize(100, 501))
