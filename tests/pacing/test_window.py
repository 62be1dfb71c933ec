"""How many requests are in flight, against simulated servers without limits."""

from __future__ import annotations

import itertools

from pacing.simulation import Server, SimulatedRun

from llmframe._pacing import Pace


def test_the_first_requests_are_spaced_until_the_first_answer():
    """20 requests a second leave until the first answer, and 20 in all."""
    run = SimulatedRun(Server(latency=0.8), 300, Pace(500)).run()
    early = [at for at in run.sent_at if at < 0.8]
    assert 14 <= len(early) <= 17
    assert all(b - a >= 0.05 - 1e-9 for a, b in itertools.pairwise(early))
    assert run.most_in_flight > 200
    assert SimulatedRun(Server(latency=5.0), 300, Pace(500)).run().sent_at[20] > 5.0


def test_the_window_doubles_each_round_trip():
    """It grows from 20 to 1,000 in about six round trips."""
    run = SimulatedRun(Server(latency=1.0, spread=0.1), 8_000).run()
    assert run.most_in_flight == 1_000
    assert run.ended < 15


def test_a_stated_window_is_the_ceiling_at_once():
    """`max_concurrency` is the window from the first success on, and is never exceeded."""
    for most in (1, 7, 300):
        run = SimulatedRun(Server(latency=0.1), 1_000, Pace(most)).run()
        assert run.most_in_flight == most
        assert run.pace.window == most


def test_sporadic_faults_do_not_shrink_the_window():
    """With one fault in ten answers the window still becomes 1,000."""
    run = SimulatedRun(Server(latency=0.2, spread=0.5, fault=lambda _, rng: rng.random() < 0.1), 20_000).run()
    assert run.pace.window == 1_000
    assert run.ended < 20


def test_many_faults_shrink_the_window():
    """When two answers in three are faults the window becomes 4, and no less."""
    pace, now = Pace(), 0.0
    for turn in range(4_000):
        now += 0.05
        ticket = pace.send(now, 1)
        (pace.on_answer(now, ticket, None, 1) if turn < 500 or turn % 3 == 0 else pace.on_fault(now, ticket))
    assert pace.window == 4


def test_an_outage_slows_to_probes_and_ends_at_once():
    """While everything fails 3 to 5 requests a second leave; a second after the end more than 1,000 do."""
    server = Server(latency=0.2, spread=0.3, fault=lambda now, _: 10 < now < 60)
    run = SimulatedRun(server, 100_000).run()
    assert 3 <= sum(20 < at < 60 for at in run.sent_at) / 40 <= 5
    assert sum(61 < at < 62 for at in run.sent_at) > 1_000


def test_a_cancelled_request_leaves_the_window():
    """The next request may leave at once, although nothing was answered."""
    pace = Pace(1)
    pace.send(0.0, 1)
    assert pace.in_flight == 1
    assert pace.admit(10.0, 1).seconds > 0
    pace.on_cancel()
    assert pace.in_flight == 0
    assert pace.admit(10.0, 1).seconds == 0
