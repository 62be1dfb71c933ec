"""What an earlier process has learnt of the limits starts the next one, against simulated servers."""

from __future__ import annotations

import copy

import pytest
from pacing.simulation import Allowance, BySecond, Server, SimulatedRun

from llmframe._pacing import Pace, RateHeaders
from llmframe._values import LearntLimit, LearntPace

QUICK_TO_REFUSE = (2.0, 0.5, 0.05)
FORMS = {
    "a minute's bucket": (Allowance, 60, False),
    "a second's bucket": (Allowance, 1, False),
    "a small bucket": (Allowance, 0.1, False),
    "windows of a minute": (Allowance, 60, True),
    "by the second": (BySecond, 60, False),
}


def allowance(form, rate):
    kind, seconds, fixed = FORMS[form]
    return kind(rate, seconds, fixed)


def next_runs(server, rows):
    """Run one process, then another that knows what it learnt, and another instead that knows the window alone."""
    first = SimulatedRun(server, rows).run()
    now = first.ended + 5
    learnt = first.pace.account.learnt(now)
    window_alone = LearntPace(learnt.window, learnt.by_second_seconds)
    runs = (
        SimulatedRun(copy.deepcopy(server), rows, Pace(learnt=known, now=now).join(), began=now).run()
        for known in (learnt, window_alone)
    )
    return [(run.refusals, run.ended - now) for run in runs]


@pytest.mark.parametrize("latency", [(0.05, 0.5, None), QUICK_TO_REFUSE])
@pytest.mark.parametrize("rate", [10 / 60, 5, 20])
@pytest.mark.parametrize("form", FORMS)
def test_a_stated_limit_holds_from_the_first_request_on(form, rate, latency):
    """Hardly a request of the next process is refused, where dozens were; and it takes hardly more time."""
    learnt, window_alone = next_runs(Server(allowance(form, rate), None, *latency, retry="int"), 400)
    assert learnt[0] <= 1
    assert learnt[1] <= 1.02 * window_alone[1] + 0.5


def test_what_remained_is_known_to_the_next_process():
    """A bucket that was used up is not taken for a full one, and one that has filled again since is used at once."""
    learnt = (
        SimulatedRun(Server(Allowance(5, 60), None, *QUICK_TO_REFUSE), 300).run().pace.account.learnt(2.0)
    )
    assert learnt.requests.limit == 300
    for full_in_seconds, at_once in ((60.0, 0), (30.0, 149), (0.0, 299)):
        pace = Pace(learnt=learnt._replace(requests=LearntLimit(300, 60.0, full_in_seconds))).join()
        now, sent = 0.0, 0
        while now < 1.5:
            if wait := pace.admit(now, 1):
                now += wait
            else:
                pace.send(now, 1)
                sent += 1
        assert at_once <= sent <= at_once + 8


def test_a_limit_in_tokens_holds_from_the_first_request_on():
    learnt, window_alone = next_runs(Server(None, Allowance(500, 60), *QUICK_TO_REFUSE, retry="int"), 400)
    assert learnt[0] <= 4 < window_alone[0]
    assert learnt[1] <= 1.05 * window_alone[1]


@pytest.mark.parametrize("per_minute", [60, 60_000])
def test_the_first_answer_corrects_the_limit(per_minute):
    """A limit that was lowered, or raised, since then is kept and used from the first answer on."""
    pace = Pace(learnt=LearntPace(300, requests=LearntLimit(600, 60.0))).join()
    ticket = pace.send(0.0, 1)
    pace.on_answer(0.1, ticket, RateHeaders(per_minute, None, per_minute - 1, None, 60 / per_minute, None), 1)
    now, sent = 0.1, 0
    while now < 60:
        if wait := pace.admit(now, 1):
            now += wait
            continue
        sent, ticket = sent + 1, pace.send(now, 1)
        pace.on_answer(now, ticket, RateHeaders(per_minute, None, None, None, None, None), 1)
        if sent > 1_000:
            break
    assert (sent > 1_000 and now < 10) if per_minute > 600 else 60 <= sent <= 120


def test_a_limit_that_is_stated_no_more_is_forgotten():
    """The first answer without it tells."""
    pace = Pace(learnt=LearntPace(300, requests=LearntLimit(60, 60.0, 60.0))).join()
    assert pace.admit(0.0, 1) > 0
    pace.on_answer(0.1, pace.send(0.0, 1), None, 1)
    assert pace.admit(0.1, 1) == 0
    assert pace.account.learnt(0.1).requests is None


@pytest.mark.parametrize("latency", [(0.05, 0.5, None), QUICK_TO_REFUSE])
@pytest.mark.parametrize("rate", [5, 20])
@pytest.mark.parametrize("form", ["a second's bucket", "a small bucket"])
def test_a_rate_that_refusals_taught_starts_the_next_process(form, rate, latency):
    """Half of the refusals at most, in hardly more time."""
    server = Server(allowance(form, rate), None, *latency, headers=False, retry="int")
    learnt, window_alone = next_runs(server, 300)
    assert learnt[0] <= window_alone[0] / 2
    assert learnt[1] <= 1.05 * window_alone[1]


def test_what_was_accepted_at_once_is_sent_at_once_again():
    """A server without headers that keeps a minute's allowance: a short call later does not wait for the rate."""
    server = Server(Allowance(20, 60), None, *QUICK_TO_REFUSE, headers=False, retry="int")
    first = SimulatedRun(server, 3_000).run()
    now = first.ended + 300
    pace = Pace(learnt=first.pace.account.learnt(first.ended), now=now)
    later = SimulatedRun(server, 300, pace.join(), began=now).run()
    assert later.refusals == 0
    assert later.ended - now < 1.5


@pytest.mark.parametrize("rate", [5, 20, 100])
def test_a_learnt_rate_hardly_slows_a_server_without_a_limit_any_more(rate):
    """Full speed is reached within a few seconds, as the rate grows e-fold in each."""
    latency = (1.0, 0.2, 0.05)
    limited = SimulatedRun(Server(Allowance(rate, 1), None, *latency, headers=False, retry="int"), 100 * rate)
    learnt = limited.run().pace.account.learnt(limited.ended)
    assert learnt.unstated.limit / 60 == pytest.approx(rate, rel=0.35)
    ended = []
    for known in (learnt, LearntPace(learnt.window)):
        free = Server(None, None, *latency, headers=False)
        ended.append(SimulatedRun(free, 3_000, Pace(learnt=known).join()).run().ended)
    assert ended[0] <= ended[1] + 4


def test_what_is_hardly_different_is_not_kept_again():
    """One request under a high limit, or a rate that went up and down; but a limit that is used up is told."""
    kept = LearntPace(300, 0.0, LearntLimit(10_000, 60.0), None, LearntLimit(600, 1.0))
    assert kept._replace(requests=LearntLimit(10_000, 59.8, 0.006)).is_like(kept)
    assert kept._replace(unstated=LearntLimit(660, 0.9)).is_like(kept)
    for other in (
        kept._replace(window=500),
        kept._replace(by_second_seconds=60.0),
        kept._replace(requests=None),
        kept._replace(tokens=LearntLimit(10_000)),
        kept._replace(requests=LearntLimit(500, 60.0)),
        kept._replace(requests=LearntLimit(10_000, 60.0, 30.0)),
        kept._replace(unstated=LearntLimit(6_000, 1.0)),
    ):
        assert not other.is_like(kept)
