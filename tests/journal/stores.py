"""The stores that the journal's contract is run through, an entry each, and what its tests ask of them."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from llmframe._addresses import DatabaseAddress
from llmframe._columns import TEXT
from llmframe._journal import PartLabel, open_journal
from llmframe._journal.postgres import PostgresJournal
from llmframe._journal.postgres.thread import database_thread
from llmframe._journal.sqlite import SqliteJournal
from llmframe._journal.sqlite.thread import journal_thread
from llmframe._json import load
from llmframe._options import Tuning
from llmframe._values import Answer, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from postgres import Database

    from llmframe._journal import Journal

PATIENT = Tuning()
LEASE_SECONDS = PATIENT.lease_seconds


@dataclass(frozen=True)
class Store:
    """A store as two runs have it, and which part of the contract it promises."""

    open: Callable[[Any], AbstractAsyncContextManager[tuple[Journal, Journal]]]
    """Give the journal of the one run and of the other; the folder or the database is the test's own."""
    keeps_answers: bool = True
    in_database: bool = False


@asynccontextmanager
async def own_handle(path: Path) -> AsyncIterator[SqliteJournal]:
    """Open a file as a process of its own does, which shares no connection with others."""
    thread = journal_thread()
    journal = await asyncio.wrap_future(thread.call(lambda: SqliteJournal(path)))
    try:
        yield journal
    finally:
        await asyncio.wrap_future(thread.call(journal.close_connection))


@asynccontextmanager
async def two_processes(folder: Path) -> AsyncIterator[tuple[SqliteJournal, SqliteJournal]]:
    path = folder / "two.sqlite"
    async with own_handle(path) as one, own_handle(path) as other:
        yield one, other


@asynccontextmanager
async def _two_runs(folder: Path) -> AsyncIterator[tuple[Journal, Journal]]:
    path = folder / "shared.sqlite"
    async with open_journal(path) as one, open_journal(path) as other:
        yield one, other


@asynccontextmanager
async def own_connection(url: str, tuning: Tuning = PATIENT) -> AsyncIterator[PostgresJournal]:
    """Open a database as a process of its own does, which shares no connection with others."""
    thread = database_thread()
    journal = await asyncio.wrap_future(thread.call(lambda: PostgresJournal(DatabaseAddress.of(url), tuning)))
    try:
        yield journal
    finally:
        await asyncio.wrap_future(thread.call(journal.close_connection))


@asynccontextmanager
async def two_machines(database: Database) -> AsyncIterator[tuple[PostgresJournal, PostgresJournal]]:
    async with own_connection(database.url) as one, own_connection(database.url) as other:
        yield one, other


@asynccontextmanager
async def _without_file(_: Path) -> AsyncIterator[tuple[Journal, Journal]]:
    async with open_journal(False) as journal:
        yield journal, journal


STORES = {
    "file of two processes": Store(two_processes),
    "file of two runs": Store(_two_runs),
    "database": Store(two_machines, in_database=True),
    "no file": Store(_without_file, keeps_answers=False),
}

keeps_answers = pytest.mark.parametrize(
    "store", [name for name, store in STORES.items() if store.keeps_answers], indirect=True
)
"""Marks what only stores promise that answers can be read from."""


def key(number):
    return number.to_bytes(16, "big")


KEYS = [key(1), key(2), key(3)]


def text_body(text, reason="stop"):
    return orjson.dumps({"choices": [{"message": {"content": text}, "finish_reason": reason}]})


def priced(number, text="Yes.", *, cost=None, **more):
    """Return an answer as it is recorded, with what it cost."""
    return Answer(key(number), text_body(text), Usage(3, 1), **more), cost


def is_failure(stored):
    return TEXT.judge(load(stored.body)).value is None


async def begin(journal, *, digest=b"recipe", **settings):
    return await journal.begin(digest, {"verb": "complete"}, **settings)


async def begin_elsewhere(journal, **settings):
    """Enter a run of another machine, whose processes nobody here can see."""
    with pytest.MonkeyPatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: "elsewhere")
        return await begin(journal, **settings)


def label(session, server="server"):
    return PartLabel(session.recipe, server, "gpt-6-luna", "q")


async def read_export(journal):
    return [record async for record in journal.export(TEXT.judge)]


async def count_claims(journal):
    return (await journal.summary(TEXT.judge))["claims"]
