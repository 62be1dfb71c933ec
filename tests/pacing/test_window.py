"""How many requests are in flight, against simulated servers without limits."""

from __future__ import annotations

import pytest
from pacing.simulation import Server, SimulatedRun

from llmframe._pacing import Pace
from llmframe._pacing.window import START_REQUESTS, START_SECONDS
from llmframe._values import LearntPace


def test_the_start_goes_by_time():
    """64 requests leave in the first 0.3 s, and 300 or the stated number soon after, long before the first answer."""
    for most, soon in ((None, 300), (500, 500), (40, 40)):
        sent_at = SimulatedRun(Server(latency=4.0), 1_000, Pace().join(most)).run().sent_at
        assert sum(at < START_SECONDS for at in sent_at) <= START_REQUESTS
        assert sum(at < 1.5 for at in sent_at) == sum(at < 3.9 for at in sent_at) == soon


@pytest.mark.parametrize("refused", ["on_limit", "on_fault"])
def test_what_is_refused_before_an_answer_stops_the_start(refused):
    """A 429, a fault of the server or a refused connection: no more are in flight until one is answered."""
    run = Pace().join()
    tickets = [run.send(0.005 * number, 100) for number in range(20)]
    more = (None, None) if refused == "on_limit" else ()
    getattr(run, refused)(0.2, tickets[0], *more)
    assert run.window == 20
    run.on_answer(2.0, tickets[1], None, 100)
    assert run.window > 20


def test_a_local_server_is_sent_16_requests_until_it_answers():
    """It queues them and does not refuse: then the window doubles with each round trip."""
    run = SimulatedRun(Server(latency=4.0), 1_000, Pace(local=True).join())
    sent_at = run.run().sent_at
    assert sum(at < 3.9 for at in sent_at) == 16
    assert 16 < sum(at < 7.9 for at in sent_at) <= 48
    told = SimulatedRun(Server(latency=4.0), 1_000, Pace(local=True).join(200)).run().sent_at
    assert sum(at < START_SECONDS for at in told) <= START_REQUESTS
    assert sum(at < 3.9 for at in told) == 200


def test_the_next_run_starts_with_what_was_learnt():
    """At once for a recipe that was answered; another may be refused, and starts with 64."""
    pace = Pace()
    first = SimulatedRun(Server(latency=1.0, spread=0.1), 4_000, pace.join(recipe=b"one"))
    end = first.run().ended + 2
    first.pace.leave()
    largest = first.most_in_flight
    assert largest > 300
    for recipe, at_once in ((b"one", largest), (b"two", START_REQUESTS)):
        run = pace.join(recipe=recipe)
        sent = []
        while not run.admit(end, 100):
            sent.append(run.send(end, 100))
        assert len(sent) == at_once
        for ticket in sent:
            run.on_answer(end + 1, ticket, None, 100)
        run.leave()


def test_runs_share_the_window_of_their_account():
    """A second run gets its part at once; a run that states its own number keeps it."""
    pace = Pace(learnt=LearntPace(400))
    pace.proven.add(b"r")
    first, second, own = pace.join(recipe=b"r"), pace.join(recipe=b"r"), pace.join(50, recipe=b"r")
    counts = []
    for run in (first, second, own):
        count = 0
        while not run.admit(0.0, 100):
            run.send(0.0, 100)
            count += 1
        counts.append(count)
    assert counts == [400, 134, 50]


def test_the_window_doubles_each_round_trip():
    """It grows from 20 to 1,000 in about six round trips."""
    run = SimulatedRun(Server(latency=1.0, spread=0.1), 8_000).run()
    assert run.most_in_flight == 1_000
    assert run.ended < 15


def test_a_stated_window_is_the_ceiling_at_once():
    """`max_concurrency` is the window from the first success on, and is never exceeded."""
    for most in (1, 7, 300):
        run = SimulatedRun(Server(latency=0.1), 1_000, Pace().join(most)).run()
        assert run.most_in_flight == most
        assert run.pace.window == most


def test_sporadic_faults_do_not_shrink_the_window():
    """With one fault in ten answers the window still becomes 1,000."""
    run = SimulatedRun(Server(latency=0.2, spread=0.5, fault=lambda _, rng: rng.random() < 0.1), 20_000).run()
    assert run.pace.window == 1_000
    assert run.ended < 20


def test_many_faults_shrink_the_window():
    """When two answers in three are faults the window becomes 4, and no less."""
    pace, now = Pace().join(), 0.0
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
    pace = Pace().join(1)
    pace.send(0.0, 1)
    assert pace.in_flight == 1
    assert pace.admit(10.0, 1) > 0
    pace.on_cancel()
    assert pace.in_flight == 0
    assert pace.admit(10.0, 1) == 0
