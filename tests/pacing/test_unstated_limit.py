"""Limits that the server does not state: the rate is learnt from its 429s, against simulated servers."""

from __future__ import annotations

import itertools

import pytest
from pacing.simulation import BUCKETS, LATENCIES, WINDOWS, Allowance, Server, SimulatedRun, spread

from llmframe._pacing import Pace


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "bucket", "latency", "retry"),
    spread([5, 20, 100], BUCKETS + WINDOWS, LATENCIES[:3], [None, "int"]),
)
def test_unstated_limits_are_learnt(rate, bucket, latency, retry):
    """85 % of a limit is used, and about 5 % of the answers at most are 429; a limit that is hardly known is used less."""
    seconds, fixed = bucket
    rows = int(max(2_000, rate * 60, min(rate * seconds * 10, 12_000)))
    allowance = Allowance(rate, seconds, fixed)
    run = SimulatedRun(Server(allowance, None, *latency, headers=False, retry=retry), rows).run()
    assert run.answered == rows
    late = latency[0] > 1 and fixed  # what was accepted is known late: a window's end costs more
    assert run.share >= (0.75 if seconds == 0.1 and (rate == 5 or latency[0] > 1) else 0.85)
    assert run.refused < (0.12 if late else 0.11 if rate == 5 else 0.07)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [1, 0.1])
@pytest.mark.parametrize("latency", LATENCIES[:2])
def test_high_unstated_limits_are_learnt(latency, seconds):
    """The limit is 1,000 requests per second."""
    run = SimulatedRun(
        Server(Allowance(1_000, seconds), None, *latency, headers=False, retry="int"), 20_000
    ).run()
    assert run.share >= 0.85
    assert run.refused < 0.05


@pytest.mark.parametrize("latency", [(0.02, 0.2, None), (0.06, 0.3, None), (0.1, 0.3, None)])
def test_a_limit_is_learnt_on_a_local_server_whose_small_bucket_counts_refused_requests(latency):
    """The debt of the start makes the first measurement too low, which a run of 18 seconds recovers from."""
    server = Server(Allowance(100, 0.1), None, *latency, headers=False, retry="int", count_refused=True)
    run = SimulatedRun(server, 1_800, Pace(local=True).join(), seed=1).run()
    assert run.share_since(run.first_arrival) >= 0.8
    assert run.refused < 0.05


@pytest.mark.parametrize(
    ("rate", "seconds", "paused_at"), [(300, 0.5, 0.22), (100, 0.5, 0.07), (1_000, 0.5, 0.6)]
)
@pytest.mark.parametrize("pause", [0.5, 1.5])
def test_a_pause_of_the_machine_at_the_first_refusals_hardly_slows_a_run(rate, seconds, paused_at, pause):
    """What was refused meanwhile seems to have been sent far more slowly than it was: the rate comes back soon."""
    server = Server(Allowance(rate, seconds), None, 0.02, 0.1, headers=False, retry="int", count_refused=True)
    pausing = (paused_at, paused_at + pause)
    run = SimulatedRun(server, 18 * rate, Pace(local=True).join(), seed=1, pause=pausing).run()
    assert run.share_and_bucket * run.ended / (run.ended - pause) >= 0.85
    assert run.refused < 0.05


QUICK = [(0.005, 0.2, None), (0.05, 0.2, None)]
SHORT_RUNS = [*itertools.product([20, 50, 100, 200, 500], [0.1, 0.5, 1], QUICK)]
SHORT_RUNS += [*itertools.product([50, 100], [0.1, 0.5, 1], [(1.0, 0.2, 0.05)])]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "count_refused", "retry"), spread(SHORT_RUNS, [True, False], [None, "float", "int"])
)
def test_unstated_limits_are_learnt_within_short_runs(case, count_refused, retry):
    """20 seconds and more take 85 % of all that the limit allows from the first request on, with about 5 % 429s."""
    rate, seconds, latency = case
    server = Server(
        Allowance(rate, seconds), None, *latency, headers=False, retry=retry, count_refused=count_refused
    )
    rows = max(2_000, 20 * rate)
    run = SimulatedRun(server, rows).run()
    assert run.answered == rows
    assert run.share_and_bucket >= (0.7 if count_refused and rate <= 50 else 0.85)
    # what is in flight when a bucket of 1 s is used up is refused
    assert run.refused < (0.08 if rate * seconds * latency[0] > 20 else 0.06)


def test_a_long_retry_after_is_respected_when_everything_is_refused():
    """The server asks for 100 s: at most 10 requests are sent meanwhile."""
    pace, now, sent = Pace().join(), 0.0, 0
    while now < 100:
        if wait := pace.admit(now, 1):
            now += wait
            continue
        pace.on_limit(now + 0.01, pace.send(now, 1), None, 100.0 - now)
        sent += 1
    assert sent <= 10
