"""Batches of servers that write them otherwise than OpenAI: nothing is lost, and nothing is paid twice."""

from __future__ import annotations

import json
import time

import pytest
from batch.calls import DAY, complete, interrupt, rewritten, right, start, until_created, use_empty_journal
from helpers import about, asked, tune

import llmframe
from llmframe.testing import Batches, Fault

IDS = ("input_file_id", "output_file_id", "error_file_id")
TIMES = ("created_at", "in_progress_at", "completed_at", "expires_at", "finalizing_at")


def _changed(change):
    """Change the members of a batch that it has by a function of name and value."""
    return lambda batch, _: {name: change(name, value) for name, value in batch.items()}


def _late(looks_needed, counts=None):
    """Name the result files only at this look at the ended batch."""

    def write(batch, looks):
        known = batch if looks >= looks_needed else batch | dict.fromkeys(IDS[1:])
        return known if counts is None else known | {"request_counts": counts[0]}

    return write


FORMS = {
    "empty ids": _changed(lambda name, value: "" if name in IDS and value is None else value),
    "no input file": _changed(lambda name, value: "" if name == "input_file_id" else value),
    "no model": _changed(lambda name, value: "" if name == "model" else value),
    "upper case": _changed(lambda name, value: value.upper() if name == "status" else value),
    "succeeded": _changed(lambda _, value: "succeeded" if value == "completed" else value),
    "a word of its own": _changed(lambda _, value: "fulfilled" if value == "completed" else value),
    "milliseconds": _changed(lambda name, value: value and value * 1_000 if name in TIMES else value),
    "dates": _changed(
        lambda name, value: (
            value and time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(value)) if name in TIMES else value
        )
    ),
    "text": _changed(lambda name, value: value and str(value) if name in TIMES else value),
    "metadata as text": _changed(lambda name, value: json.dumps(value) if name == "metadata" else value),
    "no metadata": _changed(lambda name, value: None if name == "metadata" else value),
    "no counts": _changed(lambda name, value: None if name == "request_counts" else value),
    "counts as text": _changed(
        lambda name, value: (
            {key: str(each) for key, each in value.items()} if name == "request_counts" else value
        )
    ),
    "another endpoint's spelling": _changed(
        lambda name, value: "/chat/completions" if name == "endpoint" else value
    ),
    "only what is needed": lambda batch, _: {
        name: batch[name] for name in ("id", "status", "output_file_id", "error_file_id", "metadata")
    },
    "files at the third look": _late(3),
    "files at the third look, and no counts": _late(3, counts=[None]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "way",
    [
        "at once",
        *(
            pytest.param(way, marks=pytest.mark.slow)
            for way in ("after an interrupt", "on a new machine", "by collect")
        ),
    ],
)
def test_a_batch_in_any_form_is_collected_once(form, way, llm, tmp_path):
    """One row fails by a fault of its own; the part is closed, and the file deleted."""
    llm.batches = Batches(seconds=0 if way == "at once" else DAY, write_batch=FORMS[form])
    llm.faults = [Fault("context_length_exceeded", when=about(3))]
    frame = asked(6)
    if way != "at once":
        interrupt(start(frame))
        llm.advance(2 * DAY)
    llm.batches = Batches(write_batch=FORMS[form])
    if way == "on a new machine":
        use_empty_journal(tmp_path)
    if way == "by collect":
        use_empty_journal(tmp_path)
        assert len(llmframe.collect()) == 1
    with pytest.raises(llmframe.CompletionError, match="1 × context_length_exceeded"):  # noqa: RUF001
        complete(frame)
    assert right(frame.drop(3))
    assert llm.ledger.billed == 5
    assert set(llmframe.collect()["state"]) == {"completed"}


@pytest.mark.parametrize(
    "form", ["empty ids", "no input file", "metadata as text", "no metadata", "upper case", "no counts"]
)
def test_an_open_batch_is_found_on_a_new_machine_in_any_form(form, submitted, tmp_path):
    """Its rows are read from its input file, also where the batch does not name it."""
    server, _ = submitted
    server.batches = Batches(seconds=DAY, write_batch=FORMS[form])
    use_empty_journal(tmp_path)
    frame = asked(12)
    run = start(frame)
    until_created(server, 2)
    server.advance(2 * DAY)
    run.result(30)
    assert right(frame)
    assert server.ledger.billed == 12


@pytest.mark.parametrize("counts", [None, [None], [{"total": 4, "completed": 4, "failed": 0}]])
def test_answers_whose_file_never_comes_are_not_paid_again(counts, llm):
    """The run stops; when the server names the file, the same call has them."""
    llm.batches = Batches(write_batch=_late(10**6, counts))
    frame = asked(4)
    with pytest.raises(llmframe.StoppedError) as error:
        complete(frame)
    assert error.value.code == "batches_unreadable"
    llm.batches = Batches()
    complete(frame)
    assert right(frame)
    assert (llm.ledger.billed, llm.ledger.batches_created) == (4, 1)


def test_counts_that_contradict_the_files_lose_no_reason(llm):
    """The server counts failed rows as completed; the error file has a reason for each."""
    llm.batches = Batches(write_batch=_late(0, [{"total": 4, "completed": 4, "failed": 4}]))
    llm.faults = [Fault("context_length_exceeded")]
    with pytest.raises(llmframe.CompletionError, match="4 × context_length_exceeded"):  # noqa: RUF001
        complete(asked(4))
    assert llm.ledger.batches_created == 1


