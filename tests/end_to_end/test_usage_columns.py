"""`usage=True`: tokens and dollars beside the values, for each verb over frames and Series."""

from __future__ import annotations

import asyncio
import json

import pandas as pd
import pytest
from columns.frames import TEXT

import llmframe
from llmframe.testing import Fault, LocalServer, Reply

ENDS = ("input_tokens", "output_tokens", "cost")
ROWS = ["x", "y", "x", None]


def frame(rows=ROWS):
    return pd.DataFrame({"a": rows}, index=list("pqrs")[: len(rows)])


def ends(stem):
    return [f"{stem}_{end}" for end in ENDS]


def test_a_completion_has_its_tokens_and_dollars_beside_it(llm, lane):
    """Numbers that may be missing, since a row without a prompt took nothing that is known."""
    df = frame().llm.complete("a", into="c", usage=True)
    run = llmframe.last_run()
    assert list(df) == ["a", "c", *ends("c")]
    assert [str(df[name].dtype) for name in ends("c")] == ["Int64", "Int64", "float64"]
    assert df["c_input_tokens"].isna().tolist() == [False, False, False, True]
    assert df["c_cost"].isna().tolist() == [False, False, False, True]
    assert df["c_cost"].sum() == pytest.approx(run.cost)
    assert df.loc["r", "c_cost"] == 0
    assert df.loc["r", "c_input_tokens"] == df.loc["p", "c_input_tokens"]
    assert df["c_input_tokens"].head(2).sum() == run.tokens.prompt
    assert df["c_output_tokens"].head(2).sum() == run.tokens.completion
    pd.testing.assert_frame_equal(run.values, df[["c", *ends("c")]])


def test_from_the_journal_the_tokens_are_the_answers_own_and_the_dollars_none(llm, lane):
    first = frame().llm.complete("a", usage=True)
    second = frame().llm.complete("a", usage=True)
    tokens = ends("a_completion")[:2]
    pd.testing.assert_frame_equal(first[tokens], second[tokens])
    assert second["a_completion_cost"].dropna().tolist() == [0.0, 0.0, 0.0]
    third = first.llm.complete("a", usage=True)
    assert third["a_completion_cost"].dropna().tolist() == [0.0, 0.0, 0.0], "the columns are ours"
    assert llm.ledger.billed == 2


def test_beside_the_response(llm, lane):
    df = frame().llm.complete("a", into="c", raw=True, usage=True)
    assert list(df) == ["a", "c", "c_raw", *ends("c")]
    usage = df.loc["p", "c_raw"]["usage"]
    assert df.loc["p", "c_input_tokens"] == usage["prompt_tokens"]
    assert df.loc["p", "c_output_tokens"] == usage["completion_tokens"]
    assert list(llmframe.last_run().values) == ["c", "c_raw", *ends("c")]


def test_typed_columns_have_them_under_the_columns_name(llm, lane):
    llm.answer = lambda _: json.dumps({"n": 5})
    df = frame().llm.extract("a", {"n": int}, prefix="x_", usage=True, error_into="why")
    assert list(df) == ["a", "x_n", *ends("x_a"), "why"]
    assert list(llmframe.last_run().values) == ["n", *ends("x_a")]
    assert list(frame().llm.extract(None, {"n": int}, "Read {a}", usage=True))[1:] == ["n", *ENDS]
    assert len(df.attrs["llmframe_calls"]) == 1


def test_labels_and_questions(llm):
    df = frame().llm.classify("a", ["one", "two"], into="l", usage=True)
    assert list(df) == ["a", "l", *ends("l")]
    df = frame().llm.ask("a", {"short": bool}, prefix="q_", usage=True)
    assert list(df)[-3:] == ends("q_a")
    assert df["q_a_cost"].sum() == pytest.approx(llmframe.last_run().cost)


def test_a_series_gives_a_frame(llm, lane):
    llm.answer = lambda body: json.dumps({"n": 5}) if "response_format" in body else "Yes."
    made = frame()["a"].llm.complete(usage=True)
    assert list(made) == ["a_completion", *ends("a_completion")]
    assert made["a_completion"].dtype == TEXT
    assert made.index.tolist() == list("pqrs")
    awaited = asyncio.run(frame()["a"].llm.acomplete(usage=True))
    assert list(awaited) == list(made)
    assert list(frame()["a"].llm.extract({"n": int}, usage=True)) == ["n", *ends("a")]
    assert isinstance(frame()["a"].llm.complete(), pd.Series)


