"""Frames that have been through Parquet: message arrays can still be asked, and records still hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from columns.plans import plan_of
from helpers import answer

import llmframe


@pytest.fixture
def through_parquet(tmp_path):
    """Give a function that writes a frame as Parquet and reads it back."""

    def write_and_read(frame):
        frame.to_parquet(tmp_path / "frame.parquet")
        return pd.read_parquet(tmp_path / "frame.parquet")

    return write_and_read


def said(text):
    return {"role": "user", "content": text}


def test_message_arrays_come_back_as_arrays_and_are_the_same_requests(llm, lane, through_parquet):
    """They are answered from the journal: nothing is sent a second time."""
    turns = [[said("a")], [said("b"), {"role": "assistant", "content": "B"}, said("c")], None]
    df = pd.DataFrame({"chat": turns}).llm.complete("chat")
    back = through_parquet(df)
    assert [type(cell) for cell in back["chat"].dropna()] == [np.ndarray] * 2
    assert plan_of(back, "chat").keys == plan_of(df, "chat").keys
    back.llm.complete("chat", overwrite=True)
    assert llmframe.last_run().from_journal == 2
    assert back["chat_completion"].tolist()[0] == answer("a")
    pd.testing.assert_series_equal(back["chat_completion"], df["chat_completion"])
    assert llm.ledger.billed == 2


def test_records_of_columns_come_back(llm, lane, through_parquet):
    """A cell that runs again on the frame that was read replaces its own columns, and sends nothing."""
    df = pd.DataFrame({"q": ["x", " ", None, "é😀"]}, index=[3, 1, 3, 0])
    df.llm.complete("q", into="a", error_into="why")
    back = through_parquet(df)
    assert back.attrs == df.attrs
    back.llm.complete("q", into="a", error_into="why")
    pd.testing.assert_frame_equal(back, df)
    assert llm.ledger.billed == 2


def test_a_column_that_was_edited_in_between_is_not_replaced_unasked(llm, through_parquet):
    back = through_parquet(pd.DataFrame({"q": ["x", "y"]}).llm.complete("q", into="a"))
    back.loc[1, "a"] = "mine"
    with pytest.raises(ValueError, match=r"^into: the column 'a' is already there"):
        back.llm.complete("q", into="a")
