"""The contract of every store: what processes that share limits tell each other, and the next ones."""

import pytest
from journal.stores import LEASE_SECONDS, begin

from llmframe._values import LearntLimit, LearntPace, UsageReport

pytestmark = pytest.mark.asyncio

FIRST = UsageReport(0.5, needs_more=False)
SECOND = UsageReport()


async def test_a_run_reads_what_the_others_of_its_group_report(pair):
    """By owner, as it was written, and never its own; other groups are another matter."""
    one, other = pair
    mine, theirs, third = await begin(one), await begin(other), await begin(other)
    assert await one.exchange(mine, b"group", FIRST) == {}
    assert await other.exchange(theirs, b"group", SECOND) == {mine.owner: FIRST}
    assert await other.exchange(third, b"another", SECOND) == {}
    assert await one.exchange(mine, b"group", FIRST) == {theirs.owner: SECOND}
    assert await other.exchange(third, b"group", None) == {mine.owner: FIRST, theirs.owner: SECOND}


async def test_the_newest_report_of_a_run_counts(pair):
    one, other = pair
    mine, theirs = await begin(one), await begin(other)
    await one.exchange(mine, b"group", FIRST)
    await one.exchange(mine, b"group", SECOND)
    assert await other.exchange(theirs, b"group", None) == {mine.owner: SECOND}
    await one.exchange(mine, b"another", FIRST)
    assert await other.exchange(theirs, b"group", None) == {}


async def test_a_report_is_withdrawn_by_none_and_by_the_end_of_its_run(pair):
    one, other = pair
    mine, theirs = await begin(one), await begin(other)
    await one.exchange(mine, b"group", FIRST)
    await one.exchange(mine, b"group", None)
    assert await other.exchange(theirs, b"group", None) == {}
    await one.exchange(mine, b"group", FIRST)
    await one.end(mine, {}, finished=True)
    assert await other.exchange(theirs, b"group", SECOND) == {}


async def test_a_run_that_has_reported_nothing_for_long_does_not_count(pair, clock):
    """Long before its lease is over: what it leaves of the limits is free for the others."""
    one, other = pair
    mine, theirs = await begin(one), await begin(other)
    await one.exchange(mine, b"group", FIRST)
    clock.now += 1
    assert await other.exchange(theirs, b"group", None) == {mine.owner: FIRST}
    clock.now += LEASE_SECONDS / 2
    assert await other.exchange(theirs, b"group", None) == {}
    await one.exchange(mine, b"group", FIRST)
    assert await other.exchange(theirs, b"group", None) == {mine.owner: FIRST}


async def test_what_was_learnt_of_limits_is_there_for_the_next_process(pair):
    """The newest counts; how long a limit counts as enforced by the second goes on from when it was kept."""
    one, other = pair
    assert await one.learnt_pace(b"group") is None
    await one.keep_pace(b"group", LearntPace(300, 60.0))
    await one.keep_pace(b"another", LearntPace(7))
    found = await other.learnt_pace(b"group")
    assert found.window == 300
    assert 0 < found.by_second_seconds <= 60
    await other.keep_pace(b"group", LearntPace(500))
    assert await one.learnt_pace(b"group") == LearntPace(500, 0.0)


async def test_by_which_rung_a_model_answered_is_there_for_the_next_process(pair):
    """The first one that is kept stands, for each server and model."""
    one, other = pair
    assert await one.kept_rung("https://a/v1", "m") is None
    await one.keep_rung("https://a/v1", "m", "json_object")
    await other.keep_rung("https://a/v1", "m", "prompt")
    assert await other.kept_rung("https://a/v1", "m") == "json_object"
    assert await one.kept_rung("https://a/v1", "n") is None
    assert await one.kept_rung("https://b/v1", "m") is None


async def test_the_limits_are_there_for_the_next_process(pair):
    """Each as it was, and what is used up of it flows back meanwhile."""
    one, other = pair
    learnt = LearntPace(300, 0.0, LearntLimit(500, 60.0, 30.0), None, LearntLimit(90.5, 1.5))
    await one.keep_pace(b"group", learnt)
    found = await other.learnt_pace(b"group")
    assert 0 < found.requests.full_in_seconds <= 30
    assert found._replace(requests=learnt.requests) == learnt
