"""Quotes beside extracted values, live and by batch: each is looked for in its own row's text."""

from __future__ import annotations

import json

import pandas as pd
import pytest

import llmframe

TEXTS = [
    "The hinge\nbroke. Battery: 5 hours.",
    "Fine.",
    None,
    "The hinge\nbroke. Battery: 5 hours.",
    "Battery: 9 hours.",
]


@pytest.fixture
def said(lane, llm):
    """Let the model quote the hinge, in other words of case and white space, and the battery's five hours in each row."""
    llm.answer = lambda _: json.dumps(
        {"part.quote": "the HINGE broke", "part": "hinge", "hours.quote": "Battery: 5 hours", "hours": 5, "tone.quote": " ", "tone": None}
    )  # fmt: skip
    return llm


SCHEMA = {"part": str, "hours": float, "tone": str}
COLUMNS = [f"{field}{end}" for field in SCHEMA for end in ("", ".quote", ".found")]


def test_a_quote_and_whether_its_own_row_has_it_stand_after_each_field(said):
    df = pd.DataFrame({"review": TEXTS}, index=[7, 7, 3, 1, 1])
    df.llm.extract("review", SCHEMA, "What is wrong? Say if the hinge broke.", quotes=True)
    assert list(df)[1:] == COLUMNS
    assert df.dtypes.astype(str).tolist()[1:] == ["str", "str", "boolean", "float64", "str", "boolean", "str", "str", "boolean"]  # fmt: skip
    assert df["part.found"].tolist() == [True, False, pd.NA, True, False]
    assert df["hours.found"].tolist() == [True, False, pd.NA, True, False]
    assert df["hours"].fillna(0).tolist() == [5, 5, 0, 5, 5]
    assert df["part.quote"].notna().tolist() == [True, True, False, True, True]
    assert df[["tone.quote", "tone.found"]].isna().all(axis=None)
    values = llmframe.last_run().values  # noqa: PD011 (a run's)
    pd.testing.assert_frame_equal(values, df[COLUMNS])


def test_run_again_it_asks_nothing_and_gives_the_same_frame(said):
    first, second = pd.DataFrame({"review": TEXTS}), pd.DataFrame({"review": TEXTS[::-1]})
    first.llm.extract("review", SCHEMA, quotes=True)
    billed = said.ledger.billed
    second.llm.extract("review", SCHEMA, quotes=True)
    assert said.ledger.billed == billed == 3
    pd.testing.assert_frame_equal(first, second.iloc[::-1].reset_index(drop=True))


def test_a_quote_may_be_in_any_cell_of_a_template_and_not_in_what_is_asked(said):
    df = pd.DataFrame({"title": ["The hinge broke", "Lamp"], "body": ["Battery: 5 hours!", "Bright."]})
    df.llm.extract(None, SCHEMA, "The hinge broke? {title}: {body}", quotes=True, system="Battery: 5 hours")
    assert df["part.found"].tolist() == [True, False]
    assert df["hours.found"].tolist() == [True, False]


def test_a_series_of_message_arrays_and_a_list_have_them_too(said):
    turns = [
        {"role": "system", "content": "Battery: 5 hours"},
        {"role": "user", "content": "The hinge broke."},
    ]
    of_series = pd.Series([turns], name="chat").llm.extract(SCHEMA, quotes=True)
    of_list = llmframe.extract([turns, TEXTS[0]], SCHEMA, quotes=True)
    assert list(of_series) == list(of_list) == COLUMNS
    assert of_series[["part.found", "hours.found"]].iloc[0].tolist() == [True, False]
    assert of_list["hours.found"].tolist() == [False, True]


def test_asked_again_a_row_has_the_quotes_of_the_answer_that_fits(lane, llm):
    answers = ['{"n.quote": "five", "n": "four"}', '{"n.quote": "FOUR", "n": 4}']
    llm.answer = lambda body: answers[len(body["messages"]) > 2 or "first" in body["messages"][1]["content"]]
    df = pd.DataFrame({"review": ["the first: four", "I have four."]})
    df.llm.extract("review", {"n": int}, quotes=True)
    assert df.iloc[1, 1:].tolist() == [4, "FOUR", True]
    assert llm.ledger.billed == 3


def test_a_row_that_fails_has_no_quote(lane, llm):
    llm.answer = lambda body: "no" if "1" in body["messages"][1]["content"] else '{"n.quote": "row", "n": 4}'
    df = pd.DataFrame({"review": ["row 0", "row 1"]})
    with pytest.raises(llmframe.CompletionError, match="1 of 2 rows failed"):
        df.llm.extract("review", {"n": int}, quotes=True, reask=0)
    assert df["n.quote"].notna().tolist() == [True, False]
    assert df["n.found"].tolist() == [True, pd.NA]


def test_with_a_prefix_its_columns_have_it_and_another_column_is_never_overwritten(llm):
    df = pd.DataFrame({"review": ["a"], "x_n.found": [1]})
    with pytest.raises(ValueError, match=r"the column 'x_n\.found' is already there .* prefix="):
        df.llm.extract("review", ["n"], quotes=True, prefix="x_")
    df.llm.extract("review", ["n"], quotes=True, prefix="y_")
    assert list(df)[2:] == ["y_n", "y_n.quote", "y_n.found"]


def test_quotes_is_true_or_false(llm):
    with pytest.raises(TypeError, match="quotes must be True or False; got 'yes'"):
        pd.DataFrame({"review": ["a"]}).llm.extract("review", ["n"], quotes="yes")