def test_an_interrupt_ends_the_wait_for_a_file(llm, monkeypatch):
    """The part stays open, and the same call goes on."""
    tune(first_poll_seconds=0.05, longest_poll_seconds=60.0)
    monkeypatch.setattr("llmframe._batch.collection._POLL_GROWTH", 1_000.0)
    seen = []
    llm.batches = Batches(write_batch=lambda batch, looks: seen.append(looks) or _late(10**6)(batch, looks))
    frame = asked(3)
    run = start(frame)
    deadline = time.monotonic() + 30
    while 2 not in seen:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    run._task.cancel()
    with pytest.raises(llmframe.StoppedError):
        run.result(20)
    llm.batches = Batches()
    complete(frame)
    assert right(frame)
    assert (llm.ledger.billed, llm.ledger.batches_created) == (3, 1)


@pytest.mark.parametrize("counts", [None, [None]])
def test_an_error_file_alone_is_not_waited_for(counts, llm):
    """All rows have failed, so there is no output file."""
    llm.batches = Batches(write_batch=_late(0, counts))
    llm.faults = [Fault("context_length_exceeded")]
    with pytest.raises(llmframe.CompletionError, match="4 × context_length_exceeded"):  # noqa: RUF001
        complete(asked(4))
    assert llm.ledger.downloads == 1


def test_collect_leaves_out_only_the_batch_that_cannot_be_read(llm):
    """The answers of the others are in the journal, although the error is raised."""
    tune(batch_requests=5)
    llm.batches = Batches(seconds=DAY)
    frame = asked(10)
    run = start(frame)
    until_created(llm, 2)
    interrupt(run)
    first = llmframe.batches()["id"][0]
    llm.batches = Batches(
        write_batch=lambda batch, _: batch | ({"output_file_id": ""} if batch["id"] == first else {})
    )
    llm.advance(2 * DAY)
    with pytest.raises(llmframe.StoppedError, match=first):
        llmframe.collect()
    assert llmframe.batches()["completed"].tolist() == [5, 5]
    assert complete(frame.tail(5).copy()).from_journal == 5


@pytest.mark.parametrize("form", ["metadata as text", "no metadata"])
def test_a_creation_whose_answer_is_lost_is_found_without_metadata(form, llm):
    """The batch exists: its input file tells that it is the one."""
    llm.batches = Batches(write_batch=FORMS[form])
    llm.faults = [Fault("reset", path="/v1/batches", method="POST", first=1)]
    frame = asked(4)
    complete(frame)
    assert right(frame)
    assert (llm.ledger.batches_created, llm.ledger.billed) == (1, 4)


def test_unknown_batches_without_metadata_and_files_are_asked_about(llm, tmp_path):
    """They may hold these rows."""
    llm.batches = Batches(seconds=DAY, write_batch=FORMS["no metadata"])
    frame = asked(4)
    interrupt(start(frame))
    use_empty_journal(tmp_path)
    llm.faults = [Fault(404, path="/v1/files", method="GET")]
    with pytest.raises(llmframe.StoppedError, match=r"(?s)cannot be read.*reattach"):
        complete(frame)
    assert llm.ledger.batches_created == 1


UNEXPLAINED = [None, {}, [], {"data": []}, {"object": "list", "data": None}, ""]


@pytest.mark.parametrize("errors", UNEXPLAINED)
def test_a_batch_that_failed_without_a_reason_says_so(errors, llm):
    """Its rows are submitted again, and fail in the end."""
    llm.batches = Batches(
        write_batch=lambda batch, looks: batch | {"status": "failed", "output_file_id": None, "errors": errors,
                                                  "request_counts": None} if looks else batch
    )  # fmt: skip
    with pytest.raises(llmframe.CompletionError, match="does not say why"):
        complete(asked(3), max_retries=1)
    assert llm.ledger.batches_created == 2
    assert set(llmframe.last_run().failures["code"]) == {"batch_failed"}


def test_what_a_failed_batch_answered_is_kept(llm):
    """Its output file is read, and only the other rows are submitted again."""
    first = []

    def fail(batch, looks):
        first[:] = first or [batch["id"]]
        return (
            batch | {"status": "failed", "request_counts": None} if looks and batch["id"] in first else batch
        )

    halved = rewritten(lambda lines: lines[:4]).write_file
    llm.batches = Batches(write_batch=fail, write_file=halved)
    frame = asked(6)
    complete(frame)
    assert right(frame)
    assert (llm.ledger.batches_created, llm.ledger.billed) == (2, 6 + 2)


@pytest.mark.parametrize(("kind", "tried"), [("500", 6), ("hang", 1)])
def test_tidying_keeps_nobody_waiting(kind, tried, llm, monkeypatch):
    """Each input file is deleted by one request, and none after a deletion that hangs."""
    monkeypatch.setattr("llmframe._api.batch_api._DELETE_SECONDS", 0.5)
    tune(batch_requests=2)
    deletions = []
    llm.faults = [
        Fault(kind, path="/v1/files/file-", method="DELETE", when=lambda _: not deletions.append(kind))
    ]
    frame = asked(12)
    complete(frame)
    assert right(frame)
    assert len(deletions) == tried
    assert llm.ledger.files_deleted == 0
