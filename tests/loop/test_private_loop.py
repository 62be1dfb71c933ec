"""The private loop, and the garbage collector while it works."""

from __future__ import annotations

import asyncio
import gc
import sys

import pytest
from loop.calls import PATIENCE, reviews

from llmframe._loop import gc_threshold, private_loop
from llmframe.testing import Fault, LocalServer


@pytest.mark.parametrize("there", [False] if sys.platform == "win32" else [False, True])
def test_our_own_loop_is_of_the_fastest_kind_that_is_there(monkeypatch, there):
    """It is uvloop's where uvloop is installed, and asyncio's elsewhere; calls work on both."""
    if not there:
        monkeypatch.setitem(sys.modules, "uvloop", None)
    loop = private_loop._new_loop()
    try:
        assert type(loop).__module__.startswith("uvloop") == there
        assert loop.run_until_complete(asyncio.sleep(0, 7)) == 7
    finally:
        loop.close()


@pytest.mark.parametrize(
    ("chosen", "during"),
    [((700, 10, 10), (50_000, 10, 10)), ((0, 10, 10), (0, 10, 10)), ((900_000, 5, 5), (900_000, 5, 5))],
    ids=["usual", "switched off", "seldom already"],
)
def test_the_garbage_collector_is_left_as_it_was(
    llm: LocalServer, chosen: tuple[int, int, int], during: tuple[int, int, int]
) -> None:
    """Its threshold is raised while rows are under way, and afterwards what it was before."""
    usual = gc.get_threshold()
    gc.set_threshold(*chosen)
    try:
        llm.faults = [Fault("hang")]
        run = reviews(5).llm.complete("review", into="answer", wait=False)
        assert llm.ledger.wait_for(lambda ledger: ledger.in_flight > 0, PATIENCE)
        assert gc.get_threshold() == during
        with gc_threshold.raised_gc_threshold():
            pass
        assert gc.get_threshold() == during
        run.cancel()
        run._wait(PATIENCE)
        assert gc.get_threshold() == chosen
    finally:
        gc.set_threshold(*usual)
