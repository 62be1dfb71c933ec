"""What an interrupted or stopped run writes."""

from __future__ import annotations

import pandas as pd
import pytest
from columns.frames import listed
from helpers import answer
from loop.calls import press_when_silent

import llmframe
from llmframe.testing import Fault


@pytest.fixture
def stuck(llm):
    """Give a server that never answers the rows of `STUCK` with "slow" in them."""
    llm.faults = [Fault("hang", when=lambda body: "slow" in str(body["messages"]))]
    return llm


STUCK = ["x", "slow", "y", "slow too", "z"]


def test_an_interrupted_call_writes_what_is_there_into_a_new_column(stuck):
    df = pd.DataFrame({"a": STUCK})
    pressing = press_when_silent(stuck, 3, 2)
    with pytest.raises(KeyboardInterrupt):
        df.llm.complete("a", error_into="why")
    pressing.join()
    assert df["a_completion"].notna().tolist() == [True, False, True, False, True]
    assert df["why"].isna().tolist() == [True, False, True, False, True]
    stuck.faults = []
    df.llm.complete("a", error_into="why")
    assert df["a_completion"].tolist() == [answer(text) for text in STUCK]
    assert df["why"].isna().all()
    assert stuck.ledger.billed == 5


def test_an_interrupted_call_leaves_an_existing_complete_column_alone(stuck):
    df = pd.DataFrame({"a": STUCK, "c": list("abcde")})
    before = df.copy()
    pressing = press_when_silent(stuck, 3, 2)
    with pytest.raises(KeyboardInterrupt):
        df.llm.complete("a", into="c", overwrite=True)
    pressing.join()
    pd.testing.assert_frame_equal(df, before)
    assert [value is not None for value in llmframe.last_run().values] == [True, False, True, False, True]  # noqa: PD011


def test_a_stopped_run_writes_what_is_there_and_carries_it(llm):
    llm.faults = [Fault("insufficient_quota", after=2)]
    df = pd.DataFrame({"a": ["x", "y", "z"]})
    with pytest.raises(llmframe.StoppedError, match="credit") as error:
        df.llm.complete("a", max_concurrency=1)
    assert listed(df["a_completion"]) == [answer("x"), answer("y"), None]
    assert error.value.result is df
    assert error.value.code == "insufficient_quota"
    llm.faults = []
    df.llm.complete("a")
    assert llm.ledger.billed == 3


def test_a_stopped_run_leaves_llmframes_own_complete_column_alone(llm, lane):
    written = pd.DataFrame({"a": ["x", "y", None], "n": [1, 2, 3]}).llm.complete("a", "Say", into="c")
    before = written.copy()
    llm.faults = [Fault("insufficient_quota", after=1)]
    with pytest.raises(llmframe.StoppedError):
        written.llm.complete("a", "Shout", into="c", max_concurrency=1)
    pd.testing.assert_frame_equal(written, before)


def test_a_stopped_run_fills_missing_cells_with_what_is_there(llm):
    llm.faults = [Fault("insufficient_quota", after=1)]
    df = pd.DataFrame({"a": ["x", "y", "z"], "c": ["mine", None, None]})
    with pytest.raises(llmframe.StoppedError):
        df.llm.complete("a", into="c", overwrite="missing", max_concurrency=1)
    assert listed(df["c"]) == ["mine", answer("y"), None]
