"""The contract of every store: who may send a request."""

import random
import time

import pytest
from journal.stores import (
    KEYS,
    LEASE_SECONDS,
    begin,
    begin_elsewhere,
    count_claims,
    keeps_answers,
    key,
    label,
    priced,
)

pytestmark = pytest.mark.asyncio


async def test_a_recipe_has_one_number(pair):
    one, other = pair
    session = await begin(one, digest=b"a")
    assert await other.add_recipe(b"a", {"verb": "complete"}) == session.recipe
    assert (await begin(other, digest=b"a")).recipe == session.recipe
    assert (await begin(other, digest=b"b")).recipe != session.recipe


async def test_a_claim_held_by_a_live_owner_is_left_to_it(pair):
    """Another run's claims are held, and what it released is granted."""
    one, other = pair
    mine, theirs = await begin(one), await begin(other)
    assert (await one.claim(mine, KEYS[:2])).granted == KEYS[:2]
    claimed = await other.claim(theirs, KEYS)
    assert (claimed.granted, claimed.held, claimed.uncertain) == ([KEYS[2]], KEYS[:2], 0)
    await one.record(mine, [], [KEYS[1]])
    claimed = await other.claim(theirs, KEYS[:2])
    assert (claimed.granted, claimed.held, claimed.uncertain) == ([KEYS[1]], [KEYS[0]], 0)
    await other.record(theirs, [], KEYS)
    assert (await one.claim(mine, KEYS)).granted == KEYS


@keeps_answers
async def test_what_another_run_answered_comes_back_instead_of_a_claim(pair):
    one, other = pair
    mine, theirs = await begin(one), await begin(other)
    await one.claim(mine, KEYS[:2])
    assert (await other.claim(theirs, KEYS)).held == KEYS[:2]
    await one.record(mine, [priced(1)], [KEYS[1]])
    claimed = await other.claim(theirs, KEYS[:2])
    assert [stored.key for stored in claimed.answered] == [KEYS[0]]
    assert (claimed.granted, claimed.held, claimed.uncertain) == ([KEYS[1]], [], 0)


async def test_a_run_may_claim_again_what_it_has_claimed(pair):
    one, other = pair
    mine, theirs = await begin(one), await begin(other)
    for _ in range(2):
        claimed = await one.claim(mine, KEYS)
        assert (claimed.granted, claimed.uncertain) == (KEYS, 0)
    await one.record(mine, [], KEYS[:1])
    claimed = await other.claim(theirs, KEYS)
    assert (claimed.granted, claimed.held) == (KEYS[:1], KEYS[1:])


async def test_a_run_that_ends_leaves_no_claims(pair):
    """What a run claimed and did not answer is free when it ends."""
    one, other = pair
    mine = await begin(one)
    await one.claim(mine, KEYS)
    await one.end(mine, {}, finished=False)
    assert await count_claims(other) == 0
    claimed = await other.claim(await begin(other), KEYS)
    assert (claimed.granted, claimed.uncertain) == (KEYS, 0)


async def test_an_owner_on_another_machine_keeps_its_claims_until_its_lease_is_over(pair, clock):
    """Not before the lease ends, also when renewed; then at once, and counted as uncertain."""
    one, other = pair
    far = await begin_elsewhere(one)
    await one.claim(far, KEYS)
    here = await begin(other)
    clock.now += LEASE_SECONDS - 1
    assert (await other.claim(here, KEYS)).held == KEYS
    await one.renew(far)
    clock.now += LEASE_SECONDS - 1
    assert (await other.claim(here, KEYS)).held == KEYS
    clock.now += 2
    await other.renew(here)
    claimed = await other.claim(here, KEYS)
    assert (claimed.granted, claimed.uncertain) == (KEYS, 3)
    # The late owner does not free what is no longer its own.
    await one.record(far, [], KEYS[:2])
    third = await begin(one)
    assert (await one.claim(third, KEYS)).held == KEYS
    # What was taken over is uncertain once, and not again for whoever comes next.
    await other.end(here, {}, finished=False)
    claimed = await one.claim(third, KEYS)
    assert (claimed.granted, claimed.uncertain) == (KEYS, 0)


