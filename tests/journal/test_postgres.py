"""What only a database has: connections that break, roles, its tables' format, and what a pooler would break."""

import asyncio
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers import wait_until
from journal.networks import network_to
from journal.stores import (
    KEYS,
    PATIENT,
    begin,
    key,
    label,
    own_connection,
    priced,
    read_export,
)

from llmframe import JournalError
from llmframe._columns import TEXT
from llmframe._journal.postgres.schema import create_tables, find_tables
from llmframe._options import Tuning
from llmframe._values import BatchState, LearntPace, UsageReport

IMPATIENT = Tuning(reconnect_seconds=0.3)


async def use_all(journal):
    """Do everything that a run does, in both lanes."""
    session = await begin(journal, fresh=b"all")
    assert (await journal.claim(session, KEYS)).granted == KEYS
    await journal.mark_unsent(session, KEYS[2:])
    await journal.record(session, [priced(1)], KEYS[1:2])
    assert len(await journal.lookup(session, KEYS)) == 1
    await journal.exchange(session, b"group", UsageReport())
    await journal.keep_pace(b"group", LearntPace(7))
    assert (await journal.learnt_pace(b"group")).window == 7
    await journal.keep_rung("server", "model", "prompt")
    assert await journal.kept_rung("server", "model") == "prompt"
    await journal.renew(session)
    await journal.batches.add_intent("part", session.owner, label(session), KEYS[2:])
    await journal.batches.adopt("found", label(session), BatchState("batch_1", "in_progress"), [key(9)])
    assert (await journal.claim(session, [*KEYS, key(9)])).parts == ["part", "found"]
    assert await journal.batches.acquire_part("part", session.owner)
    await journal.batches.set_batch("part", "batch_2")
    await journal.batches.close_part("part", 0.5)
    await journal.batches.delete_part("found")
    await journal.end(session, {}, finished=True)
    assert await journal.longest_answer(session.recipe) == 1
    assert len(await read_export(journal)) == (await journal.summary(TEXT.judge))["answers"] == 1
    assert await journal.prune(time.time() + 60) == 1


def in_database(database, use, tuning=PATIENT, url=None):
    """Run an async function of a journal in the database."""

    async def run():
        async with own_connection(url or database.url, tuning) as journal:
            return await use(journal)

    return asyncio.run(run())


def count(database, table):
    return database.sql(f"SELECT count(*) FROM llmframe.{table}")[0][0]


def test_an_ordinary_role_needs_four_privileges_on_tables_that_another_has_made(database):
    database.sql("DROP ROLE IF EXISTS ordinary")
    database.sql("CREATE ROLE ordinary LOGIN")
    url = database.server.url(database.name, user="ordinary")
    with pytest.raises(JournalError, match=r"permission denied.*llmframe journal init.*GRANT USAGE"):
        in_database(database, use_all, url=url)
    in_database(database, begin)
    with pytest.raises(JournalError, match="permission denied"):
        in_database(database, use_all, url=url)
    database.sql("GRANT USAGE ON SCHEMA llmframe TO ordinary")
    database.sql("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA llmframe TO ordinary")
    in_database(database, use_all, url=url)
    database.sql("DROP OWNED BY ordinary")


def test_a_newer_format_is_refused_and_nothing_is_changed(database):
    in_database(database, begin)
    database.sql("UPDATE llmframe.format SET version = 99")
    with pytest.raises(JournalError, match=r"newer llmframe \(format 99, this one knows 1\)"):
        in_database(database, begin)
    assert count(database, "run") == 1


def test_many_may_make_the_tables_at_the_same_moment(database):
    """All have seen that there are none, and one makes them."""

    def make():
        with database.server.connect(database.name) as connection, connection.cursor() as cursor:
            assert not find_tables(cursor, "here")
            together.wait()
            with connection.transaction():
                create_tables(cursor, "here")

    together = threading.Barrier(4)
    with ThreadPoolExecutor() as threads:
        for making in [threads.submit(make) for _ in range(4)]:
            making.result(30)
    in_database(database, begin)
    assert (count(database, "format"), count(database, "run")) == (1, 1)


def test_where_nothing_can_be_written_answers_are_read(database):
    """As on a standby: a run says why it sends nothing."""

    async def recorded(journal):
        await journal.record(await begin(journal), [priced(1)], [])

    async def read(journal):
        session = await begin(journal)
        return session.obstacle, await journal.lookup(session, KEYS)

    in_database(database, recorded)
    database.sql("CREATE ROLE reader LOGIN")
    database.sql("ALTER ROLE reader SET default_transaction_read_only = on")
    database.sql("GRANT ALL ON SCHEMA llmframe TO reader")
    database.sql("GRANT ALL ON ALL TABLES IN SCHEMA llmframe TO reader")
    obstacle, found = in_database(database, read, url=database.server.url(database.name, user="reader"))
    database.sql("DROP OWNED BY reader; DROP ROLE reader")
    assert "read-only transaction" in obstacle
    assert [stored.key for stored in found] == KEYS[:1]


STATEMENTS = ("BEGIN", "COPY", "last_commit", "DELETE FROM llmframe.claim", "COMMIT")
"""What `record` sends, in its order."""


@pytest.mark.parametrize("delivers", [False, True], ids=["lost", "unanswered"])
@pytest.mark.parametrize("statement", STATEMENTS)
def test_answers_are_there_once_wherever_the_connection_was_lost(database, statement, delivers):
    """Also when the commit had arrived, and its answer alone was lost; the next answers are not taken for these."""

    async def record(journal):
        session = await begin(journal)
        await journal.claim(session, KEYS)
        network.delivers, network.cut_at = delivers, statement.encode()
        await journal.record(session, [priced(1), priced(2)], [])
        assert network.cut_at is None
        await journal.record(session, [priced(3)], [])
        return await journal.lookup(session, KEYS)

    with network_to(database) as (network, url):
        assert [stored.key for stored in in_database(database, record, url=url)] == KEYS
    assert (count(database, "answer"), count(database, "claim")) == (3, 0)


