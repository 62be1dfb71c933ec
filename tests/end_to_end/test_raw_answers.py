"""`raw=True`: the response beside the values, for each verb over frames and Series, in both lanes."""

from __future__ import annotations

import asyncio
import json

import pandas as pd
import pytest
from columns.frames import TEXT, listed
from helpers import answer

import llmframe
from llmframe.testing import Fault

ROWS = ["x", "y", "x", None]


@pytest.fixture
def bad(llm, lane):
    """Give a server that refuses rows with "bad" in them, in both lanes."""
    llm.faults = [Fault("refusal", when=lambda body: "bad" in str(body["messages"]))]
    return llm


def frame(rows=ROWS):
    return pd.DataFrame({"a": rows}, index=list("pqrs")[: len(rows)])


def said(response):
    return response["choices"][0]["message"]["content"]


def test_a_completion_has_its_response_beside_it(bad):
    df = frame(["x", "bad", "x", None])
    with pytest.raises(llmframe.CompletionError):
        df.llm.complete("a", into="c", raw=True)
    assert list(df) == ["a", "c", "c_raw"]
    assert df["c"].dtype == TEXT
    assert df["c_raw"].dtype == object
    assert df["c_raw"].isna().tolist() == [False, True, False, True]
    assert [said(response) for response in df["c_raw"].dropna()] == [answer("x")] * 2
    assert df.loc["p", "c_raw"]["usage"]["prompt_tokens"] > 0
    values = llmframe.last_run().values  # noqa: PD011 (a run's)
    pd.testing.assert_frame_equal(values, df[["c", "c_raw"]])


def test_from_the_journal_it_is_the_same_whether_it_was_wanted_then_or_not(bad):
    first = frame().llm.complete("a", raw=True)
    second = frame().llm.complete("a").llm.complete("a", raw=True)
    assert bad.ledger.billed == 2
    pd.testing.assert_frame_equal(first, second)
    before = first.copy()
    first.llm.complete("a", raw=True)
    pd.testing.assert_frame_equal(first, before)


def test_it_is_ours_after_parquet(bad, tmp_path):
    frame().llm.complete("a", raw=True).to_parquet(tmp_path / "df.parquet")
    df = pd.read_parquet(tmp_path / "df.parquet")
    df.llm.complete("a", raw=True)
    assert said(df.loc["p", "a_completion_raw"]) == answer("x")
    assert bad.ledger.billed == 2


def test_typed_columns_have_the_response_under_the_columns_name(llm, lane):
    llm.answer = lambda _: json.dumps({"n": 5})
    df = frame().llm.extract("a", {"n": int}, prefix="x_", raw=True, error_into="why")
    assert list(df) == ["a", "x_n", "x_a_raw", "why"]
    assert df["x_n"].dtype == "Int64"
    assert [said(response) for response in df["x_a_raw"].dropna()] == ['{"n": 5}'] * 3
    assert list(llmframe.last_run().values) == ["n", "x_a_raw"]
    without = frame().llm.extract(None, {"n": int}, "Read {a}", raw=True)
    assert list(without) == ["a", "n", "raw"]
    assert json.loads(json.dumps(df.attrs)) == df.attrs


def test_an_answer_that_was_asked_again_has_the_response_that_fits(llm, lane):
    llm.answer = lambda body: json.dumps({"n": 5 if len(body["messages"]) > 2 else "x"})
    df = frame().llm.extract("a", {"n": int}, raw=True)
    assert {said(response) for response in df["a_raw"].dropna()} == {'{"n": 5}'}


def test_a_series_gives_a_frame(llm, lane):
    made = frame()["a"].llm.complete(raw=True)
    assert list(made) == ["a_completion", "a_completion_raw"]
    assert made.index.tolist() == list("pqrs")
    assert [said(response) for response in made["a_completion_raw"].dropna()] == [
        answer(text) for text in "xyx"
    ]
    assert list(pd.Series(["x"]).llm.complete(raw=True)) == ["completion", "completion_raw"]
    assert isinstance(frame()["a"].llm.complete(), pd.Series)
    awaited = asyncio.run(frame()["a"].llm.acomplete(raw=True))
    pd.testing.assert_frame_equal(awaited, made)
    llm.answer = lambda _: json.dumps({"n": 5})
    assert list(frame()["a"].llm.extract({"n": int}, raw=True)) == ["n", "a_raw"]
    assert list(asyncio.run(pd.Series(["x"]).llm.aextract({"n": int}, raw=True))) == ["n", "raw"]


def test_missing_cells_get_the_response_where_a_value_is_written(llm, lane):
    llm.answer = lambda _: json.dumps({"n": 5, "m": 6})
    df = frame(["x", "y", "z"]).assign(
        n=pd.array([1, None, 2], dtype="Int64"), m=pd.array([3, 4, None], dtype="Int64")
    )
    df["a_raw"] = [{"old": 1}, {"old": 2}, None]
    df.llm.extract("a", {"n": int, "m": int}, raw=True, overwrite="missing")
    assert df["n"].tolist() == [1, 5, 2]
    assert df["m"].tolist() == [3, 4, 6]
    assert df.loc["p", "a_raw"] == {"old": 1}
    assert [said(response) for response in df["a_raw"].iloc[1:]] == ['{"n": 5, "m": 6}'] * 2
    text = frame(["x", "y"]).assign(c=["mine", None])
    text.llm.complete("a", into="c", raw=True, overwrite="missing")
    assert listed(text["c_raw"].isna()) == [True, False]


def test_columns_of_several_levels_name_it_in_the_last(llm):
    df = pd.DataFrame([["x"]], columns=pd.MultiIndex.from_tuples([("a", "b")]))
    df.llm.complete(("a", "b"), into=("c", "d"), raw=True)
    assert df.columns.tolist() == [("a", "b"), ("c", "d"), ("c", "d_raw")]
    df.llm.complete(("a", "b"), into="e", raw=True)
    assert df.columns.tolist()[3:] == [("e", ""), ("e_raw", "")]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda df: df.llm.complete("a", into="c", raw=True), "into: the column 'c_raw' is already there"),
        (lambda df: df.llm.complete("a", raw="yes"), "raw must be True or False; got 'yes'"),
        (lambda df: df.llm.extract("a", ["a_raw"], raw=True), "the responses' column would be 'a_raw', .*prefix="),
        (lambda df: df.llm.complete("c_raw", into="c", raw=True), "into: 'c_raw' is read for the prompts"),
        (lambda _: llmframe.complete(["x"], raw=True), r"'raw'; this verb does not take it; df\.llm\.complete does"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(llm, call, said):
    with pytest.raises((TypeError, ValueError), match=said):
        call(frame().assign(c_raw="mine"))
    assert llm.ledger.requests == 0
