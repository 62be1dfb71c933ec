"""Dask's schedulers, one after the other, and a frame in partitions."""

from __future__ import annotations

import dask
import pytest

import llmframe.dask.workers  # noqa: F401 (registers the accessors, and imports distributed as its workers do)


@pytest.fixture(autouse=True)
def _in_threads():
    """Compute in threads unless a test says otherwise."""
    with dask.config.set(scheduler="threads", num_workers=2):
        yield
