"""`error_into=`: the reason of each row without an answer."""

from __future__ import annotations

import pandas as pd
import pytest
from columns.frames import TEXT

import llmframe
from llmframe.testing import Fault


@pytest.fixture
def bad_rows(llm, lane):
    """Give a server that refuses rows with "bad" in them."""
    llm.faults = [Fault("context_length_exceeded", when=lambda body: "bad" in str(body["messages"]))]
    return llm


def test_error_into_gives_each_unanswered_row_its_reason(bad_rows):
    df = pd.DataFrame({"a": ["x", "bad", None, " ", "y", b"z"]})
    with pytest.raises(llmframe.CompletionError):
        df.llm.complete("a", error_into="why", where=[True] * 4 + [False, True])
    assert df["why"].isna().tolist() == [True, False, False, False, True, False]
    assert [text.split(":")[0] for text in df["why"].dropna()] == [
        "context_length_exceeded",
        "not sent",
        "not sent",
        "invalid_prompt",
    ]
    assert df["why"].dtype == TEXT


def test_reasons_are_brought_up_to_date_when_the_cell_runs_again(bad_rows):
    df = pd.DataFrame({"a": ["x", "bad"]})
    for _ in range(2):
        with pytest.raises(llmframe.CompletionError):
            df.llm.complete("a", error_into="why")
    bad_rows.faults = []
    df.llm.complete("a", error_into="why")
    assert df["why"].isna().all()


def test_filling_with_another_model_clears_the_reasons_of_the_filled(bad_rows):
    df = pd.DataFrame({"a": ["x", "bad", "y"]})
    with pytest.raises(llmframe.CompletionError):
        df.llm.complete("a", error_into="why")
    bad_rows.faults = []
    df.llm.complete("a", error_into="why", overwrite="missing", model="gpt-5-mini")
    assert df["why"].isna().all()
    assert df["a_completion"].notna().all()


@pytest.mark.parametrize("overwrite", [False, "missing"])
def test_reasons_never_go_over_a_column_of_the_users(overwrite, llm, lane):
    df = pd.DataFrame({"a": ["x"], "why": ["my own words"]})
    with pytest.raises(ValueError, match=r"^error_into: .*write elsewhere with error_into="):
        df.llm.complete("a", error_into="why", overwrite=overwrite)
    assert llm.ledger.requests == 0


def test_rows_outside_where_keep_their_reasons(bad_rows):
    df = pd.DataFrame({"a": ["bad 1", "bad 2"]})
    for where in ([True, False], [False, True]):
        with pytest.raises(llmframe.CompletionError):
            df.llm.complete("a", error_into="why", where=where)
    assert df["why"].notna().all()
