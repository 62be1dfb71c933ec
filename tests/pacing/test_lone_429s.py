"""429s of a proxy that come however slowly requests are sent, against simulated servers."""

from __future__ import annotations

import pytest
from pacing.simulation import Allowance, Server, SimulatedRun


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("latency", [0.02, 0.05])
@pytest.mark.parametrize("share", [0.005, 0.01, 0.02, 0.05])
def test_lone_429s_hardly_slow_a_run(share, latency, seed):
    """A proxy that answers 429 now and then is no limit: up to one in 50, hundreds of requests a second are answered."""
    server = Server(latency=latency, spread=0.5, headers=False, retry="int", stray_429s=share)
    run = SimulatedRun(server, 6_000, seed=seed).run()
    assert run.answered == 6_000
    assert run.answered / run.ended > (400 if share < 0.05 else 60)
    assert run.refused < 2 * share


@pytest.mark.parametrize("share", [0.005, 0.01, 0.02])
def test_a_limit_is_found_among_lone_429s(share):
    """85 % of the limit is used, and at most 5 % more are refused than the proxy refuses."""
    server = Server(Allowance(100, 1), spread=0.5, headers=False, retry="int", stray_429s=share)
    run = SimulatedRun(server, 6_000).run()
    assert run.share >= 0.85
    assert run.refused < share + 0.05
