"""The contract of every store that keeps answers: what is known of a request, and what it cost."""

from dataclasses import replace

import orjson
import pytest
from journal.stores import (
    KEYS,
    LEASE_SECONDS,
    begin,
    begin_elsewhere,
    is_failure,
    keeps_answers,
    key,
    priced,
    read_export,
    text_body,
)

from llmframe._api import CHAT_COMPLETIONS
from llmframe._columns import TEXT
from llmframe._journal import PastAnswer
from llmframe._values import Usage

pytestmark = [pytest.mark.asyncio, keeps_answers]


async def test_what_was_recorded_is_looked_up(pair, clock):
    """Body, time, tokens, cost and bound come back with the identity; of what nobody answered there is nothing."""
    one, other = pair
    second = priced(2, "second", asked=1_700_000_000.0, output_bound=5, cost=0.25)
    await one.record(await begin(one), [priced(1, "first"), second], [])
    found = await other.lookup(await begin(other), KEYS)
    assert sorted(found) == [
        (KEYS[0], text_body("first"), clock.now, Usage(3, 1), None, None),
        (KEYS[1], text_body("second"), 1_700_000_000.0, Usage(3, 1), 0.25, 5),
    ]


async def test_the_longest_answer_is_the_recipes_own_or_any(pair, clock):
    """A recipe that nobody has answered yet is told by the others; an empty journal has none."""
    one, other = pair
    session, unanswered = await begin(one), await other.begin(b"another", {"verb": "complete"})
    assert await other.longest_answer(session.recipe) == 0
    short, long = [
        (answer._replace(usage=Usage(3, tokens)), cost)
        for (answer, cost), tokens in zip([priced(1), priced(2)], (5, 70), strict=True)
    ]
    await one.record(session, [short], [])
    await other.record(unanswered, [long], [])
    assert await one.longest_answer(session.recipe) == 5
    assert await other.longest_answer(unanswered.recipe) == 70
    assert await other.longest_answer(unanswered.recipe + 1) == 70


async def test_a_recipes_history_is_what_its_answers_took_newest_first(pair):
    """Of all runs of the recipe and no other one, whatever a fresh run counts."""
    one, other = pair
    mine, another = await begin(one), await begin(one, digest=b"another")
    assert await other.history(b"recipe", 10) == []
    await one.record(mine, [priced(1), priced(2, output_bound=5, request_bytes=70, model="m")], [])
    await one.record(another, [priced(3)], [])
    await other.record(await begin(other, fresh=b"set"), [priced(1)], [])
    taken = Usage(3, 1)
    whole = [
        PastAnswer(KEYS[0], taken, None, None, None),
        PastAnswer(KEYS[1], taken, 70, 5, "m"),
        PastAnswer(KEYS[0], taken, None, None, None),
    ]
    assert await other.history(b"recipe", 10) == whole
    assert await other.history(b"recipe", 2) == whole[:2]
    assert await other.history(b"unknown", 10) == []


async def test_any_number_of_requests_may_be_looked_up_at_once(pair):
    one, other = pair
    many = range(2_500)
    session = await begin(one)
    await one.record(session, [priced(number) for number in many[::2]], [])
    keys = [key(number) for number in many]
    assert {stored.key for stored in await other.lookup(await begin(other), keys)} == set(keys[::2])
    claimed = await other.claim(await begin(other), keys)
    assert claimed.granted == keys[1::2]
    assert len(claimed.answered) == len(keys[::2])


async def test_the_newest_answer_counts_and_none_is_overwritten(pair):
    """Several answers to one request are all kept, in order."""
    one, other = pair
    mine = await begin(one)
    await one.record(mine, [priced(1, "first"), priced(2)], [])
    await other.record(await begin(other), [priced(1, "second")], [])
    known = {stored.key: stored.body for stored in await one.lookup(mine, KEYS)}
    assert known == {KEYS[0]: text_body("second"), KEYS[1]: text_body("Yes.")}
    assert (await one.summary(TEXT.judge))["answers"] == 3
    claimed = await other.claim(await begin(other), KEYS[:1])
    assert [stored.body for stored in claimed.answered] == [text_body("second")]


async def test_what_another_run_answers_meanwhile_is_seen(pair):
    """Whoever answers a request after a run has looked it up, its claim brings the answer."""
    one, other = pair
    mine = await begin(one)
    theirs = await begin(other)
    await other.claim(theirs, KEYS)
    await other.record(theirs, [priced(2)], KEYS[::2])
    for _ in range(2):
        claimed = await one.claim(mine, KEYS[:2], looked_up=True)
        assert ([stored.key for stored in claimed.answered], claimed.granted) == (KEYS[1:2], KEYS[:1])
        await one.record(mine, [], KEYS[:1])


