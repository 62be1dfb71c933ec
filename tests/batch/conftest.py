"""Fast polls for every test of this room, and a batch that is under way."""

from __future__ import annotations

import pytest
from batch.calls import HANGS, interrupt, start, until_created
from helpers import asked


@pytest.fixture(autouse=True)
def _fast_polls(swift):
    """Look after batches every few milliseconds."""


@pytest.fixture
def submitted(llm):
    """Give a server with a batch under way, of a run that was interrupted; and the frame of that run."""
    llm.batches = HANGS
    frame = asked(10)
    run = start(frame)
    until_created(llm, 1)
    interrupt(run)
    return llm, frame
