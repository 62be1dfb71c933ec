"""The contract of every store: the parts of batch runs, and who may submit or collect them."""

import pytest
from journal.stores import (
    KEYS,
    LEASE_SECONDS,
    begin,
    begin_elsewhere,
    count_claims,
    key,
    label,
)

from llmframe._journal import PartLabel
from llmframe._values import BatchState

pytestmark = pytest.mark.asyncio

RUNNING = BatchState("batch_1", "in_progress")


async def claimers(journal, keys):
    """Name the parts that have claimed each of these requests."""
    return [await journal.batches.parts_with([one]) for one in keys]


async def test_a_part_is_entered_before_anything_is_uploaded(pair, clock):
    one, other = pair
    mine = await begin(one)
    await one.claim(mine, KEYS)
    await one.batches.add_intent("part", mine.owner, PartLabel(mine.recipe, "server", "model", "q"), KEYS)
    part = await other.batches.find_part("part")
    assert part._asdict() == {
        "nonce": "part",
        "recipe": mine.recipe,
        "server": "server",
        "model": "model",
        "title": "q",
        "created": clock.now,
        "file": None,
        "batch": None,
        "state": "intended",
        "requests": 3,
        "completed": 0,
        "failed": 0,
        "cost": None,
        "open": True,
        "cancelled": False,
    }
    assert await other.batches.list_parts() == [part]


async def test_a_part_takes_over_what_its_run_has_claimed_and_adopts_what_nobody_has(pair):
    """An own part gets its run's claims and no others; one that is found gets what no run and no part has."""
    one, other = pair
    mine, theirs = await begin(one), await begin(other)
    keys = [key(number) for number in range(4)]
    await one.claim(mine, keys[:2])
    await other.claim(theirs, keys[2:3])
    await one.batches.add_intent("own", mine.owner, label(mine), keys[:3])
    assert await claimers(one, keys) == [{"own"}, {"own"}, set(), set()]
    assert (await other.claim(theirs, keys[:3])).parts == ["own"]
    await one.batches.adopt("found", label(mine), RUNNING, keys)
    assert await claimers(other, keys) == [{"own"}, {"own"}, set(), {"found"}]
    assert await one.batches.parts_with(keys) == {"own", "found"}
    assert await one.batches.parts_with(keys[2:3]) == set()
    assert await other.batches.claimed(keys) == {*keys[:2], keys[3]}
    assert await other.batches.claimed([]) == set()
    await one.end(mine, {}, finished=False)
    claimed = await other.claim(theirs, keys)
    assert (claimed.granted, claimed.held) == ([keys[2]], [*keys[:2], keys[3]])
    assert sorted(claimed.parts) == ["found", "own"]


async def test_what_a_part_has_claimed_is_no_longer_its_runs(pair):
    """Neither the run's releases nor its end free it; closing the part does."""
    one, other = pair
    mine, theirs = await begin(one), await begin(other)
    await one.claim(mine, KEYS)
    await one.batches.add_intent("part", mine.owner, label(mine), KEYS[:2])
    assert await count_claims(other) == 3
    await one.record(mine, [], KEYS)
    assert (await other.claim(theirs, KEYS)).granted == KEYS[2:]
    await one.end(mine, {}, finished=True)
    assert (await other.claim(theirs, KEYS[:2])).held == KEYS[:2]
    await other.batches.close_part("part", None)
    claimed = await other.claim(theirs, KEYS[:2])
    assert (claimed.granted, claimed.uncertain, claimed.parts) == (KEYS[:2], 0, [])


async def test_an_adopted_part_is_as_the_api_reports_it(pair, clock):
    """A part that is known already is left as it is."""
    one, other = pair
    session = await begin(one)
    state = BatchState("batch_1", "in_progress", "file_1", created=1_700_000_000.0, total=9)
    for status in ("in_progress", "completed"):
        await one.batches.adopt("found", label(session), BatchState("batch_1", status, "file_1"), KEYS[:1])
        await other.batches.adopt("counted", label(session), state, KEYS[1:])
    found, counted = await other.batches.list_parts()
    assert (found.nonce, found.batch, found.file, found.state) == (
        "found",
        "batch_1",
        "file_1",
        "in_progress",
    )
    assert (found.requests, counted.requests) == (1, 9)
    assert counted.created == 1_700_000_000.0
    assert found.open
    assert await claimers(one, KEYS) == [{"found"}, {"counted"}, {"counted"}]


