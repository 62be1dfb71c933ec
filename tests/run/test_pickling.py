"""Errors, the warning and runs that are pickled or copied, as pools of processes and engines do."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import cloudpickle
import matplotlib as mpl
import openai
import pandas as pd
import pytest
from helpers import answer
from loop.calls import PATIENCE, wait_until_silent
from matplotlib.figure import Figure

import llmframe
from llmframe.testing import Fault

SECRET = "sk-proj-0123456789abcdefghij"
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
TOLD = [name for name, value in vars(llmframe.Run).items() if isinstance(value, property) and name[0] != "_"]
ATTRIBUTES = ("position", "label", "code", "message", "attempts")


def pickled(value, protocol):
    return pickle.loads(pickle.dumps(value, protocol))


def cloudpickled(value):
    return pickle.loads(cloudpickle.dumps(value))


WAYS = {f"protocol {number}": partial(pickled, protocol=number) for number in PROTOCOLS}
WAYS |= {"cloudpickle": cloudpickled, "deepcopy": copy.deepcopy}


@pytest.fixture(
    params=[
        way if way in {"protocol 5", "cloudpickle"} else pytest.param(way, marks=pytest.mark.slow)
        for way in WAYS
    ]
)
def way(request):
    """Give a function that returns a copy of a value, made in one of the ways of sending it."""
    return WAYS[request.param]


@pytest.fixture
def bad(llm, lane):
    """Give a server, asked with a known key, that refuses rows with "bad" or "wrong" in them."""
    llmframe.options.api_key = SECRET
    llm.faults = [
        Fault("context_length_exceeded", when=lambda body: "bad" in str(body["messages"])),
        Fault("refusal", when=lambda body: "wrong" in str(body["messages"])),
    ]
    return llm


def failed_call():
    """Return the error of a call in which three of six rows fail."""
    frame = pd.DataFrame({"a": ["x", "wrong", "bad 1", "y", None, "bad 2"]}, index=list("pqrstu"))
    with pytest.raises(llmframe.CompletionError) as caught:
        frame.llm.complete("a")
    return caught.value


class OwnError(llmframe.StoppedError):
    """An error of a user's own: another `__init__`, and an attribute more."""

    def __init__(self, *, table):
        super().__init__(f"{table} was not finished", code="own")
        self.table = table


class OwnWarning(llmframe.CompletionWarning):
    pass


def test_an_error_tells_code_counts_and_failures(bad):
    """The most frequent code comes first, whatever the order of the rows."""
    error = failed_call()
    assert error.code == "context_length_exceeded"
    assert list(error.counts.items()) == [("context_length_exceeded", 2), ("refusal", 1)]
    pd.testing.assert_frame_equal(error.failures, error.run.failures)
    assert error.failures["label"].tolist() == ["q", "r", "u"]


def test_a_sent_error_tells_the_same_without_run_and_result(bad, way):
    error = failed_call()
    error.add_note("in task 7")
    sent = way(error)
    assert type(sent) is llmframe.CompletionError
    assert (str(sent), repr(sent), sent.args) == (str(error), repr(error), error.args)
    assert (sent.run, sent.result, sent.__notes__) == (None, None, ["in task 7"])
    assert (sent.code, sent.counts) == (error.code, error.counts)
    pd.testing.assert_frame_equal(sent.failures, error.failures)
    pd.testing.assert_frame_equal(way(sent).failures, error.failures)
    assert error.run is llmframe.last_run(), "the sent error is a copy"
    assert error.result is not None


def test_a_shallow_copy_of_an_error_keeps_run_and_result(bad):
    """It stays in the process, so nothing has to be left behind."""
    error = failed_call()
    copied = copy.copy(error)
    assert (copied.run, copied.result, copied.args) == (error.run, error.result, error.args)


def test_an_error_of_a_stopped_run_keeps_its_code_beside_the_rows_codes(llm, way):
    llm.faults = [Fault("refusal", when=lambda body: "wrong" in str(body["messages"]))]
    with pytest.raises(llmframe.CompletionError):
        llmframe.complete(["wrong"])
    llm.faults = [Fault("insufficient_quota")]
    with pytest.raises(llmframe.StoppedError) as caught:
        llmframe.complete(["wrong", "x"])
    sent = way(caught.value)
    assert (type(sent), sent.code) == (llmframe.StoppedError, "insufficient_quota")
    assert next(iter(sent.counts)) == "refusal"
    assert str(sent) == str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        llmframe.LLMFrameError("m", 2),
        llmframe.CompletionError("m"),
        llmframe.StoppedError("m", code="c"),
        llmframe.JournalError("m"),
        llmframe.CompletionWarning("m"),
        OwnError(table="t"),
        OwnWarning("m", 2),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_without_a_run_and_users_own_keep_their_attributes(error, way):
    error.row = {"id": 7}
    sent = way(error)
    assert (type(sent), sent.args) == (type(error), error.args)
    assert (str(sent), repr(sent)) == (str(error), repr(error))
    assert sent.row == {"id": 7}
    for name in {"code", "table"} & vars(error).keys():
        assert getattr(sent, name) == getattr(error, name)
    if isinstance(error, llmframe.CompletionError):
        assert (sent.counts, list(sent.failures), len(sent.failures)) == ({}, list(ATTRIBUTES), 0)