def test_labels_of_a_series_give_a_frame(llm):
    assert list(frame()["a"].llm.classify(["one", "two"], usage=True)) == ["a_label", *ends("a")]


def test_a_cost_that_is_unknown_is_missing_and_never_0(llm, lane):
    """Without a usage nothing is known of a row; the others are summed."""
    llm.faults = [Fault(Reply(completion={"usage": None}), when="y")]
    df = frame().llm.complete("a", into="c", usage=True)
    run = llmframe.last_run()
    assert df["c_cost"].isna().tolist() == [False, True, False, True]
    assert df["c_input_tokens"].isna().tolist() == [False, True, False, True]
    assert run.unpriced == 1
    assert df["c_cost"].sum() == pytest.approx(run.cost)


def test_a_model_without_a_price_has_tokens_and_no_dollars():
    with LocalServer(models=["mystery"]) as server:
        settings = {"base_url": server.base_url, "api_key": "any", "model": "mystery"}
        df = frame().llm.complete("a", into="c", usage=True, **settings)
        assert df["c_cost"].isna().tolist() == [True, True, False, True], "a copy costs nothing"
        assert df["c_input_tokens"].notna().sum() == 3
        llmframe.options.prices = {"mystery": {"input": 0, "output": 0}}
        df = frame().llm.complete("a", into="c", usage=True, fresh=True, **settings)
        run = llmframe.last_run()
        assert df["c_cost"].dropna().tolist() == [0.0, 0.0, 0.0]
        assert (run.cost, run.unpriced) == (0.0, 0)
        assert " · $0 · " in repr(run)
        assert "<br>$0</span>" in run._repr_html_()


def test_rows_that_failed_unpaid_have_neither(llm, lane):
    llm.faults = [Fault("context_length_exceeded", when="y")]
    with pytest.warns(llmframe.CompletionWarning):
        df = frame().llm.complete("a", into="c", usage=True, errors="coerce")
    assert df["c_cost"].isna().tolist() == [False, True, False, True]
    assert df["c_input_tokens"].isna().tolist() == [False, True, False, True]


def test_missing_cells_get_them_where_a_value_is_written(llm, lane):
    df = frame(["x", "y", "z"]).assign(c=["mine", None, None], c_cost=[7.0, None, 8.0])
    df.llm.complete("a", into="c", usage=True, overwrite="missing")
    assert df["c_cost"].iloc[0] == 7.0
    assert df["c_cost"].iloc[1:].sum() == pytest.approx(llmframe.last_run().cost)
    assert df["c_input_tokens"].isna().tolist() == [True, False, False]


def test_rows_outside_of_where_have_none(llm, lane):
    """The dollars stand at the first row that is asked."""
    df = frame(["x", "x", "x", "y"]).llm.complete("a", into="c", usage=True, where=[False, True, True, False])
    assert df["c_cost"].isna().tolist() == [True, False, False, True]
    assert df["c_cost"].iloc[1] == pytest.approx(llmframe.last_run().cost)
    assert df["c_cost"].iloc[2] == 0


def test_without_it_nothing_is_kept_for_it(llm):
    df = frame().llm.complete("a")
    assert list(df) == ["a", "a_completion"]
    assert llmframe.last_run()._results._usage is None


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda df: df.llm.complete("a", into="c", usage=True), "into: the column 'c_cost' is already there"),
        (lambda df: df.llm.complete("a", usage="yes"), "usage must be True or False; got 'yes'"),
        (lambda df: df.llm.classify("a", ["x", "y"], usage=1), "usage must be True or False; got 1"),
        (lambda df: df.llm.extract("a", ["a_cost"], usage=True), "usage: one column would be 'a_cost', .*prefix="),
        (lambda df: df.llm.complete("c_cost", into="c", usage=True), "into: 'c_cost' is read for the prompts"),
        (lambda _: llmframe.complete(["x"], usage=True), r"'usage'; this verb does not take it; df\.llm\.complete does"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(llm, call, said):
    with pytest.raises((TypeError, ValueError), match=said):
        call(frame().assign(c_cost=1.0))
    assert llm.ledger.requests == 0
