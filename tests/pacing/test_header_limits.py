"""Limits that the server states in its headers, against simulated servers."""

from __future__ import annotations

import itertools

import pytest
from pacing.simulation import BUCKETS, LATENCIES, WINDOWS, Allowance, Server, SimulatedRun, tokens_estimated

from llmframe._pacing import Pace, RateHeaders

LARGEST_WINDOW = 1_000
STATED = [
    (rate, *kind, latency)
    for rate, kind, latency in itertools.product([5, 20, 200, 1_000], BUCKETS + WINDOWS, LATENCIES)
    if rate * latency[0] <= LARGEST_WINDOW  # otherwise the window is what limits the run
]


@pytest.mark.parametrize(("rate", "seconds", "fixed", "latency"), STATED)
def test_stated_request_limits_are_used_and_kept(rate, seconds, fixed, latency):
    """97 % of a limit in requests is used, and under 1 % of the answers are 429."""
    rows = max(2_000, rate * 10)
    allowance = Allowance(rate, seconds, fixed)
    run = SimulatedRun(Server(allowance, None, *latency, scaled=rate == 20, retry="int"), rows).run()
    assert run.answered == rows
    assert run.share >= 0.97
    assert run.refused < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("factor", [1 / 3, 1, 3])
@pytest.mark.parametrize("latency", [(0.05, 0.5, None), (2.0, 0.5, 0.05)])
@pytest.mark.parametrize(("rate", "seconds"), [(20, 60), (20, 1), (200, 1), (200, 0.1)])
def test_stated_token_limits_are_used_and_kept(rate, seconds, latency, factor, noise):
    """The same holds for a limit in tokens when estimates are off by a factor of 3 either way."""
    allowance = Allowance(rate * 250 * factor, seconds)
    server = Server(None, allowance, *latency, retry="int")
    run = SimulatedRun(server, max(2_000, rate * 30), estimate=tokens_estimated(factor, noise)).run()
    blind = noise and seconds < 1 < latency[0]  # costs are known 20 times later than the bucket lasts
    assert run.share >= (0.96 if blind else 0.97)
    assert run.refused < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1 / 3, 1, 3])
@pytest.mark.parametrize("tighter", ["requests", "tokens", "both"])
@pytest.mark.parametrize(("seconds", "fixed"), [(60, False), (1, False), (0.1, False), (10, True)])
@pytest.mark.parametrize("rate", [2_000, 10_000])
def test_high_limits_are_used_and_kept(rate, seconds, fixed, tighter, factor):
    """Where many requests are charged at once, both limits are still kept and the tighter one is used."""
    mean = 250 * factor
    requests = Allowance(rate * (2 if tighter == "tokens" else 1), seconds, fixed)
    tokens = Allowance(rate * mean * (2 if tighter == "requests" else 1), seconds, fixed)
    server = Server(requests, tokens, 0.01, 0.5, retry="int")
    run = SimulatedRun(
        server, rate * 5, estimate=tokens_estimated(factor, 0.3), same_limits_seconds=0.005
    ).run()
    assert run.share >= 0.97
    assert run.refused < 0.01


def test_the_tighter_of_two_limits_decides():
    """Of limits in requests and in tokens the tighter one is used to 97 %."""
    for requests, tokens in ((100, 60_000), (400, 25_000)):
        server = Server(Allowance(requests, 1), Allowance(tokens, 1))
        run = SimulatedRun(server, 3_000, estimate=tokens_estimated(1, 0.3)).run()
        assert run.share >= 0.97
        assert run.refused < 0.01


def test_a_high_limit_that_becomes_a_low_one_is_followed_at_once():
    """Requests that were charged at once at the high rate do not leave without asking at the low one."""
    pace, high, low = Pace(1_000), RateHeaders(10**7, None, 10**6), RateHeaders(60, None, 1)
    pace.on_answer(0.0, pace.send(0.0, 100), high, 100)
    for _ in range(10):
        ticket = pace.send(0.0, 100)
    pace.on_answer(0.0, ticket, low, 100)
    assert pace.admit(0.01, 100).seconds == 0.0
    pace.send(0.01, 100)
    assert pace.admit(0.01, 100).seconds > 0.5


def test_a_limit_per_day_is_used_up_and_then_refilled():
    """With a reset far over a minute, what remains is used at once, and then what flows back."""
    day = 86_400
    allowance = Allowance(1_440 / day, day)
    allowance.level = 100.0
    pace, now, sent = Pace(), 0.0, 0
    while now < 7_200:
        if wait := pace.admit(now, 1).seconds:
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
    pace = Pace()
    pace.on_answer(1.0, pace.send(0.0, 1), RateHeaders(600, None, 0, None, 20.0, None), 1)
    assert pace.admit(1.0, 1).seconds == 1.0
    assert pace.waiting_for_limit(1.0)
    assert pace.admit(20.9, 1).seconds > 0
    assert pace.admit(21.1, 1).seconds == 0
    pace.send(21.1, 1)
    assert pace.waited_seconds == pytest.approx(20.1)
    assert not pace.waiting_for_limit(30.0)


def test_an_exhausted_limit_of_a_day_is_asked_after_a_minute():
    """Fifty requests a day refill one in 28 minutes: whether they do, only a request tells."""
    pace = Pace()
    pace.on_answer(1.0, pace.send(0.0, 1), RateHeaders(50, None, 0, None, 86_400.0, None), 1)
    assert pace.admit(60.0, 1).seconds > 0
    assert pace.admit(62.0, 1).seconds == 0


def test_what_one_answer_says_it_cost_does_not_hold_up_the_run():
    """At most a minute's allowance is charged for it, and the estimate of other requests stays as it was."""
    pace = Pace()
    headers = RateHeaders(limit_tokens=600_000)
    for number in range(100):
        pace.on_answer(number / 10, pace.send(number / 10, 100), headers, 100)
    pace.on_answer(11.0, pace.send(10.9, 100), headers, 10**9)
    now = 72.0
    assert pace.admit(now, 100).seconds == 0
    for _ in range(100):
        pace.on_answer(now, pace.send(now, 100), headers, 100)
        now += 0.02
        while pace.admit(now, 100).seconds:
            now += 0.01
    assert now < 80
