"""Every store as two runs have it, and a wall clock that a test sets."""

from __future__ import annotations

import time

import pytest
import pytest_asyncio
from journal.stores import STORES, two_processes


@pytest.fixture(params=STORES)
def store(request):
    """Run a test through every store; `journal.stores.keeps_answers` chooses some."""
    return STORES[request.param]


@pytest.fixture(scope="session")
def _database_with_clock(postgres):
    database = postgres.new_database()
    database.own_clock()
    return database


@pytest.fixture
def place(request, store, tmp_path):
    """Give a folder to a store of files, and a database to the others."""
    if not store.in_database:
        return tmp_path
    database = request.getfixturevalue("_database_with_clock")
    database.set_clock(None)
    database.empty()
    return database


@pytest_asyncio.fixture
async def pair(store, place):
    """Give one journal as two runs have it."""
    async with store.open(place) as pair:
        yield pair


@pytest_asyncio.fixture
async def two_handles(tmp_path):
    """Give one file as two processes have it."""
    async with two_processes(tmp_path) as pair:
        yield pair


class Clock:
    """A clock that stands still until it is set forward, and with it that of a database's server."""

    def __init__(self, database=None):
        self._database = database
        self.now = 1_800_000_000.0

    def __call__(self):
        return self._now

    @property
    def now(self):
        return self._now

    @now.setter
    def now(self, seconds):
        self._now = seconds
        if self._database is not None:
            self._database.set_clock(seconds)


@pytest.fixture
def clock(request, monkeypatch):
    """Replace the wall clock."""
    in_database = "store" in request.fixturenames and request.getfixturevalue("store").in_database
    clock = Clock(request.getfixturevalue("place") if in_database else None)
    monkeypatch.setattr(time, "time", clock)
    return clock
