"""Journals' files, made and looked into from outside."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3

from journal.stores import begin, priced

from llmframe._journal import open_journal


def fill(path, count=50, text="Yes."):
    """Make a journal at rest that holds so many answers."""

    async def filled():
        async with open_journal(path) as journal:
            session = await begin(journal)
            await journal.record(session, [priced(number, text) for number in range(count)], [])
            await journal.end(session, {}, finished=True)

    asyncio.run(filled())


@contextlib.contextmanager
def sql(path):
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        yield connection


def names_beside(path):
    return sorted(entry.name for entry in path.parent.iterdir())
