"""The contract of every store: what was spent, by day, model, verb and lane."""

import contextlib
import sqlite3

import pytest
from journal.stores import KEYS, begin, count_claims, keeps_answers, priced

from llmframe._columns import TEXT
from llmframe._journal import Spend, open_journal
from llmframe._values import Usage

pytestmark = pytest.mark.asyncio

DAY = 86_400


def used(number, *usage, **more):
    answer, cost = priced(number, **more)
    return answer._replace(usage=Usage(*usage)), cost


@keeps_answers
async def test_answers_are_summed_by_day_model_verb_and_lane(pair, clock):
    """Sorted; the answering model's name stands where no model is known; flex is a lane of its own."""
    one, other = pair
    clock.now = 20_000 * DAY + 5.0
    mine = await one.begin(b"a", {"verb": "complete", "model": "m"})
    theirs = await other.begin(b"b", {"server": "s"})
    await one.record(
        mine, [used(1, 10, 5, 4, 2, 3, cost=0.25), used(2, 7, 1, cost=0.5), used(3, 1, 1, lane="batch")], []
    )
    await one.record(
        mine, [used(4, 1, 1, cost=0.0625, tier="flex"), used(5, 1, 1, cost=1.0, tier="default")], []
    )
    await other.record(theirs, [used(6, 2, 2, cost=2.0, model="m-2026")], [])
    clock.now += DAY
    await one.record(mine, [used(7, 1, 1, cost=0.5), used(8, 1, 1, cost=4.0, asked=20_000 * DAY + 9.0)], [])
    assert await other.spend() == [
        Spend(20_000, "m", "complete", "batch", 1, Usage(1, 1), None, 1),
        Spend(20_000, "m", "complete", "flex", 1, Usage(1, 1), 0.0625, 0),
        Spend(20_000, "m", "complete", "live", 4, Usage(19, 8, 4, 2, 3), 5.75, 0),
        Spend(20_000, "m-2026", None, "live", 1, Usage(2, 2), 2.0, 0),
        Spend(20_001, "m", "complete", "live", 1, Usage(1, 1), 0.5, 0),
    ]


@keeps_answers
async def test_what_broke_off_counts_as_spent_and_is_no_answer(pair):
    """Its request stays claimed, since it is sent again."""
    one, other = pair
    mine = await begin(one)
    await one.claim(mine, KEYS)
    await one.record(mine, [], [], [used(1, 10, 5, cost=0.25), used(1, 10, 5)])
    assert await other.lookup(await begin(other), KEYS) == []
    assert await count_claims(one) == len(KEYS)
    await one.record(mine, [used(1, 10, 5, cost=0.5)], [])
    (spent,) = await other.spend()
    assert spent[4:] == (3, Usage(30, 15), 0.75, 1)


@keeps_answers
async def test_runs_of_one_model_are_one_line(pair):
    """Recipes differ by prompt and parameters, which nobody sums by."""
    one, other = pair
    for digest, journal in ((b"a", one), (b"b", other)):
        session = await journal.begin(digest, {"verb": "ask", "model": "m"})
        await journal.record(session, [used(ord(digest), 1, 1, cost=0.1) for _ in range(5)], [])
    (spent,) = await one.spend()
    assert (spent.answers, spent.cost) == (10, pytest.approx(1.0, abs=1e-15))


@keeps_answers
async def test_what_is_pruned_is_gone_from_it(pair, clock):
    one, other = pair
    mine = await begin(one)
    await one.record(mine, [used(1, 1, 1, cost=0.5)], [], [used(2, 1, 1, cost=0.5)])
    clock.now += 10
    await one.record(mine, [used(3, 1, 1, cost=0.125)], [], [used(2, 1, 1, cost=0.125)])
    assert await other.prune(clock.now - 5) == 1
    assert sum(each.cost for each in await one.spend()) == 0.25


async def test_an_empty_journal_and_one_that_keeps_no_answers_tell_of_nothing(store, place):
    async with store.open(place) as (one, _):
        mine = await begin(one)
        if not store.keeps_answers:
            await one.record(mine, [used(1, 1, 1, cost=0.5)], [], [used(1, 1, 1, cost=0.5)])
        assert await one.spend() == []


async def test_a_file_of_an_earlier_version_is_summed_too_and_gains_what_it_lacks(tmp_path):
    """A program that has it open meanwhile reads what is there."""
    path = tmp_path / "journal.sqlite"
    async with open_journal(path) as journal:
        await journal.record(await begin(journal), [used(1, 1, 1, cost=0.5)], [])
        with contextlib.closing(sqlite3.connect(path)) as earlier:
            earlier.execute("DROP TABLE spent")
        assert [each.cost for each in await journal.spend()] == [0.5]
        assert (await journal.summary(TEXT.judge))["broken_off"] == 0
    async with open_journal(path) as journal:
        await journal.record(await begin(journal), [], [], [used(2, 1, 1, cost=0.25)])
        assert sum(each.cost for each in await journal.spend()) == 0.75
        assert (await journal.summary(TEXT.judge))["broken_off"] == 1
