"""How the file is used: what is read again and what is not, and what a failed commit or a closed file leaves."""

import sqlite3
import time

import pytest
from journal.files import sql
from journal.stores import KEYS, begin, key, label, own_handle, priced, read_export

import llmframe
from llmframe._columns import TEXT
from llmframe._journal import open_journal
from llmframe._journal.sqlite.schema import size
from llmframe._values import LearntLimit, LearntPace

pytestmark = pytest.mark.asyncio


def traced(journal, part):
    """Note the statements of a connection in which this occurs."""
    statements = []
    journal._database.connection.set_trace_callback(
        lambda statement: statements.append(statement) if part in statement else None
    )
    return statements


async def test_what_a_failed_commit_would_have_changed_is_not_taken_for_done(two_handles):
    """After a commit that failed, claims are again what the file says."""
    one, other = two_handles
    mine, theirs = await begin(one), await begin(other)
    keys = [key(number) for number in range(1, 5)]
    await one.claim(mine, keys)
    connection = one._database.connection
    connection.set_authorizer(
        lambda _, what, *__: sqlite3.SQLITE_DENY if what == "COMMIT" else sqlite3.SQLITE_OK
    )
    with pytest.raises(llmframe.JournalError):
        await one.record(mine, [], keys[:1])
    connection.set_authorizer(None)
    await one.batches.add_intent("part", mine.owner, label(mine), keys[1:2])
    await one.record(mine, [], keys[:1])
    claimed = await other.claim(theirs, keys)
    assert (claimed.granted, claimed.held) == (keys[:1], keys[1:])


async def test_what_was_looked_up_is_not_looked_up_again_while_nobody_else_writes(two_handles):
    """A run's own claims and answers do not make it look again."""
    one, _ = two_handles
    mine = await begin(one)
    lookups = traced(one, "FROM answer")
    assert (await one.claim(mine, KEYS[:1], looked_up=True)).granted == KEYS[:1]
    await one.record(mine, [priced(1)], [])
    assert (await one.claim(mine, KEYS[1:], looked_up=True)).granted == KEYS[1:]
    assert lookups == []


async def test_a_journal_that_was_closed_for_a_moment_is_looked_into_again(two_handles):
    """A new connection cannot tell what was written before it."""
    one, other = two_handles
    mine, theirs = await begin(one), await begin(other)
    one.close_connection()
    await other.record(theirs, [priced(1)], [])
    claimed = await one.claim(mine, KEYS, looked_up=True)
    assert ([stored.key for stored in claimed.answered], claimed.granted) == (KEYS[:1], KEYS[1:])


async def test_what_others_have_claimed_is_read_once(two_handles):
    """A crashed run's many claims cost a later run one reading, and what is claimed after it is seen at once."""
    one, other = two_handles
    crashed, late = await begin(one), await begin(one)
    keys = [key(number) for number in range(1, 2_001)]
    await one.claim(crashed, keys)
    here, readings = await begin(other), traced(other, "SELECT keys FROM claim")
    for number in range(3_000, 3_010):
        held = keys[number - 3_000]
        assert (await other.claim(here, [key(number), held])).held == [held]
    assert len(readings) == 1
    await one.claim(late, [key(4_000)])
    await one.record(crashed, [], keys[:5])
    claimed = await other.claim(here, [key(4_000), *keys[:10]])
    assert (claimed.granted, claimed.held) == (keys[:5], [key(4_000), *keys[5:10]])


async def test_an_earlier_file_of_this_format_is_used_as_it_is(tmp_path):
    """The first ones did not tell the unsent claims apart: all of them count as possibly sent."""
    path = tmp_path / "journal.sqlite"
    async with own_handle(path) as journal:
        mine = await begin(journal)
        await journal.record(mine, [priced(1)], [])
    with sql(path) as earlier:
        earlier.execute("ALTER TABLE claim DROP COLUMN sent")
        earlier.execute("INSERT INTO claim (owner, keys) VALUES (77, ?)", (KEYS[1],))
    for uncertain in (1, 0):
        async with own_handle(path) as journal:
            mine = await begin(journal)
            claimed = await journal.claim(mine, KEYS)
            assert [stored.key for stored in claimed.answered] == KEYS[:1]
            assert (claimed.granted, claimed.uncertain) == (KEYS[1:], uncertain)
            await journal.mark_unsent(mine, KEYS[1:])
            await journal.end(mine, {}, finished=False)


