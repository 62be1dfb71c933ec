"""Whatever a server says, to the first rows, some in the middle or the last ones, live and by batch."""

from __future__ import annotations

import math
import warnings

import pytest
from end_to_end.kinds import KINDS, LIMITS, STOPS, WRONG_ADDRESSES
from end_to_end.live_calls import answers, complete
from helpers import about, asked, tune

import llmframe
from llmframe.testing import Fault

ROWS = 30
PLACES = {"first": range(6), "middle": range(14, 16), "last": range(28, 30)}


@pytest.fixture(autouse=True)
def _few_at_a_time(lane):
    """Six at a time or in a batch: what the first rows are told is known before the others are asked."""
    llmframe.options.max_concurrency = 6
    tune(batch_requests=6)


def called(frame, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", llmframe.CompletionWarning)
        return complete(frame, **settings)


@pytest.mark.parametrize(
    "place",
    ["first", pytest.param("middle", marks=pytest.mark.slow), pytest.param("last", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize(
    "name",
    [
        name if not index % 4 else pytest.param(name, marks=pytest.mark.slow)
        for index, name in enumerate(KINDS)
    ],
)
def test_a_kind_of_reply_costs_no_other_row(llm, name, place):
    """The rows that get it have what DESIGN says, all others their answers, each is paid once, and so it stays."""
    kind, rows = KINDS[name], PLACES[place]
    llm.faults = [Fault(kind.reply, when=about(*rows), times_per_request=kind.times)]
    frame = asked(ROWS)
    settings = {"max_retries": 1} if kind.times is None and kind.paid > 1 else {}
    run, error = called(frame, **settings)
    assert not isinstance(error, llmframe.StoppedError), error
    expected = answers(frame)
    for row in rows:
        expected[row] = None if kind.fails else kind.text or expected[row]
    assert frame["a"].astype(object).where(frame["a"].notna(), None).tolist() == expected
    assert run.failures["position"].tolist() == [row for row in rows if kind.fails]
    assert kind.code is None or set(run.failures["code"]) <= {kind.code}
    for message in run.failures["message"]:
        assert kind.words in message
        assert "{'" not in message
    assert run.truncated == len(rows) * kind.truncated
    assert llm.ledger.billed == ROWS + len(rows) * (kind.paid - 1)
    if kind.times is None and kind.paid == 1:
        assert (len(llm.ledger.bodies), run.retries) == (ROWS, 0)
    elif kind.paid == 0:  # a refusal from before the first answer may be asked once more
        assert len(llm.ledger.bodies) <= ROWS + len(rows)
    assert run.cost is None or 0 <= run.cost < math.inf
    billed = llm.ledger.billed
    llm.faults = []
    run, _ = called(frame)
    assert run.failed == len(rows) * (kind.fails and kind.stored)
    assert llm.ledger.billed == billed + len(rows) * (kind.fails and not kind.stored)


@pytest.mark.parametrize("name", STOPS)
def test_what_no_row_can_avoid_ends_the_run(llm, lane, name):
    """Live a few requests are sent, by batch each at most once; nothing is asked again."""
    stops(llm, STOPS[name], rows=300 if lane == "live" else 60)


@pytest.mark.parametrize("lane", ["live"], indirect=True)
@pytest.mark.parametrize("name", WRONG_ADDRESSES)
def test_a_wrong_address_ends_the_run(llm, name):
    stops(llm, WRONG_ADDRESSES[name], rows=300)


def stops(llm, stop, *, rows):
    """Check that the run ends, that its error has the server's words, and that the last line says what to change."""
    reply, words, remedy = stop
    llm.faults = [Fault(reply)]
    tune(batch_requests=50_000)
    run, error = called(asked(rows), temperature=0.5)
    assert isinstance(error, llmframe.StoppedError)
    assert run.status == "stopped"
    assert words in str(error)
    assert remedy in str(error).splitlines()[-1]
    assert run.answered == 0
    assert len(llm.ledger.bodies) <= 80


@pytest.mark.slow
@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_that_will_not_pass_today_ends_the_run(llm, lane, name):
    """After a time without an answer, with the server's words; a line of a batch has no `retry-after`."""
    reply = LIMITS[name]
    if lane == "batch" and reply.headers:
        reply = LIMITS["budget"]
    tune(lasting_limit_seconds=0.5)
    llm.faults = [Fault(reply)]
    run, error = called(asked(20))
    assert isinstance(error, llmframe.StoppedError)
    assert reply.body["error"]["message"] in str(error)
    assert run.limited > 1