async def test_an_adopted_part_takes_over_the_claims_of_a_vanished_run(pair, clock):
    one, other = pair
    far, here = await begin_elsewhere(one), await begin(other)
    await one.claim(far, KEYS[:2])
    await other.claim(here, KEYS[2:])
    clock.now += LEASE_SECONDS + 1
    await other.renew(here)
    await other.batches.adopt("found", label(here), RUNNING, KEYS)
    assert await claimers(one, KEYS) == [{"found"}, {"found"}, set()]
    assert await count_claims(one) == 3
    await one.record(far, [], KEYS)
    assert (await other.claim(here, KEYS)).held == KEYS[:2]


async def test_what_becomes_of_a_part_is_kept(pair):
    one, other = pair
    session = await begin(one)
    for nonce in ("part", "another"):
        await one.batches.add_intent(nonce, session.owner, label(session), [])
    untouched = await one.batches.find_part("another")
    await one.batches.set_file("part", "file_1")
    assert (await other.batches.find_part("part")).file == "file_1"
    assert await other.batches.find_batch("batch_1") is None
    await other.batches.set_batch("part", "batch_1")
    assert (await one.batches.find_batch("batch_1")).nonce == "part"
    await one.batches.set_state("part", BatchState("batch_1", "finalizing", completed=5, failed=2))
    part = await other.batches.find_part("part")
    assert (part.state, part.completed, part.failed) == ("finalizing", 5, 2)
    assert not part.cancelled
    await other.batches.mark_cancelled("part")
    assert (await one.batches.find_part("part")).cancelled
    assert await one.batches.find_part("another") == untouched
    assert await one.batches.find_part("none") is None


async def test_a_part_whose_batch_was_refused_is_an_intent_again(pair):
    """Under another nonce it keeps its file, its place in the list, its claims and its lease."""
    one, other = pair
    mine, theirs = await begin(one), await begin(other)
    await one.claim(mine, KEYS)
    for nonce, keys in (("first", KEYS[:2]), ("second", KEYS[2:])):
        await one.batches.add_intent(nonce, mine.owner, label(mine), keys)
        await one.batches.set_file(nonce, f"file of {nonce}")
        await one.batches.set_batch(nonce, f"batch of {nonce}")
        await one.batches.set_state(nonce, BatchState("", "failed"))
    await one.batches.reset_intent("first", "third")
    third, second = await other.batches.list_parts()
    assert (third.nonce, third.file, third.batch, third.state) == ("third", "file of first", None, "intended")
    assert (second.nonce, second.batch) == ("second", "batch of second")
    assert await other.batches.find_part("first") is None
    assert await other.batches.find_batch("batch of first") is None
    assert await claimers(other, KEYS) == [{"third"}, {"third"}, {"second"}]
    assert not await other.batches.acquire_part("third", theirs.owner)
    assert await one.batches.acquire_part("third", mine.owner)


async def test_one_run_at_a_time_submits_or_collects_a_part(pair):
    """Whoever entered it has its lease; it can be acquired when it is released, and when its run has ended."""
    one, other = pair
    mine, theirs = await begin(one), await begin(other)
    await one.batches.add_intent("part", mine.owner, label(mine), KEYS)
    assert not await other.batches.acquire_part("part", theirs.owner)
    assert await one.batches.acquire_part("part", mine.owner)
    await one.batches.release_part("part")
    assert await other.batches.acquire_part("part", theirs.owner)
    assert not await one.batches.acquire_part("part", mine.owner)
    await other.end(theirs, {}, finished=False)
    assert await one.batches.acquire_part("part", mine.owner)
    await one.batches.adopt("found", label(mine), RUNNING, [])
    assert await one.batches.acquire_part("found", mine.owner)
    assert not await other.batches.acquire_part("none", mine.owner)


