"""The pace of an account: what its runs share, and who reports for all of them."""

import asyncio
import contextlib
import functools

import pytest

from llmframe._live.account_pace import AccountPace
from llmframe._values import LearntPace, UsageReport


def run_in_loop(test):
    @functools.wraps(test)
    def run():
        asyncio.run(test())

    return run


class Journal:
    """Keeps what is learnt, and counts the reports of each session."""

    def __init__(self, *, others=False):
        self.learnt = {}
        self.reports = {}
        self.others = {"another process": UsageReport(needs_more=True)} if others else {}

    async def learnt_pace(self, group):
        return self.learnt.get(group)

    async def keep_pace(self, group, learnt):
        self.learnt[group] = learnt

    async def exchange(self, session, _group, _own):
        self.reports[session] = self.reports.get(session, 0) + 1
        return self.others


async def until(true):
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 (any event would be the code's own)
            await asyncio.sleep(0.01)


def running(account, journal, session, seconds=0.01):
    run = account.pace.join()
    return account.running(run, journal, session, seconds=seconds, journal_failed=pytest.fail)


@run_in_loop
async def test_runs_of_a_loop_share_a_pace_and_another_loop_has_its_own():
    """A user's own client runs in a loop of its own; so does what a fork starts."""
    journal = Journal()
    one = await AccountPace.of(b"a", journal, local=False)
    assert await AccountPace.of(b"a", journal, local=False) is one
    assert await AccountPace.of(b"b", journal, local=False) is not one
    elsewhere = await asyncio.to_thread(asyncio.run, AccountPace.of(b"a", journal, local=False))
    assert elsewhere is not one


@run_in_loop
async def test_a_new_process_begins_with_what_was_learnt():
    journal = Journal()
    journal.learnt[b"a"] = LearntPace(500, 0.0)
    account = await AccountPace.of(b"a", journal, local=False)
    assert account.pace.window.size == 500


@run_in_loop
async def test_one_run_reports_for_all_and_the_next_one_takes_over():
    journal = Journal()
    account = await AccountPace.of(b"a", journal, local=False)
    async with contextlib.AsyncExitStack() as later:
        async with running(account, journal, "first"):
            await later.enter_async_context(running(account, journal, "second"))
            await until(lambda: journal.reports["first"] >= 3)
            assert "second" not in journal.reports
        await until(lambda: journal.reports.get("second", 0) >= 3)


@run_in_loop
async def test_a_run_that_ends_before_it_began_leaves_the_reports_to_others():
    """It is interrupted while it waits for other processes to make room, or has nothing to send."""
    journal = Journal(others=True)
    account = await AccountPace.of(b"a", journal, local=False)

    async def take_part(session, seconds):
        async with running(account, journal, session, seconds):
            pass

    waiting = asyncio.create_task(take_part("waiting", 60))
    await until(lambda: "waiting" in journal.reports)
    waiting.cancel()
    await asyncio.wait([waiting])
    journal.others = {}
    await take_part("at once", 60)
    assert journal.reports == {"waiting": 1, "at once": 1}
    assert account.pace.runs == []
