"""Limits that the server states in its headers, against simulated servers."""

from __future__ import annotations

import itertools

import pytest
from pacing.simulation import (
    BUCKETS,
    LATENCIES,
    WINDOWS,
    Allowance,
    BySecond,
    Server,
    SimulatedRun,
    spread,
    tokens_estimated,
)

from llmframe._pacing import Pace, RateHeaders
from llmframe._pacing.stated_limit import StatedLimit

LARGEST_WINDOW = 1_000
STATED = [
    (rate, *kind, latency)
    for rate, kind, latency in itertools.product([5, 20, 200, 1_000], BUCKETS + WINDOWS, LATENCIES)
    if rate * latency[0] <= LARGEST_WINDOW  # otherwise the window is what limits the run
]


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "seconds", "fixed", "latency"), STATED)
def test_stated_request_limits_are_used_and_kept(rate, seconds, fixed, latency):
    """97 % of a limit in requests is used, and under 1 % of the answers are 429."""
    rows = max(2_000, rate * 10)
    allowance = Allowance(rate, seconds, fixed)
    run = SimulatedRun(
        Server(allowance, None, *latency, scaled=rate == 20 and seconds <= 1, retry="int"), rows
    ).run()
    assert run.answered == rows
    late = latency == LATENCIES[3] or seconds < 1 < latency[0]  # the start has sent many requests in vain
    assert run.share >= (0.7 if late else 0.97)
    assert run.refused < (0.06 if late else 0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bucket", "latency", "factor", "noise"),
    spread(
        [(20, 60), (20, 1), (200, 1), (200, 0.1)],
        [(0.05, 0.5, None), (2.0, 0.5, 0.05)],
        [1 / 3, 1, 3],
        [0.0, 0.3],
    ),
)
def test_stated_token_limits_are_used_and_kept(bucket, latency, factor, noise):
    """The same holds for a limit in tokens when estimates are off by a factor of 3 either way."""
    rate, seconds = bucket
    allowance = Allowance(rate * 250 * factor, seconds)
    server = Server(None, allowance, *latency, retry="int")
    run = SimulatedRun(server, max(2_000, rate * 30), estimate=tokens_estimated(factor, noise)).run()
    blind = seconds < 1 < latency[0]  # costs are known 20 times later than the bucket lasts
    assert run.share >= (0.93 if blind else 0.97)
    assert run.refused < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "bucket", "tighter", "factor"),
    spread(
        [2_000, 10_000],
        [(60, False), (1, False), (0.1, False), (10, True)],
        ["requests", "tokens", "both"],
        [1 / 3, 1, 3],
    ),
)
def test_high_limits_are_used_and_kept(rate, bucket, tighter, factor):
    """Where many requests are charged at once, both limits are still kept and the tighter one is used."""
    seconds, fixed = bucket
    mean = 250 * factor
    requests = Allowance(rate * (2 if tighter == "tokens" else 1), seconds, fixed)
    tokens = Allowance(rate * mean * (2 if tighter == "requests" else 1), seconds, fixed)
    server = Server(requests, tokens, 0.01, 0.5, retry="int")
    run = SimulatedRun(
        server, rate * 10, estimate=tokens_estimated(factor, 0.3), same_limits_seconds=0.005
    ).run()
    assert run.share >= 0.97
    assert run.refused < 0.01


@pytest.mark.parametrize("latency", [0.02, 0.1])
def test_what_left_before_the_limit_was_known_is_counted(latency):
    """A local server with a small bucket, which counts refused requests: the start does not slow what follows it."""
    for seed in range(3):
        server = Server(Allowance(100, 0.1), None, latency, 0.3, retry="int", count_refused=True)
        run = SimulatedRun(server, 1_800, Pace(local=True).join(), seed=seed).run()
        assert run.share_since(run.first_arrival) >= 0.97
        assert run.refused < 0.01


def test_a_bucket_of_one_request_is_used_evenly():
    """Ten a minute, one at a time: what remains is never more than one, and is not waited for until it is."""
    run = SimulatedRun(Server(Allowance(10 / 60, 1), None, 2.0, 0.5, 0.05, retry="int"), 100).run()
    assert run.share >= 0.9
    assert run.refusals <= 10


def test_what_remains_is_used_at_once():
    """3,000 rows fit into a minute's bucket of 10,000: they take hardly longer than without a limit."""
    free = SimulatedRun(Server(None, None, 1.0, 0.2, 0.05, headers=False), 3_000).run()
    run = SimulatedRun(Server(Allowance(10_000 / 60, 60), None, 1.0, 0.2, 0.05), 3_000).run()
    assert run.refusals == 0
    assert run.ended <= 1.2 * free.ended


def test_a_limit_that_is_enforced_by_the_second_is_recognised():
    """Two 429s that say that something remains: from then on, for a day, the pace is even, and in the next process too."""
    learnt = None
    for refused in (0.06, 0.02):
        server = Server(BySecond(10_000 / 60, 60), None, 1.0, 0.2, 0.05, retry="int")
        run = SimulatedRun(server, 5_000, Pace(learnt=learnt).join()).run()
        assert run.refused < refused
        assert run.answered / (run.ended - run.first_arrival) >= 0.92 * 10_000 / 60
        learnt = run.pace.account.learnt(run.ended)
        assert 86_000 < learnt.by_second_seconds <= 86_400