async def test_a_part_whose_run_has_vanished_can_be_acquired(pair, clock):
    """Not before that run's lease is over."""
    one, other = pair
    far, here = await begin_elsewhere(one), await begin(other)
    await one.batches.add_intent("part", far.owner, label(far), KEYS)
    clock.now += LEASE_SECONDS - 1
    assert not await other.batches.acquire_part("part", here.owner)
    clock.now += 2
    await other.renew(here)
    assert await other.batches.acquire_part("part", here.owner)
    assert not await one.batches.acquire_part("part", far.owner)


async def test_a_collected_part_is_kept_and_cannot_be_acquired(pair):
    one, other = pair
    mine, theirs = await begin(one), await begin(other)
    await one.claim(mine, KEYS)
    await one.batches.add_intent("part", mine.owner, label(mine), KEYS)
    await one.batches.add_intent("open", mine.owner, label(mine), [])
    await one.batches.close_part("part", 0.25)
    part = await other.batches.find_part("part")
    assert (part.open, part.cost) == (False, 0.25)
    assert not await other.batches.acquire_part("part", theirs.owner)
    assert not await one.batches.acquire_part("part", mine.owner)
    assert [known.nonce for known in await other.batches.list_parts()] == ["part", "open"]
    assert [known.nonce for known in await other.batches.list_parts(only_open=True)] == ["open"]
    assert await other.batches.parts_with(KEYS) == set()
    assert await count_claims(other) == 0


async def test_a_later_run_is_not_taken_for_a_part_that_was_collected(pair):
    """Nor for a run that ended with a part's lease: a new run has nothing of those before it."""
    one, other = pair
    mine = await begin(one)
    await one.batches.add_intent("left", mine.owner, label(mine), [])
    await one.end(mine, {}, finished=False)
    mine = await begin(one)
    await one.batches.add_intent("collected", mine.owner, label(mine), [])
    await one.end(mine, {}, finished=False)
    await one.batches.close_part("collected", None)
    runs = [await begin(one) for _ in range(4)]
    for run, request in zip(runs, [key(number) for number in range(4)], strict=True):
        await one.claim(run, [request])
    here = await begin(other)
    claimed = await other.claim(here, [key(number) for number in range(4)])
    assert (len(claimed.held), claimed.parts) == (4, [])
    assert await other.batches.acquire_part("left", here.owner)


async def test_a_part_that_is_deleted_leaves_no_trace(pair):
    one, other = pair
    mine, theirs = await begin(one), await begin(other)
    await one.claim(mine, KEYS)
    await one.batches.add_intent("part", mine.owner, label(mine), KEYS[:2])
    await one.batches.add_intent("other", mine.owner, label(mine), KEYS[2:])
    await other.batches.delete_part("part")
    assert [part.nonce for part in await one.batches.list_parts()] == ["other"]
    assert (await other.claim(theirs, KEYS)).granted == KEYS[:2]
    assert not await one.batches.acquire_part("part", mine.owner)
    await one.batches.add_intent("part", mine.owner, label(mine), [])
    assert [part.nonce for part in await one.batches.list_parts()] == ["other", "part"]


async def test_a_part_that_another_run_deleted_is_not_brought_back(pair):
    """Whoever still works on it changes nothing, and is told nothing: its claims are gone already."""
    one, other = pair
    session = await begin(one)
    await one.batches.add_intent("part", session.owner, label(session), [])
    await other.batches.delete_part("part")
    await one.batches.set_file("part", "file_1")
    await one.batches.set_batch("part", "batch_1")
    await one.batches.set_state("part", RUNNING)
    await one.batches.mark_cancelled("part")
    await one.batches.reset_intent("part", "again")
    await one.batches.release_part("part")
    await one.batches.close_part("part", 1.0)
    await one.batches.delete_part("part")
    assert await one.batches.list_parts() == []


async def test_a_part_may_have_any_number_of_requests(pair):
    one, other = pair
    mine = await begin(one)
    keys = [key(number) for number in range(2_500)]
    await one.claim(mine, keys)
    await one.batches.add_intent("part", mine.owner, label(mine), keys)
    assert await count_claims(other) == 2_500
    assert await other.batches.parts_with([key(9_999), *keys]) == {"part"}
    assert (await other.claim(await begin(other), keys)).held == keys
