"""Typed columns out of texts, live and by batch: values, re-asks, the journal, and what is refused."""

from __future__ import annotations

import asyncio
import json
import pickle
from datetime import date, datetime
from typing import Literal

import pandas as pd
import pytest
from pydantic import BaseModel

import llmframe
from llmframe.testing import Fault, Reply, reviews

SCHEMA = {"complaint": str, "battery_hours": float, "rating": int, "tone": Literal["angry", "calm"]}
DTYPES = ["str", "float64", "Int64", "category"]


@pytest.fixture(params=["live", "batch"])
def lane(request, llm):
    llmframe.options.mode = request.param
    llmframe.options._tuning = llmframe.options._tuning._replace(first_poll_seconds=0.01)
    return llm


def frame(rows=6):
    return pd.DataFrame({"review": [f"Review {number}" for number in range(rows)]})


def text_of(body):
    return body["messages"][1]["content"]


def test_a_frame_gets_one_typed_column_for_each_field(lane):
    df = reviews().head(60)
    given = df.llm.extract("review", SCHEMA)
    assert given is df
    assert df[list(SCHEMA)].dtypes.astype(str).tolist() == DTYPES
    assert df["tone"].cat.categories.tolist() == ["angry", "calm"]
    assert df.loc[df["review"].isna(), list(SCHEMA)].isna().all(axis=None)
    assert df["battery_hours"].notna().any()
    assert llmframe.last_run().values.dtypes.astype(str).tolist() == DTYPES  # noqa: PD011 (a run's)
    assert df.attrs["llmframe"]["rating"]["verb"] == "extract"


def test_run_again_it_asks_nothing_and_gives_the_same_dtypes(lane):
    first, second = reviews().head(60), reviews().head(60)
    first.llm.extract("review", SCHEMA)
    billed = lane.ledger.billed
    second.llm.extract("review", SCHEMA)
    first.llm.extract("review", SCHEMA)
    assert lane.ledger.billed == billed
    pd.testing.assert_frame_equal(first, second)


def right_when_asked_again(body):
    """Answer one row as it is asked for at once: the others' misfits are their own then, and not the server's."""
    return json.dumps({"n": 5 if len(body["messages"]) > 2 or text_of(body) == "Review 0" else "five"})


def right_once(body):
    return json.dumps({"n": 5}) if text_of(body) == "Review 0" else "no"


def test_an_answer_that_does_not_fit_is_asked_again_with_what_is_wrong(lane):
    seen = []
    lane.answer = lambda body: seen.append(body["messages"]) or right_when_asked_again(body)
    df = frame()
    df.llm.extract("review", {"n": int})
    assert df["n"].tolist() == [5] * 6
    assert lane.ledger.billed == 11
    asked_again = next(messages for messages in seen if len(messages) > 2)
    assert [message["role"] for message in asked_again] == ["system", "user", "assistant", "user"]
    assert asked_again[2]["content"] == '{"n": "five"}'
    assert "n: 'five' is no whole number" in asked_again[3]["content"]
    again = frame()
    again.llm.extract("review", {"n": int})
    assert again["n"].tolist() == [5] * 6
    assert lane.ledger.billed == 11
    assert llmframe.last_run().failed == 0


def test_by_batch_the_answers_that_do_not_fit_are_one_further_batch(llm, swift):
    llm.answer = right_when_asked_again
    df = frame()
    df.llm.extract("review", {"n": int}, mode="batch")
    assert df["n"].tolist() == [5] * 6
    assert llm.ledger.batches_created == 2


def test_what_never_fits_is_that_rows_failure_and_costs_no_other(lane):
    lane.answer = lambda body: json.dumps({"n": "x" if text_of(body) == "Review 3" else 5})
    df = frame()
    with pytest.raises(llmframe.CompletionError, match="1 of 6 rows failed") as caught:
        df.llm.extract("review", {"n": int}, error_into="why")
    assert df["n"].tolist() == [5, 5, 5, pd.NA, 5, 5]
    assert df["why"].notna().tolist() == [False] * 3 + [True] + [False] * 2
    assert df["why"][3].startswith("schema: ")
    (failure,) = caught.value.run.failures.itertuples()
    assert (failure.position, failure.code, failure.raw) == (3, "schema", '{"n": "x"}')
    assert lane.ledger.billed == 7


