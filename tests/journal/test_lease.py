"""How long claims stand: a run's lease, and which owners are alive."""

import asyncio
import os
import subprocess
import sys
import time

import pytest

import llmframe
from llmframe._journal import Lease
from llmframe._journal.liveness import Liveness, machine


class Store:
    """Is renewed on a clock that goes forward meanwhile."""

    def __init__(self, clock):
        self.clock, self.seconds = clock, 0.0

    async def renew(self, _):
        self.clock.now += self.seconds


class FailingStore:
    """Can be renewed so many times, and then fails."""

    def __init__(self, renewals):
        self.left = renewals

    async def renew(self, _):
        if not self.left:
            raise llmframe.JournalError("full")
        self.left -= 1


@pytest.fixture
def monotonic(clock, monkeypatch):
    """Replace the clock that nobody sets."""
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def step(awaitable):
    """Run a coroutine that waits for nothing without a loop, whose clock would stand still."""
    with pytest.raises(StopIteration):
        awaitable.send(None)


def test_claims_stand_for_the_length_of_a_lease_after_its_renewal(monotonic):
    """Counted from before the renewal is sent: the store may have counted from then."""
    store = Store(monotonic)
    lease = Lease(store, None, 60.0, print)
    claimed = monotonic.now
    monotonic.now += 60
    assert not lease.lapsed_since(claimed)
    store.seconds = 5.0
    monotonic.now -= 40
    step(lease.renew())
    assert lease.until == monotonic.now - 5 + 60
    monotonic.now = lease.until + 0.1
    assert lease.lapsed_since(claimed)


def test_a_renewal_that_came_too_late_does_not_bring_back_what_was_claimed_before(monotonic):
    lease = Lease(Store(monotonic), None, 60.0, print)
    claimed = monotonic.now
    monotonic.now += 61
    assert lease.lapsed_since(claimed)
    step(lease.renew())
    assert lease.lapsed_since(claimed)
    monotonic.now += 1
    assert not lease.lapsed_since(monotonic.now)


def test_a_lease_is_renewed_until_the_journal_fails():
    """The failure is told, and the task that renews ends by itself."""
    failures, store = [], FailingStore(5)

    async def main():
        lease = Lease(store, None, 0.003, failures.append)
        await lease.keep()
        with pytest.raises(llmframe.JournalError):
            await lease.renew()

    asyncio.run(main())
    assert store.left == 0
    assert [str(error) for error in failures] == ["full", "full"]


def test_another_machines_owner_lives_as_long_as_its_lease(clock):
    """Nobody here can look at its process."""
    liveness = Liveness(30.0)
    assert liveness.is_alive(1, "elsewhere", os.getpid(), clock.now + 1, now=clock.now)
    assert not liveness.is_alive(1, "elsewhere", os.getpid(), clock.now - 1, now=clock.now)


@pytest.mark.skipif(sys.platform == "win32", reason="there the lease alone decides")
def test_an_owner_of_this_machine_is_dead_when_its_process_is(clock):
    """Also one that nobody has waited for yet."""
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as child:
        child.stdout.read()  # its end, so that it is about to exit or has done so
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not Liveness(30.0).is_alive(1, machine(), child.pid, clock.now + 60, now=clock.now)
    assert not Liveness(30.0).is_alive(1, machine(), child.pid, clock.now + 60, now=clock.now)
    assert Liveness(30.0).is_alive(1, machine(), os.getpid(), clock.now + 60, now=clock.now)


def test_an_owner_of_this_machine_is_given_time_to_renew(monotonic):
    """Once for each lease that is over: a renewal begins it anew."""
    liveness = Liveness(30.0)
    over = monotonic.now - 1
    assert liveness.is_alive(1, machine(), os.getpid(), over, now=over + 10)
    monotonic.now += 29
    assert liveness.is_alive(1, machine(), os.getpid(), over, now=over + 10)
    monotonic.now += 1
    assert not liveness.is_alive(1, machine(), os.getpid(), over, now=over + 10)
    assert liveness.is_alive(2, machine(), os.getpid(), over, now=over + 10)
    assert liveness.is_alive(1, machine(), os.getpid(), over + 5, now=over + 10)