async def test_whoever_claims_decides_which_answers_do_not_count(pair, clock):
    """`retry_failed` asks again what failed before the run, and not what failed during it."""

    def is_earlier_failure(stored):
        return is_failure(stored) and stored.created < theirs.began

    one, other = pair
    before = await begin(one)
    await one.claim(before, KEYS[:1])
    await one.record(before, [priced(1, "")], [])
    clock.now += 1
    mine, theirs = await begin(one), await begin(other)
    assert (await one.claim(mine, KEYS[:1], is_failure=is_earlier_failure)).granted == KEYS[:1]
    assert (await other.claim(theirs, KEYS[:1], is_failure=is_earlier_failure)).held == KEYS[:1]
    clock.now += 1
    await one.record(mine, [priced(1, "")], [])
    claimed = await other.claim(theirs, KEYS[:1], is_failure=is_earlier_failure)
    assert ([is_failure(stored) for stored in claimed.answered], claimed.granted) == ([True], [])


async def test_an_answer_that_the_run_asks_for_once_more_is_claimed_again(pair, clock):
    """Its ending is unknown; other runs wait meanwhile."""
    one, other = pair
    mine, theirs = await begin(one), await begin(other)
    await one.claim(mine, KEYS)
    await one.record(mine, [priced(1), priced(2)], [])
    claimed = await one.claim(mine, KEYS[:2], again={KEYS[0]})
    assert claimed.granted == KEYS[:1]
    assert (await other.claim(theirs, KEYS[:1], again={KEYS[0]})).held == KEYS[:1]


async def test_answers_that_came_later_than_asked_for_are_left_out(pair, clock):
    one, other = pair
    mine = await begin(one)
    await one.record(mine, [priced(1, "first")], [])
    then = clock.now
    clock.now += 1
    await other.record(await begin(other), [priced(1, "second"), priced(2)], [])
    found = await one.lookup(replace(mine, until=then), KEYS)
    assert [stored.body for stored in found] == [text_body("first")]
    assert [body async for body in other.answers_of(b"recipe", then)] == [text_body("first")]


async def test_all_answers_of_a_recipe_are_read_whichever_run_asked(pair):
    one, other = pair
    many = [priced(number, f"answer {number}") for number in range(1_200)]
    await one.record(await begin(one), many[::2], [])
    await other.record(await begin(other), many[1::2], [])
    await other.record(await begin(other, digest=b"another"), [priced(5_000, "its own")], [])
    found = [body async for body in one.answers_of(b"recipe")]
    assert sorted(found) == sorted(text_body(f"answer {number}") for number in range(1_200))
    assert [body async for body in one.answers_of(b"another")] == [text_body("its own")]
    assert [body async for body in one.answers_of(b"unknown")] == []


async def test_the_verb_says_which_answers_are_failures(pair, clock):
    """Without its judgement every paid answer counts; the newest answer alone is judged."""
    one, other = pair
    before = await begin(one)
    await one.record(before, [priced(1, ""), priced(2), priced(3, "")], [])
    await one.record(before, [priced(3)], [])
    clock.now += 1
    theirs = await begin(other)
    claimed = await other.claim(theirs, KEYS, is_failure=is_failure)
    assert claimed.granted == KEYS[:1]
    assert {stored.key for stored in claimed.answered} == {*KEYS[1:]}
    await other.record(theirs, [], KEYS)
    assert (await other.claim(theirs, KEYS)).granted == []


async def test_a_fresh_run_counts_only_answers_since_its_own_beginning(pair, clock):
    """An unfinished fresh run goes on when repeated; a finished one begins anew; another's is its own."""
    one, other = pair
    await one.record(await begin(one), [priced(1, "old")], [])
    clock.now += 10
    fresh = await begin(one, fresh=b"all")
    assert await one.lookup(fresh, KEYS) == []
    clock.now += 10
    await one.record(fresh, [priced(1, "new")], [])
    await one.end(fresh, {}, finished=False)
    clock.now += 10
    assert (await begin(other, fresh=b"all", digest=b"another")).since == clock.now
    some = await begin(other, fresh=b"some")
    assert some.since == clock.now
    await other.end(some, {}, finished=True)
    again = await begin(other, fresh=b"all")
    assert again.since == fresh.since
    assert len(await other.lookup(again, KEYS)) == 1
    await other.end(again, {}, finished=True)
    clock.now += 10
    assert await one.lookup(await begin(one, fresh=b"all"), KEYS) == []
    assert len(await one.lookup(await begin(one), KEYS)) == 2


async def test_a_fresh_run_claims_what_was_answered_before_it(pair, clock):
    one, other = pair
    await one.record(await begin(one), [priced(1)], [])
    clock.now += 10
    fresh = await begin(other, fresh=b"all")
    assert (await other.claim(fresh, KEYS[:1])).granted == KEYS[:1]
    await other.record(fresh, [priced(1)], [])
    assert [stored.key for stored in (await other.claim(fresh, KEYS[:1])).answered] == KEYS[:1]


