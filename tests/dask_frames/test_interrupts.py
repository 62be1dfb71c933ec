"""A partition's run ends when nobody wants it any more, on every scheduler."""

from __future__ import annotations

import time

import pytest
from dask_frames.programs import end_all, ended, interrupt, started
from helpers import paid_again, wait_until

ROWS = 600
SCHEDULERS = ["threads", "processes", "distributed"]


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_ctrl_c_in_the_client_ends_the_sending_and_computing_again_goes_on(scheduler, server, tmp_path):
    server.latency = 0.2
    program = started(tmp_path, server, scheduler, rows=ROWS, partitions=12)
    wait_until(lambda: server.ledger.billed > 20)
    sent, in_flight = server.ledger.requests, server.ledger.max_in_flight
    interrupt(program)
    time.sleep(2)
    assert server.ledger.requests <= sent + in_flight + 0.01 * ROWS
    settled = server.ledger.requests
    time.sleep(1)
    assert server.ledger.requests == settled
    code, out, err = ended(program)
    assert (code, "interrupted" in out) == (0, True), err
    assert server.ledger.billed < ROWS / 2
    server.latency = 0.0
    code, out, err = ended(started(tmp_path, server, scheduler, rows=ROWS, partitions=12))
    assert (code, str(ROWS) in out) == (0, True), err
    assert paid_again(server) <= in_flight  # what was answered while nobody waited for it any more


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["processes", "distributed"])
def test_workers_stop_sending_when_the_client_is_killed(scheduler, server, tmp_path):
    server.latency = 0.2
    program = started(tmp_path, server, scheduler, rows=ROWS, partitions=12)
    wait_until(lambda: server.ledger.billed > 20)
    try:
        program.kill()
        program.wait()
        wait_until(lambda: not server.ledger.in_flight)
        time.sleep(1)
        assert server.ledger.requests < ROWS
        settled = server.ledger.requests
        time.sleep(1)
        assert server.ledger.requests == settled
    finally:
        end_all(program)
