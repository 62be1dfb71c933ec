"""Several runs under one limit, against simulated servers."""

from __future__ import annotations

import pytest
from pacing.simulation import Allowance, Server, SimulatedRuns

from llmframe._pacing import Pace

STARTS = {
    "at once": [(0, 6_000), (0, 6_000)],
    "nearly at once": [(0, 6_000), (0.2, 6_000)],
    "one joins who learns": [(0, 6_000), (1, 6_000)],
    "one joins": [(0, 9_000), (10, 3_000)],
    "three": [(0, 4_000), (5, 4_000), (10, 4_000)],
    "four at once": [(0, 3_000)] * 4,
    "short ones pass by": [(0, 9_000), (10, 600), (20, 600), (30, 600)],
}


@pytest.mark.slow
@pytest.mark.parametrize("starts", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize("seconds", [60, 1, 0.1])
def test_runs_that_share_a_stated_limit_keep_to_it_together(starts, seconds):
    """Runs under one key use 95 % of a limit together, and under 2 % of the answers are 429."""
    server = Server(Allowance(200, seconds), spread=0.3, retry="int")
    together = SimulatedRuns(server, *starts).run()
    assert [run.answered for run in together.runs] == [rows for _, rows in starts]
    assert together.share() >= 0.95
    assert together.refused < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("starts", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize("seconds", [1, 0.1])
def test_processes_find_an_unstated_limit_each_for_itself(starts, seconds):
    """They do not exchange what they learn: a third of the limit and more is used, and no row is lost."""
    server = Server(Allowance(200, seconds), spread=0.3, headers=False, retry="int")
    together = SimulatedRuns(server, *starts).run()
    assert [run.answered for run in together.runs] == [rows for _, rows in starts]
    assert together.refused < 0.05
    assert together.share() >= 0.33


@pytest.mark.parametrize("share", [0.01, 0.02])
@pytest.mark.parametrize("slow", [False, True], ids=["two alike", "one sends one at a time"])
def test_lone_429s_hardly_slow_runs_together(share, slow):
    """With a second run beside it the first still has more than 200 answers a second."""
    server = Server(spread=0.5, headers=False, retry="int", stray_429s=share)
    together = SimulatedRuns(server, (0, 12_000), (0, 500 if slow else 6_000))
    if slow:
        together.runs[1].pace = Pace().join(1)
    first = together.run().runs[0]
    assert first.answered > 200 * first.ended
    assert together.refused < 2 * share


@pytest.mark.parametrize("seed", range(0, 500, 100))
def test_runs_that_share_a_low_limit_end(seed):
    """A run does not keep a rate that was measured by two answers in a minute."""
    limit = Allowance(5, 60)
    server = Server(limit, latency=0.02, spread=0.3, headers=False, retry="int", count_refused=True)
    together = SimulatedRuns(server, (0, 350), (0, 350), seed=seed).run()
    assert sum(run.answered for run in together.runs) == 700
    last = max(run.ended for run in together.runs)
    assert 700 / (5 * last + limit.capacity) > 0.7


def test_a_run_whose_requests_all_rest_is_still_there():
    """It reports to the others as long as a refused request may be sent again, so that they leave its share."""
    pace = Pace().join()
    pace.account.usage_report(0.0)
    for now in (1.0, 1.1, 1.2):
        pace.on_limit(now + 0.05, pace.send(now, 100), None, None)
    assert pace.account.usage_report(2.0) is not None
    assert pace.account.usage_report(9.0) is not None
    assert pace.account.usage_report(20.0) is None