async def test_an_earlier_file_that_cannot_be_written_tells_of_no_rung(tmp_path):
    path = tmp_path / "journal.sqlite"
    async with own_handle(path) as journal:
        with sql(path) as earlier:
            earlier.execute("DROP TABLE kept_rung")
        assert await journal.kept_rung("https://a/v1", "m") is None
    async with own_handle(path) as journal:
        await journal.keep_rung("https://a/v1", "m", "prompt")
        assert await journal.kept_rung("https://a/v1", "m") == "prompt"


@pytest.mark.parametrize(
    "earlier_form", ["DROP TABLE learnt_pace", "ALTER TABLE learnt_pace DROP COLUMN limits"]
)
async def test_an_earlier_file_of_this_format_learns_limits(tmp_path, earlier_form):
    """The first ones kept nothing of the pace, later ones the window alone, which is still read; and both can write."""
    path = tmp_path / "journal.sqlite"
    async with own_handle(path) as journal:
        await journal.keep_pace(b"group", LearntPace(400))
    with sql(path) as earlier:
        earlier.execute(earlier_form)
    async with own_handle(path) as journal:
        found = await journal.learnt_pace(b"group")
        assert found == (None if earlier_form.startswith("DROP") else LearntPace(400))
        with sql(path) as earlier:
            earlier.execute(
                "INSERT INTO learnt_pace (limit_group, most_in_flight, by_second_until, learnt) VALUES (?, 7, 0, 1e12)",
                (b"earlier",),
            )
        assert await journal.learnt_pace(b"earlier") == LearntPace(7)
        learnt = LearntPace(300, requests=LearntLimit(500, 60.0))
        await journal.keep_pace(b"group", learnt)
        assert await journal.learnt_pace(b"group") == learnt


async def test_one_process_shares_one_connection_to_a_file(tmp_path):
    """Also by another name: a second handle's closing would drop the first one's locks."""
    path, link = tmp_path / "journal.sqlite", tmp_path / "link"
    async with open_journal(path) as first:
        link.symlink_to(path)
        async with open_journal(link) as second:
            assert first is second
        assert first._database._handle is not None
        assert (await first.summary(TEXT.judge))["answers"] == 0
    assert first._database._handle is None


async def test_without_a_file_no_answers_are_kept():
    async with open_journal(False) as journal, open_journal(False) as another:
        assert journal.place == "memory"
        session = await begin(journal)
        await journal.claim(session, KEYS)
        await journal.record(session, [priced(1)], [])
        assert await journal.lookup(session, KEYS) == []
        assert await read_export(journal) == []
        assert await journal.prune(time.time() + 1) == 0
        summary = await journal.summary(TEXT.judge)
        assert (summary["answers"], summary["cost"], summary["claims"]) == (0, None, 2)
        assert (await another.claim(await begin(another), KEYS)).granted == KEYS


def scattered(number):
    """Return a key that is nowhere near those of the next numbers, as hashes are."""
    return key(number * 0x9E3779B97F4A7C15 % 2**64 << 64 | number)


def answers_to(keys, body):
    ((template, cost),) = [priced(0)]
    return [(template._replace(key=one, body=body), cost) for one in keys]


async def cpu_seconds(journal, session, start, count, body):
    """Return the CPU seconds that claiming, keeping and looking up so many answers takes."""
    began = time.process_time()
    for first in range(start, start + count, 250):
        keys = [scattered(number) for number in range(first, first + 250)]
        assert len((await journal.claim(session, keys)).granted) == 250
        await journal.record(session, answers_to(keys, body), [])
        assert len(await journal.lookup(session, keys)) == 250
    return time.process_time() - began


@pytest.mark.slow
async def test_a_large_journal_costs_no_more_for_each_answer_than_a_small_one(tmp_path):
    """Inserts and look-ups at 200,000 answers take about the CPU that they take at none; the WAL stays small."""
    path = tmp_path / "large.sqlite"
    body = b'{"choices":[{"message":{"content":"' + b"x" * 200 + b'"}}]}'
    async with own_handle(path) as journal:
        session = await begin(journal)
        small = min(
            [await cpu_seconds(journal, session, start, 5_000, body) for start in range(0, 15_000, 5_000)]
        )
        for first in range(15_000, 185_000, 5_000):
            keys = [scattered(number) for number in range(first, first + 5_000)]
            await journal.record(session, answers_to(keys, body), [])
        large = min(
            [
                await cpu_seconds(journal, session, start, 5_000, body)
                for start in range(185_000, 200_000, 5_000)
            ]
        )
        wal = size(f"{path}-wal")
        cache = -1024 * journal._database.connection.execute("PRAGMA cache_size").fetchone()[0]
        assert (await journal.summary(TEXT.judge))["answers"] == 200_000
    assert cache > size(path) / 20
    assert large < 6 * small
    assert wal < 100 * 2**20
