"""Faults of files and batches on the wire, and what ends a run."""

from __future__ import annotations

import pytest
from batch.calls import complete, input_files, right
from helpers import asked, paid_again

import llmframe
from llmframe.testing import Batches, Fault

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
    "a key that is refused for a moment": [Fault(401, path="/v1/batches/", first=2)],
    "deletions": [Fault("500", path="/v1/files/file-", method="DELETE", first=1)],
    "rate limits": [Fault("rate_limit", path="/v1/", first=4)],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_passing_faults_of_files_and_batches_cost_nothing(name, llm):
    """Every row has its answer, and is paid once."""
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
    """The error says that the server has none, and how to go on."""
    llmframe.options.reattach = reattach
    llm.faults = [Fault(404, path="/v1/files"), Fault(404, path="/v1/batches")]
    with pytest.raises(llmframe.StoppedError, match=r"(?s)no batches.*mode='live'"):
        complete(asked(3))


@pytest.mark.parametrize("kind", ["invalid_api_key", "insufficient_quota"])
def test_what_cannot_succeed_stops_the_run(kind, llm):
    """The error says what to do, nothing is billed, and the same call succeeds when the cause is gone."""
    llm.faults = [Fault(kind, path="/v1/batches", method="POST")]
    with pytest.raises(llmframe.StoppedError, match="To go on:"):
        complete(asked(5))
    assert llm.ledger.billed == 0
    llm.faults = []
    frame = asked(5)
    complete(frame)
    assert right(frame)
    assert input_files(llm) == 0


def test_an_unknown_model_stops_the_run(llm):
    """The validation of the first part names it."""
    with pytest.raises(llmframe.StoppedError, match="model") as error:
        complete(asked(5), model="gpt-none")
    assert error.value.code == "model_not_found"