@pytest.mark.parametrize("delivers", [False, True], ids=["lost", "unanswered"])
def test_a_run_is_registered_once_when_the_connection_is_lost(database, delivers):
    async def begun(journal):
        network.delivers, network.cut_at = delivers, b"COMMIT"
        session = await begin(journal)
        assert network.cut_at is None
        assert (await journal.claim(session, KEYS)).granted == KEYS
        network.cut_at = b"COMMIT"
        await journal.batches.add_intent("part", session.owner, label(session), KEYS)

    with network_to(database) as (network, url):
        in_database(database, begun, url=url)
    assert (count(database, "run"), count(database, "owner"), count(database, "batch_part")) == (1, 2, 1)


@pytest.mark.parametrize("delivers", [False, True], ids=["lost", "unanswered"])
def test_a_claim_whose_outcome_is_unknown_is_the_runs_own(database, delivers):
    async def claimed(journal):
        session = await begin(journal)
        network.delivers, network.cut_at = delivers, b"INSERT INTO llmframe.claim"
        return await journal.claim(session, KEYS)

    with network_to(database) as (network, url):
        found = in_database(database, claimed, url=url)
    assert (found.granted, found.held, found.uncertain) == (KEYS, [], 0)


def test_a_server_that_starts_again_in_time_loses_nothing(database):
    async def recorded(journal):
        session = await begin(journal)
        await journal.claim(session, KEYS)
        database.server.stop()
        starting = threading.Timer(0.3, database.server.start)
        starting.start()
        await journal.record(session, [priced(1)], KEYS[1:])
        starting.join()

    in_database(database, recorded)
    assert (count(database, "answer"), count(database, "claim")) == (1, 0)


def test_a_connection_that_stays_lost_is_told_and_tried_once_by_each_later_use(database):
    """Until it is there again."""

    async def used(journal):
        session = await begin(journal)
        network.up = False
        network.break_all()
        began = time.monotonic()
        with pytest.raises(JournalError, match="run the same call again"):
            await journal.record(session, [priced(1)], [])
        assert time.monotonic() - began >= IMPATIENT.reconnect_seconds
        with pytest.raises(JournalError):
            await journal.renew(session)
        network.up = True
        await journal.record(session, [priced(1)], [])

    with network_to(database) as (network, url):
        in_database(database, used, IMPATIENT, url)
    assert count(database, "answer") == 1


def test_a_backend_that_an_administrator_ends_is_replaced(database):
    async def used(journal):
        session = await begin(journal)
        database.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'llmframe'"
        )
        await journal.claim(session, KEYS)
        database.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'llmframe'"
        )
        await journal.record(session, [priced(1)], KEYS[1:])

    in_database(database, used)
    assert (count(database, "answer"), count(database, "claim")) == (1, 0)


def test_a_claim_waits_for_whoever_is_answering_the_same_request(database):
    """And finds the answer, though the lookup before it found none: the claim is committed before it looks again."""

    async def claimed(journal):
        mine, theirs = await begin(journal), await begin(journal)
        await journal.claim(mine, KEYS[:1])
        await journal.record(mine, [priced(1)], [])
        await journal.claim(mine, KEYS[:1], again={KEYS[0]})
        database.sql("CREATE TABLE later AS SELECT * FROM llmframe.answer")
        database.sql("DELETE FROM llmframe.answer")
        assert await journal.lookup(theirs, KEYS) == []
        with database.server.connect(database.name) as answering:
            with answering.transaction():
                answering.execute("INSERT INTO llmframe.answer SELECT * FROM later")
                answering.execute("DELETE FROM llmframe.claim")
                claiming = asyncio.create_task(journal.claim(theirs, KEYS, looked_up=True))
                await asyncio.to_thread(
                    wait_until, lambda: database.sql("SELECT 1 FROM pg_locks WHERE NOT granted")
                )
                assert not claiming.done()
            return await claiming

    found = in_database(database, claimed)
    database.sql("DROP TABLE later")
    assert ([stored.key for stored in found.answered], found.granted) == (KEYS[:1], KEYS[1:])


def test_nothing_is_sent_that_needs_a_session(database):
    """A pooler may give each transaction another connection: no prepared statement, no setting and no lock outlives one."""
    with network_to(database) as (network, url):
        in_database(database, use_all, url=url)
    names = re.findall(
        rb"P\x00.{3}([^\x00]*)\x00(?:SELECT|INSERT|UPDATE|DELETE|WITH|COPY)", network.sent, re.DOTALL
    )
    assert names
    assert set(names) == {b""}
    assert not re.findall(rb"\b(PREPARE|LISTEN|DECLARE|DISCARD|TEMP\w*|pg_advisory_lock)\b", network.sent)
    assert set(re.findall(rb"SET (?=\w+ \w+ = ')(\w+)", network.sent)) == {b"LOCAL"}


def test_the_models_name_may_be_any_text(database):
    """PostgreSQL has no zero byte and no lone surrogate in a text; a paid answer is kept all the same."""

    async def recorded(journal):
        await journal.record(await begin(journal), [priced(1, model="a\0b\ud800")], [])
        return (await read_export(journal))[0]["model"]

    assert in_database(database, recorded) == "ab?"