def test_errors_travel_in_a_group(bad, way):
    group = way(ExceptionGroup("two tables", [failed_call(), OwnError(table="t")]))
    assert [error.code for error in group.exceptions] == ["context_length_exceeded", "own"]


def test_a_cause_stays_behind_with_the_key_that_it_holds(way):
    """An error of the SDK's holds the request, with its headers, and cannot be pickled at all."""
    client = openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key=SECRET, max_retries=0)
    error = llmframe.JournalError("no")
    with client, pytest.raises(openai.APIConnectionError) as caught:
        client.models.list()
    assert SECRET in str(dict(caught.value.request.headers))
    error.__cause__ = caught.value
    sent = way(error)
    assert (str(sent), sent.__cause__) == ("no", None)
    assert SECRET.encode() not in pickle.dumps(error)


def test_no_key_is_in_a_pickle(bad):
    for value in (failed_call(), llmframe.last_run(), llmframe.options):
        for protocol in PROTOCOLS:
            assert SECRET.encode() not in pickle.dumps(value, protocol)
        assert SECRET.encode() not in cloudpickle.dumps(value)


def test_an_error_of_very_many_rows_stays_small():
    """It lists the first 10,000 failed rows and counts all; a pickle holds no more than that."""
    with pytest.raises(llmframe.CompletionError) as caught:
        llmframe.complete((f"{number}" for number in range(30_000)), mode="offline", model="m", journal=False)
    raw = pickle.dumps(caught.value)
    for error in (caught.value, pickle.loads(raw)):
        assert (error.code, error.counts) == ("not_in_journal", {"not_in_journal": 30_000})
        assert error.failures["position"].tolist() == list(range(10_000))
    assert len(caught.value.run.failures) == 30_000
    assert len(raw) < 1_500_000


def test_a_sent_run_is_a_finished_one_that_tells_the_same(bad, way):
    """Every public attribute is kept, tokens, cost, latencies and values too."""
    run = failed_call().run
    sent = way(run)
    assert isinstance(sent, llmframe.Run)
    assert len(TOLD) > 15
    for copied in (sent, way(sent)):
        for name in TOLD:
            told, expected = getattr(copied, name), getattr(run, name)
            assert told.equals(expected) if isinstance(told, pd.DataFrame) else told == expected, name
        assert copied.done()
    assert "3 failed" in repr(sent)
    assert repr(sent) == repr(run).replace("<Run done", "<Run done, detached")
    assert sent._repr_html_() == run._repr_html_()
    mpl.use("Agg")
    assert isinstance(sent.plot(), Figure)


def test_a_sent_run_has_no_result_and_says_where_the_answers_are(bad):
    """Cancelling it does nothing, as with every run that has ended."""
    sent = pickle.loads(pickle.dumps(failed_call().run))
    with pytest.raises(RuntimeError, match=r"answers are in run\.values"):
        sent.result(timeout=0)
    sent.cancel()
    assert sent.status == "done"
    assert copy.copy(llmframe.last_run()).tokens == sent.tokens


def test_a_stopped_run_is_sent_as_stopped(llm):
    llm.faults = [Fault("insufficient_quota")]
    with pytest.raises(llmframe.StoppedError) as caught:
        llmframe.complete(["x"])
    assert pickle.loads(pickle.dumps(caught.value.run)).status == caught.value.run.status == "stopped"


def test_a_run_that_still_works_is_sent_with_what_it_has(llm, way):
    """The copy has ended: nobody waits for it without end. The run itself goes on."""
    llm.faults = [Fault("hang", when=lambda body: "slow" in str(body["messages"]))]
    run = llmframe.complete(["x", "slow"], wait=False)
    wait_until_silent(llm, 1, 1)
    sent = way(run)
    assert (sent.done(), sent.status, sent.answered, sent.waiting) == (True, "interrupted", 1, None)
    assert sent.values == [answer("x"), None]  # noqa: PD011 (a Run's)
    assert "1 not done" in repr(sent)
    with pytest.raises(RuntimeError, match="copy of a run"):
        sent.result()
    with pytest.raises(RuntimeError, match="cancel that run"):
        sent.cancel()
    assert (run.done(), run.status) == (False, "running")
    run.cancel()
    with pytest.raises(llmframe.StoppedError, match="cancelled"):
        run.result(PATIENCE)