@keeps_answers
async def test_the_answer_of_an_owner_whose_lease_was_over_is_kept(pair, clock):
    one, other = pair
    far = await begin_elsewhere(one)
    await one.claim(far, KEYS)
    clock.now += LEASE_SECONDS + 1
    here = await begin(other)
    assert (await other.claim(here, KEYS)).granted == KEYS
    await one.record(far, [priced(1)], [KEYS[1]])
    third = await begin(one)
    claimed = await one.claim(third, KEYS)
    assert ([stored.key for stored in claimed.answered], claimed.held) == ([KEYS[0]], KEYS[1:])
    await other.end(here, {}, finished=False)
    claimed = await one.claim(third, KEYS)
    assert (claimed.granted, claimed.uncertain) == (KEYS[1:], 0)


async def test_what_a_vanished_run_only_entered_into_batches_is_not_uncertain(pair, clock):
    """A batch run claims before it submits: its claims alone cost nothing."""
    one, other = pair
    far = await begin_elsewhere(one, sends=False)
    await one.claim(far, KEYS)
    clock.now += LEASE_SECONDS + 1
    claimed = await other.claim(await begin(other), KEYS)
    assert (claimed.granted, claimed.uncertain) == (KEYS, 0)


async def test_what_is_marked_as_unsent_is_claimed_but_not_uncertain_until_it_is_claimed_again(pair, clock):
    """Others leave it alone; after its owner is gone, what it sent again counts, and what it did not does not."""
    one, other = pair
    far, here = await begin_elsewhere(one), await begin(other)
    await one.claim(far, KEYS)
    await one.mark_unsent(far, [KEYS[0], KEYS[1], key(9)])
    claimed = await other.claim(here, [*KEYS, key(9)])
    assert (claimed.granted, claimed.held) == ([key(9)], KEYS)
    assert (await one.claim(far, KEYS[:1])).granted == KEYS[:1]
    clock.now += LEASE_SECONDS + 1
    await other.renew(here)
    claimed = await other.claim(here, KEYS)
    assert (claimed.granted, claimed.uncertain) == (KEYS, 2)


async def test_what_is_marked_as_unsent_is_free_when_it_is_recorded(pair):
    """Also when it was sent again, and marked and claimed once more."""
    one, other = pair
    mine = await begin(one)
    await one.claim(mine, KEYS)
    for _ in range(2):
        await one.mark_unsent(mine, KEYS[:2])
        await one.claim(mine, KEYS[:1], looked_up=True)
    await one.record(mine, [], KEYS)
    assert await count_claims(other) == 0
    assert (await other.claim(await begin(other), KEYS)).granted == KEYS


async def test_an_owner_that_comes_back_after_its_lease_has_its_claims_again(pair, clock):
    """Those that nobody took over: a run that began meanwhile finds them held."""
    one, other = pair
    far = await begin_elsewhere(one)
    await one.claim(far, KEYS)
    clock.now += LEASE_SECONDS + 1
    here = await begin(other)
    assert (await other.claim(here, KEYS[:1])).uncertain == 1
    await one.renew(far)
    claimed = await other.claim(here, KEYS[1:])
    assert (claimed.held, claimed.uncertain) == (KEYS[1:], 0)


async def test_two_runs_that_take_over_from_a_third_tell_each_request_once(pair, clock):
    one, other = pair
    far = await begin_elsewhere(one)
    await one.claim(far, KEYS)
    clock.now += LEASE_SECONDS + 1
    first, second = await begin(one), await begin(other)
    assert (await one.claim(first, KEYS[:2])).uncertain == 2
    claimed = await other.claim(second, KEYS)
    assert (claimed.granted, claimed.held, claimed.uncertain) == (KEYS[2:], KEYS[:2], 1)