def test_a_run_tells_which_rows_were_asked_again_and_why(lane, capsys):
    """Whatever became of them, each row of a duplicate too; the closing line counts what this run asked again."""

    def answer(body):
        row, asked_again = text_of(body), len(body["messages"]) > 2
        good = row == "Review 0" or (asked_again and row == "Review 1")
        return json.dumps({"n": 5 if good else ["x", "y"][asked_again]})

    lane.answer = answer
    df = pd.concat([frame(3), frame(2)]).set_axis(list("pqrst"))
    with pytest.raises(llmframe.CompletionError):
        df.llm.extract("review", {"n": int}, progress=True)
    run = llmframe.last_run()
    assert list(run.reasked) == ["position", "label", "code", "message", "attempts", "raw"]
    assert run.reasked[["position", "label", "code", "raw"]].to_numpy().tolist() == [
        [1, "q", "schema", '{"n": "x"}'],
        [2, "r", "schema", '{"n": "x"}'],
        [4, "t", "schema", '{"n": "x"}'],
    ]
    assert run.reasked["message"].str.contains("n: 'x' is no whole number").all()
    assert run.failures["raw"].tolist() == ['{"n": "y"}']
    assert "1 failed · 3 rows asked again · " in capsys.readouterr().err
    assert "3 rows" in run._repr_html_().partition("asked again")[2]
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(run)).reasked, run.reasked)
    with pytest.raises(llmframe.CompletionError):
        df.llm.extract("review", {"n": int}, mode="offline")
    again = llmframe.last_run()
    assert again.reasked.drop(columns="attempts").equals(run.reasked.drop(columns="attempts"))
    assert "asked again" not in repr(again)


def test_retry_failed_asks_for_what_has_no_answer_after_its_correction_either(lane):
    """A row whose second answer fits is not paid again; a row that failed is asked with its correction once more."""
    lane.answer = lambda body: (
        json.dumps({"n": "x"}) if text_of(body) == "Review 3" else right_when_asked_again(body)
    )
    with pytest.raises(llmframe.CompletionError, match="1 of 6 rows failed"):
        frame().llm.extract("review", {"n": int})
    assert lane.ledger.billed == 11
    lane.answer = lambda _: json.dumps({"n": 5})
    df = frame()
    df.llm.extract("review", {"n": int}, retry_failed=True)
    assert df["n"].tolist() == [5] * 6
    assert lane.ledger.billed == 12


def test_where_all_fit_nothing_was_asked_again(llm):
    llm.answer = lambda _: json.dumps({"n": 5})
    frame().llm.extract("review", {"n": int})
    assert llmframe.last_run().reasked.empty
    assert llmframe.last_run().reasked.columns[-1] == "raw"
    frame().llm.complete("review")
    assert llmframe.last_run().reasked.empty


@pytest.mark.parametrize(("reask", "billed"), [(0, 6), (2, 16)])
def test_it_is_asked_again_at_most_so_often(llm, reask, billed):
    llm.answer = right_once
    with pytest.raises(llmframe.CompletionError, match="not_json"):
        frame().llm.extract("review", {"n": int}, reask=reask)
    assert llm.ledger.billed == billed


def test_failed_rows_are_retried_and_those_that_a_second_answer_mended_are_not(lane):
    """A row that failed is asked once: for the answer that it failed by."""
    lane.answer = lambda body: (
        json.dumps({"n": "x" if text_of(body) == "Review 3" else 5})
        if len(body["messages"]) > 2 or text_of(body) == "Review 0"
        else "no"
    )
    with pytest.raises(llmframe.CompletionError, match="1 of 6 rows failed"):
        frame().llm.extract("review", {"n": int})
    assert lane.ledger.billed == 11
    lane.answer = lambda _: json.dumps({"n": 6})
    df = frame()
    df.llm.extract("review", {"n": int}, retry_failed=True)
    assert df["n"].tolist() == [5, 5, 5, 6, 5, 5]
    assert lane.ledger.billed == 12


def test_offline_a_row_whose_second_answer_is_not_there_keeps_its_first_failure(llm):
    llm.answer = right_once
    with pytest.raises(llmframe.CompletionError):
        frame().llm.extract("review", {"n": int}, reask=0)
    with pytest.raises(llmframe.CompletionError) as caught:
        frame().llm.extract("review", {"n": int}, mode="offline")
    assert caught.value.run.reasked.empty
    assert set(caught.value.run.failures["code"]) == {"not_json"}
    assert llm.ledger.billed == 6


def test_a_refusal_and_a_cut_answer_are_not_asked_again(llm):
    llm.faults = [
        Fault("refusal", when="Review 1"),
        Fault(Reply(message={"content": '{"n": 1'}, choice={"finish_reason": "length"}), when="Review 2"),
    ]
    llm.answer = lambda _: json.dumps({"n": 5})
    with pytest.raises(llmframe.CompletionError) as caught:
        frame(4).llm.extract("review", {"n": int})
    assert caught.value.run.failures["code"].tolist() == ["refusal", "truncated"]
    assert llm.ledger.billed == 4


def test_an_interrupted_run_keeps_the_failures_that_it_wanted_to_mend(llm):
    """The key is withdrawn after the first answers."""
    llm.answer = lambda _: "no"
    llm.faults = [Fault("invalid_api_key", after=6)]
    with pytest.raises(llmframe.StoppedError) as caught:
        frame().llm.extract("review", {"n": int})
    assert caught.value.run.failures["code"].tolist() == ["not_json"] * 6


class Part(BaseModel):
    name: str
    broken: bool


def test_nested_objects_are_columns_of_their_own_and_a_prefix_goes_before_all(llm):
    llm.answer = lambda _: json.dumps({"part": {"name": "hinge", "broken": True}})
    df = frame(1)
    df.llm.extract("review", {"part": Part}, prefix="p_")
    assert df.iloc[0, 1:].to_dict() == {"p_part.name": "hinge", "p_part.broken": True}


