"""Limits that change, or that others use too, whether the server states them or not, against simulated servers."""

from __future__ import annotations

import pytest
from pacing.simulation import Allowance, Server, SimulatedRun


@pytest.mark.parametrize("headers", [True, False])
@pytest.mark.parametrize("seconds", [1, 0.1])
@pytest.mark.parametrize("others", [30, 50])
def test_other_clients_lower_our_share(others, seconds, headers):
    """Clients that do not report take 30 or 50 of 100 requests a second; the headers name the whole limit."""
    allowance = Allowance(100, seconds, others=others)
    run = SimulatedRun(Server(allowance, spread=0.5, headers=headers, retry="int"), 5_000).run()
    assert run.share >= 0.9 * (1 - others / 100)
    assert run.refused < (0.03 if headers else 0.04)


@pytest.mark.parametrize("headers", [True, False])
@pytest.mark.parametrize("after", [50, 200])
def test_a_limit_that_changes_in_mid_run_is_followed(after, headers):
    """After 20 seconds a limit of 100 requests a second becomes half or twice as much."""
    server = Server(Allowance(100, 1), spread=0.3, headers=headers, retry="int")
    run = SimulatedRun(server, 2_000 + after * 60)

    def change(now):
        server.requests.refill(now)
        server.requests.rate, server.requests.capacity = after, after

    run.change = change
    run.at(20.0, "change")
    run.run()
    allowed = 100 * (20 - run.first_arrival) + after * (run.ended - 20)
    assert run.answered / allowed >= (0.95 if headers else 0.8)
    assert run.refused < (0.02 if headers else 0.05)


@pytest.mark.parametrize("headers", [True, False])
def test_a_limit_that_counts_refused_requests_is_kept(headers):
    """The server charges refused requests too, as OpenAI does: 85 % of its limit is still used."""
    server = Server(Allowance(100, 1), spread=0.5, headers=headers, retry="int", count_refused=True)
    run = SimulatedRun(server, 5_000).run()
    assert run.share >= 0.85
    assert run.refused < 0.05