async def test_a_clock_that_jumps_costs_nobody_the_claims(pair, clock, monkeypatch):
    """A run of this machine is given time to renew a lease that is over by the wall clock, by one that nobody sets."""
    one, other = pair
    mine, theirs = await begin(one), await begin(other)
    await one.claim(mine, KEYS)
    clock.now += 3_600
    began = time.monotonic()
    assert (await other.claim(theirs, KEYS)).held == KEYS
    await one.renew(mine)
    assert (await other.claim(theirs, KEYS)).held == KEYS
    clock.now += LEASE_SECONDS + 1
    assert (await other.claim(theirs, KEYS)).held == KEYS
    with monkeypatch.context() as later:
        later.setattr(time, "monotonic", lambda: began + 3_600)
        claimed = await other.claim(theirs, KEYS)
    assert (claimed.granted, claimed.uncertain) == (KEYS, 3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
async def test_each_request_has_one_owner_at_most_whatever_happens(store, pair, clock, seed):
    """Claims, answers, releases, parts, ends and lost leases at random: claims agree with a plain table of owners."""
    chance = random.Random(seed)
    runs = {run: (journal, await begin_elsewhere(journal)) for run, journal in enumerate([*pair, *pair])}
    keys = [key(number) for number in range(12)]
    owners, answered, vanished, parts = {}, set(), set(), []
    unasked = {run: set(keys) for run in runs}
    for step in range(200):
        run = chance.choice(list(runs))
        journal, session = runs[run]
        some = chance.sample(keys, chance.randint(1, 8))
        mine = [one for one in some if owners.get(one) == run]
        match chance.choice(["claim", "claim", "claim", "record", "end", "vanish", "submit", "collect"]):
            case "claim" if run not in vanished:
                some = [one for one in some if one not in mine]
                looked_up = unasked[run].issuperset(some) and chance.random() < 0.8
                claimed = await journal.claim(session, some, looked_up=looked_up)
                unasked[run].difference_update(claimed.granted)
                free = [one for one in some if one not in answered]
                held = [one for one in free if owners.get(one, run) not in {run, *vanished}]
                assert claimed.held == held
                assert claimed.granted == [one for one in free if one not in held]
                assert claimed.uncertain == sum(owners.get(one) in vanished for one in free)
                assert {stored.key for stored in claimed.answered} == answered.intersection(some)
                assert set(claimed.parts) == {owners[one] for one in held if owners[one] in parts}
                owners.update(dict.fromkeys(claimed.granted, run))
            case "record":
                done, released = mine[::2], mine[1::2]
                await journal.record(session, [priced(int.from_bytes(one, "big")) for one in done], released)
                if store.keeps_answers:
                    answered.update(done)
                owners = {one: owner for one, owner in owners.items() if one not in mine}
            case "end":
                await journal.end(session, {}, finished=False)
                owners = {one: owner for one, owner in owners.items() if owner != run}
                vanished.discard(run)
                runs[run] = (journal, await begin_elsewhere(journal))
                unasked[run] = set(keys) - answered
            case "vanish" if len(vanished) < 2:
                vanished.add(run)
                clock.now += LEASE_SECONDS + 1
                for left in runs.keys() - vanished:
                    await runs[left][0].renew(runs[left][1])
            case "submit" if len(mine) > 2:
                parts.append(f"part {step}")
                await journal.batches.add_intent(parts[-1], session.owner, label(session), some)
                owners.update(dict.fromkeys(mine, parts[-1]))
            case "collect" if parts and chance.random() < 0.5:
                part = parts.pop(0)
                await journal.batches.close_part(part, None)
                owners = {one: owner for one, owner in owners.items() if owner != part}
        assert await count_claims(pair[0]) == len(owners)
        assert await pair[1].batches.parts_with(keys) == {
            owner for owner in owners.values() if owner in parts
        }