async def test_tokens_of_every_kind_are_kept_and_exported(pair):
    """Also those that a provider's cache was written with, which are billed otherwise."""
    one, other = pair
    usage = {
        "prompt_tokens": 1_100,
        "completion_tokens": 40,
        "prompt_tokens_details": {"cached_tokens": 300, "cache_write_tokens": 700},
        "completion_tokens_details": {"reasoning_tokens": 25},
    }
    body = {**orjson.loads(text_body("Yes.")), "usage": usage, "model": "gpt-6-luna"}
    read = CHAT_COMPLETIONS.read_answer(KEYS[0], orjson.dumps(body), body, "live")
    assert read.usage == Usage(1_100, 40, cached=300, reasoning=25, cache_write=700)
    await one.record(await begin(one), [(read, 0.5), priced(2)], [])
    names = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "cache_write_tokens")
    counts = [tuple(record[name] for name in names) for record in await read_export(other)]
    assert counts == [(1_100, 40, 300, 25, 700), (3, 1, 0, 0, 0)]


async def test_every_answer_is_exported_with_its_recipe_oldest_first(pair, clock):
    """What the text kind says of each body stands beside it, also where several hundred are read."""
    one, other = pair
    session = await one.begin(b"v1", {"verb": "complete", "version": "v1"})
    await one.record(session, [priced(1, cost=0.25, lane="batch", tier="flex", model="m"), priced(2, "")], [])
    session = await other.begin(b"v2", {"verb": "complete", "version": "v2"})
    await other.record(session, [priced(number) for number in range(3, 1_203)], [])
    records = await read_export(one)
    assert [record["key"] for record in records] == [key(number).hex() for number in range(1, 1_203)]
    assert records[0] == {
        "key": key(1).hex(),
        "problem": None,
        "detail": "",
        "body": orjson.loads(text_body("Yes.")),
        "prompt_tokens": 3,
        "completion_tokens": 1,
        "cached_tokens": 0,
        "reasoning_tokens": 0,
        "cache_write_tokens": 0,
        "cost": 0.25,
        "lane": "batch",
        "tier": "flex",
        "model": "m",
        "created": clock.now,
        "output_bound": None,
        "recipe": {"verb": "complete", "version": "v1"},
    }
    assert (records[1]["problem"], records[1]["detail"]) == ("empty", "the model's answer is empty")
    assert records[1]["lane"] == "live"
    assert {record["recipe"]["version"] for record in records[2:]} == {"v2"}


async def test_the_summary_counts_what_is_there(pair, clock):
    """A truncated text is a text; answers whose cost is unknown are counted instead of their dollars."""
    one, other = pair
    empty = await one.summary(TEXT.judge)
    assert empty == {
        "answers": 0,
        "without_text": 0,
        "broken_off": 0,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "cost": None,
        "unpriced": 0,
        "oldest": None,
        "newest": None,
        "claims": 0,
        "runs": 0,
    }
    mine, theirs = await begin(one), await begin(other)
    cut, _ = priced(3)
    cut = cut._replace(body=text_body("Yes and", "length"))
    await one.record(mine, [priced(1, cost=0.25), priced(2, "", cost=0.5), (cut, None)], [])
    clock.now += 5
    await other.record(theirs, [priced(4)], [], [priced(5, cost=0.125)])
    await other.claim(theirs, [key(5), key(6)])
    assert await one.summary(TEXT.judge) == {
        "answers": 4,
        "without_text": 1,
        "broken_off": 1,
        "prompt_tokens": 15,
        "completion_tokens": 5,
        "cost": 0.875,
        "unpriced": 2,
        "oldest": clock.now - 5,
        "newest": clock.now,
        "claims": 2,
        "runs": 2,
    }


async def test_a_cost_that_cannot_be_right_is_no_part_of_the_sum(pair):
    """Early versions have written negative ones, for more cached tokens than the prompt had."""
    one, _ = pair
    await one.record(await begin(one), [priced(1, cost=0.25), priced(2, cost=-3.0)], [])
    summary = await one.summary(TEXT.judge)
    assert (summary["cost"], summary["unpriced"]) == (0.25, 1)


async def test_pruning_deletes_older_answers_alone(pair, clock):
    one, other = pair
    mine = await begin(one)
    await one.record(mine, [priced(1), priced(2, asked=clock.now - 100)], [])
    clock.now += 10
    await one.record(mine, [priced(3)], [])
    await one.claim(mine, [key(4)])
    assert await other.prune(clock.now - 50) == 1
    assert {stored.key for stored in await one.lookup(mine, KEYS)} == {KEYS[0], KEYS[2]}
    assert await other.prune(clock.now) == 1
    assert await other.prune(clock.now) == 0
    assert [stored.key for stored in await one.lookup(mine, KEYS)] == [KEYS[2]]
    claimed = await other.claim(await begin(other), [*KEYS, key(4)])
    assert (claimed.granted, claimed.held) == (KEYS[:2], [key(4)])


async def test_answers_of_a_run_that_has_vanished_stay(pair, clock):
    one, other = pair
    far = await begin_elsewhere(one)
    await one.claim(far, KEYS)
    await one.record(far, [priced(1)], [])
    clock.now += LEASE_SECONDS + 1
    claimed = await other.claim(await begin(other), KEYS)
    assert [stored.key for stored in claimed.answered] == KEYS[:1]
    assert (claimed.granted, claimed.uncertain) == (KEYS[1:], 2)
