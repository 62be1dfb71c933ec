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


@pytest_asyncio.fixture
async def pair(store, tmp_path):
    """Give one journal as two runs have it."""
    async with store.open(tmp_path) as pair:
        yield pair


@pytest_asyncio.fixture
async def two_handles(tmp_path):
    """Give one file as two processes have it."""
    async with two_processes(tmp_path) as pair:
        yield pair


class Clock:
    """A clock that stands still until it is set forward."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """Replace the wall clock."""
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    return clock
