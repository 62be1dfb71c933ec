"""A database as the journal of a Dask computation: its address travels whole, and no text shows the password."""

from __future__ import annotations

import cloudpickle
import dask.dataframe as dd
import pytest
from helpers import asked

import llmframe
import llmframe.dask


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_partitions_keep_their_answers_in_a_database(llm, postgres, scheduler):
    """Computed twice, it is paid once."""
    llmframe.options.journal = postgres.new_database().url
    ddf = dd.from_pandas(asked(12), npartitions=3).llm.complete("q", into="a")
    for _ in range(2):
        assert ddf.compute(scheduler=scheduler)["a"].notna().all()
    assert llm.ledger.billed == 12


def test_the_password_travels_and_is_in_no_text(llm):
    llmframe.options.journal = "postgresql://ana:geheim@127.0.0.1:1/llm"
    ddf = dd.from_pandas(asked(4), npartitions=2).llm.complete("q", into="a")
    assert "geheim" not in f"{ddf!r} {ddf.expr!r} {ddf.expr.tree_repr()} {ddf.__dask_graph__()}"
    assert "geheim" in str(cloudpickle.dumps(ddf))