def test_missing_cells_are_filled_and_others_are_left(llm):
    llm.answer = lambda _: json.dumps({"a": 1, "b": 2})
    df = frame(3).assign(a=pd.array([7, None, 8], dtype="Int64"))
    df.llm.extract("review", {"a": int, "b": int}, overwrite="missing")
    assert df["a"].tolist() == [7, 1, 8]
    assert df["b"].tolist() == [2, 2, 2]
    assert df.dtypes.astype(str).tolist() == ["str", "Int64", "Int64"]


def test_a_series_and_a_list_give_a_frame(llm):
    series = pd.Series(["a", None], index=["x", "y"], name="text")
    made = series.llm.extract(SCHEMA)
    assert made.index.tolist() == ["x", "y"]
    assert made.dtypes.astype(str).tolist() == DTYPES
    listed = llmframe.extract(["a", None], SCHEMA)
    assert listed.dtypes.astype(str).tolist() == DTYPES
    assert listed.iloc[0].tolist() == made.iloc[0].tolist() or listed.iloc[0].isna().any()
    assert asyncio.run(llmframe.aextract(["a"], SCHEMA)).shape == (1, 4)
    assert asyncio.run(series.llm.aextract(SCHEMA)).shape == (2, 4)


def test_in_the_background_it_writes_all_columns(llm):
    df = frame()
    run = df.llm.extract("review", SCHEMA, wait=False)
    assert run.result(60) is df
    assert list(df)[1:] == list(SCHEMA)


def test_an_empty_frame_gets_the_columns_too(llm):
    df = frame(0)
    df.llm.extract("review", SCHEMA)
    assert df[list(SCHEMA)].dtypes.astype(str).tolist() == DTYPES
    assert llm.ledger.requests == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"schema": {"review": str}}, "prefix: 'review' is read for the prompts"),
        (
            {"schema": ["taken"]},
            "prefix: the column 'taken' is already there .* write elsewhere with prefix=",
        ),
        ({"schema": ["a"], "reask": -1}, "reask must be a whole number"),
        ({"schema": ["a"], "response_format": {"type": "json_object"}}, "response_format: extract asks"),
        (
            {"schema": ["a"], "extra_body": {"response_format": {"type": "text"}}},
            "response_format: extract asks",
        ),
        ({"schema": ["a"], "prefix": True}, "prefix must be text, such as 'review_'; got True"),
        ({"schema": "a"}, r"schema must be .* write \['a'\]"),
        ({"schema": {"a": dict[str, int]}}, "schema: a: "),
        ({"schema": ["a"], "error_into": "a"}, "error_into and prefix are both 'a'"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(llm, arguments, said):
    df = frame().assign(taken=1)
    with pytest.raises((TypeError, ValueError), match=said):
        df.llm.extract("review", **arguments)
    assert llm.ledger.requests == 0
    assert list(df) == ["review", "taken"]


@pytest.mark.parametrize(
    ("arguments", "effort"),
    [
        ({"base_url": "https://api.openai.com/v1"}, "none"),
        ({"base_url": "https://api.openai.com/v1", "reasoning_effort": "high"}, "high"),
        ({"base_url": "https://api.openai.com/v1", "model": "gpt-7"}, None),
        ({}, None),
    ],
)
def test_it_reasons_as_little_as_it_can_on_openais_own_address(llm, arguments, effort):
    with pytest.raises(llmframe.CompletionError, match="not_in_journal"):
        frame(1).llm.extract("review", ["a"], mode="offline", **arguments)
    assert llmframe.last_run()._plan.recipes[0].params.get("reasoning_effort") == effort


def test_fields_that_may_be_invented_are_named_once(llm, capsys):
    df = frame(1)
    df.llm.extract("review", Part, progress=True)
    said = capsys.readouterr().err
    assert said.count("name, broken may not be null in this schema") == 1


def test_message_arrays_keep_their_own_system_message(lane):
    messages = [{"role": "system", "content": "Be strict."}, {"role": "user", "content": "Battery: 5 hours."}]
    df = pd.DataFrame({"chat": [messages]})
    df.llm.extract("chat", {"battery_hours": float})
    assert str(df["battery_hours"].dtype) == "float64"
    assert llmframe.last_run().answered == 1


def test_dtypes_come_back_from_a_csv_by_one_line(llm, tmp_path):
    schema = SCHEMA | {"works": bool, "bought": date, "returned": datetime, "stars": Literal[1, 2]}
    values = {
        "battery_hours": 2.5,
        "rating": 3,
        "works": True,
        "bought": "2026-01-02",
        "returned": "2026-01-02T03:04:05",
    }
    llm.answer = lambda _: json.dumps({"complaint": None, "tone": "calm", "stars": 2} | values)
    df = pd.DataFrame({"review": ["It works", None]}).llm.extract("review", schema)
    df.llm.to_csv(tmp_path / "df.csv", index=False)
    kept = {name: dtype for name, dtype in df.dtypes.items() if dtype != object}  # noqa: E721 (as the README writes it)
    pd.testing.assert_frame_equal(llmframe.read_csv(tmp_path / "df.csv").astype(kept), df)