@pytest.mark.parametrize("charge", ["characters", "with the bound on output", "used"])
def test_tokens_are_charged_as_the_server_charges_them(charge):
    """95 % of a limit in tokens is used, whether the server counts the input, the bound too, or what was used."""

    def draw(rng):
        characters, output = rng.randint(50, 400), rng.randint(20, 500)
        charged = {"characters": characters, "used": characters + output}.get(charge, characters + 500)
        return characters + 500, charged, characters + output

    rate = 20 * {"characters": 225, "used": 485}.get(charge, 725)
    run = SimulatedRun(
        Server(None, Allowance(rate, 60), 2.0, 0.3, 0.1, retry="int"), 4_000, estimate=draw
    ).run()
    assert run.used / (rate * (run.ended - run.first_arrival + 60)) >= 0.95
    assert run.refused < 0.02


@pytest.mark.parametrize("headers", [True, False])
def test_the_users_own_ceiling_is_never_exceeded(headers):
    """It counts beside what the server states, for all runs together, and is used to 97 %."""
    pace = Pace()
    server = Server(Allowance(100, 60), None, 1.0, 0.2, headers=headers)
    run = SimulatedRun(server, 2_000, pace.join(requests_per_minute=1_200)).run()
    later = [at for at in run.sent_at if at > 1]
    minute = max(sum(start <= at < start + 60 for at in run.sent_at) for start in later[::50])
    assert 0.97 * 1_200 <= minute <= 1_200


def test_the_tighter_of_two_limits_decides():
    """Of limits in requests and in tokens the tighter one is used to 97 %."""
    for requests, tokens in ((100, 60_000), (400, 25_000)):
        server = Server(Allowance(requests, 1), Allowance(tokens, 1))
        run = SimulatedRun(server, 3_000, estimate=tokens_estimated(1, 0.3)).run()
        assert run.share >= 0.97
        assert run.refused < 0.01


def test_a_limit_per_day_is_used_up_and_then_refilled():
    """With a reset far over a minute, what remains is used at once, and then what flows back."""
    day = 86_400
    allowance = Allowance(1_440 / day, day)
    allowance.level = 100.0
    pace, now, sent = Pace().join(), 0.0, 0
    while now < 7_200:
        if wait := pace.admit(now, 1):
            now += wait
            continue
        ticket, sent = pace.send(now, 1), sent + 1
        allowance.refill(now)
        allowance.level -= 1
        assert allowance.level >= -0.01
        headers = RateHeaders(1_440, None, int(allowance.level), None, (1_440 - allowance.level) * 60, None)
        pace.on_answer(now, ticket, headers, 1)
    assert 210 <= sent <= 221


def test_an_exhausted_window_is_waited_for():
    """When nothing remains of a window that resets in 20 s, nothing leaves before that."""
    pace = Pace().join()
    pace.on_answer(1.0, pace.send(0.0, 1), RateHeaders(600, None, 0, None, 20.0, None), 1)
    assert pace.admit(1.0, 1) == 1.0
    assert pace.waiting_for_limit(1.0)
    assert pace.admit(20.9, 1) > 0
    assert pace.admit(21.1, 1) == 0
    pace.send(21.1, 1)
    assert pace.waited_seconds == pytest.approx(20.1)
    assert not pace.waiting_for_limit(30.0)


def test_a_window_of_which_no_answer_tells_is_asked_after_a_minute():
    """All of a fixed window was used, and every request for it failed without headers: a run must not wait for ever."""
    limit = StatedLimit(600, 0.0, 1.0, charged=1.0)
    for number, (at, reset) in enumerate([(0.0, 10.0), (5.0, 5.0)], 1):
        limit.charge(at, 1)
        limit.read(at + 0.1, at, (600, 600 - number, reset), total=number, sent=number)
    now = 11.0
    assert limit.wait(now, 1) <= 0  # the next window has begun
    for _ in range(600):
        limit.charge(now, 1)
    assert 0 < limit.wait(now, 1) <= 60
    assert limit.wait(now + 61, 1) <= 0


def test_an_exhausted_limit_of_a_day_is_asked_after_a_minute():
    """Fifty requests a day refill one in 28 minutes: whether they do, only a request tells."""
    pace = Pace().join()
    pace.on_answer(1.0, pace.send(0.0, 1), RateHeaders(50, None, 0, None, 86_400.0, None), 1)
    assert pace.admit(60.0, 1) > 0
    assert pace.admit(62.0, 1) == 0


def test_what_one_answer_says_it_cost_does_not_hold_up_the_run():
    """At most a minute's allowance is charged for it, and the estimate of other requests stays as it was."""
    pace = Pace().join()
    headers = RateHeaders(limit_tokens=600_000)
    for number in range(100):
        pace.on_answer(number / 10, pace.send(number / 10, 100), headers, 100)
    pace.on_answer(11.0, pace.send(10.9, 100), headers, 10**9)
    now = 72.0
    assert pace.admit(now, 100) == 0
    for _ in range(100):
        pace.on_answer(now, pace.send(now, 100), headers, 100)
        now += 0.02
        while pace.admit(now, 100):
            now += 0.01
    assert now < 80
