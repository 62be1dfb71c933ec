"""Duplicates and missing cells: which rows become which requests, before anything is sent."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import re
from collections import Counter
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from columns.plans import IMAGE, SCHEMA, TURNS, bodies, key, plan_of
from hypothesis import given
from hypothesis import strategies as st

import llmframe
from llmframe._columns import Context
from llmframe._verbs import complete_series


def test_identical_rows_are_one_request(llm):
    df = pd.DataFrame({"a": ["x", "y", "x", "x", "y"]})
    df.llm.complete("a", "Say")
    run = llmframe.last_run()
    assert (llm.ledger.requests, run.distinct, run.answered) == (2, 2, 5)
    assert df["a_completion"].nunique() == 2


def test_with_dedupe_false_every_duplicate_is_asked_and_a_rerun_asks_none(llm):
    df = pd.DataFrame({"a": ["x", "x", "y"]})
    df.llm.complete("a", "Say", dedupe=False)
    assert llm.ledger.requests == 3
    df.llm.complete("a", "Say", dedupe=False)
    assert llm.ledger.requests == 3
    df.llm.complete("a", "Say")
    assert llm.ledger.requests == 3, "the first draw answers the plain call"


def test_static_text_comes_first_and_the_rows_own_last():
    df = pd.DataFrame({"a": ["ROW"]})
    plan = plan_of(df, "a", "INSTRUCTION", system="SYSTEM", temperature=0, response_format=SCHEMA)
    (request,) = plan.requests([0])
    places = [request.body.index(part) for part in (b"json_schema", b"SYSTEM", b"INSTRUCTION", b"ROW")]
    assert places == sorted(places)


MISSING = [None, float("nan"), pd.NA, pd.NaT, np.float32("nan"), np.datetime64("NaT", "ns"), Decimal("NaN")]


@pytest.mark.parametrize("prompt", [None, "Instruction", "{a}", "{a} and {b}", "{b} alone"])
def test_no_row_with_a_missing_cell_is_ever_sent(prompt, llm):
    df = pd.DataFrame({"a": pd.Series(["x", *MISSING], dtype=object), "b": "y"})
    df.llm.complete("a", prompt)
    assert llm.ledger.requests == 1
    assert not re.search("nan|nat|none|<na>|null", str(llm.ledger.bodies), re.IGNORECASE)
    assert llmframe.last_run().skipped == {"a": len(MISSING)}
    assert df["a_completion"].isna().tolist() == [False] + [True] * len(MISSING)


@pytest.mark.parametrize("column", ["a", None])
def test_a_row_with_a_blank_text_is_not_sent(column, llm):
    blank = ["", " ", "\n\t ", "\u00a0", "\u3000"]
    df = pd.DataFrame({"a": ["x", *blank]})
    df.llm.complete(column, "Say {a}", into="b")
    assert llm.ledger.requests == 1
    assert llmframe.last_run().skipped == {"a": len(blank)}


def test_a_blank_beside_text_is_sent(llm):
    df = pd.DataFrame({"title": ["", ""], "body": ["x", " "]})
    df.llm.complete(prompt="{title}: {body}", into="y")
    assert [body["messages"][0]["content"] for body in llm.ledger.bodies] == [": x"]


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1.5, None]),
        pd.Series([1, None], dtype="Int64"),
        pd.Series([True, None], dtype="boolean"),
        pd.Series(["x", None], dtype="category"),
        pd.Series(pd.to_datetime(["2024-01-01", None])),
        pd.Series(pd.to_timedelta([1, None])),
        pd.Series(["x", None], dtype="string"),
        pd.Series(pd.PeriodIndex(["2024-01", None], freq="M")),
    ],
    ids=lambda series: str(series.dtype),
)
def test_missing_is_missing_in_every_kind_of_column(column, llm):
    df = pd.DataFrame({"a": column, "b": ["y", "z"]})
    df.llm.complete(prompt="{a} {b}", into="c")
    assert llm.ledger.requests == 1
    assert llmframe.last_run().skipped == {"a": 1}
    assert df["c"].isna().tolist() == [False, True]


def test_rows_that_are_not_sent_are_counted_by_column_in_the_closing_line(llm, capsys):
    df = pd.DataFrame({"a": ["x", None, " ", "y", "z"], "b": ["1", "2", "3", None, "5"]})
    df.llm.complete("a", "{a} {b}", progress=True)
    assert llmframe.last_run().skipped == {"a": 2, "b": 1}
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "answered" in line]
    assert "2 rows answered, 3 not sent (a missing or blank in 2, b missing in 1)" in line


def test_rows_outside_where_are_not_counted_as_skipped(llm):
    df = pd.DataFrame({"a": ["x", None, "y"]})
    df.llm.complete("a", where=[True, False, True])
    run = llmframe.last_run()
    assert (run.rows, run.skipped, run.answered) == (2, {}, 2)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["x", "y", "", " ", None, float("nan"), pd.NA, pd.NaT]),
            st.sampled_from(["p", "q", None, pd.NA]),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_every_row_is_asked_skipped_or_left_out_and_counted_once(rows):
    frame = pd.DataFrame(rows, columns=["a", "b", "asked"], dtype=object)
    plan = plan_of(frame, "a", "{b}: {a}", where=frame["asked"].astype(bool).to_numpy())
    expected, skipped = [], Counter()
    for a, b, asked in rows:
        if asked and pd.isna(a):
            skipped["a"] += 1
        elif asked and pd.isna(b):
            skipped["b"] += 1
        elif asked and not a.strip():
            skipped["a"] += 1
        expected.append(f"{b}: {a}" if asked and not pd.isna(a) and not pd.isna(b) and a.strip() else None)
    sent = [body["messages"][0]["content"] for body in bodies(plan)]
    assert [None if code < 0 else sent[code] for code in plan.codes] == expected
    assert plan.skipped == skipped
    assert len(set(sent)) == len(sent)
    for position, (text, (*_, asked)) in enumerate(zip(expected, rows, strict=True)):
        assert (plan.skipped_for(position) is not None) == (asked and text is None)


HOSTILE = {
    "dict": {"role": "user"},
    "bytes": b"text",
    "bytearray": bytearray(b"text"),
    "lone surrogate": "a\ud800b",
    "nan in messages": [{"role": "user", "content": float("nan")}],
    "infinity in messages": [{"role": "user", "content": [{"type": "text", "x": float("inf")}]}],
    "date in messages": [{"role": "user", "content": dt.date(2024, 1, 1)}],
    "numpy date in messages": [{"role": "user", "content": np.datetime64("2024-01-01", "ns")}],
    "bytes in messages": [{"role": "user", "content": b"x"}],
    "surrogate in messages": [{"role": "user", "content": "\udfff"}],
    "number as key": [{"role": "user", 5: "x"}],
    "a huge number": [{"role": "user", "content": 10**30}],
    "no role": [{"content": "x"}],
    "an empty list": [],
    "a list of texts": ["a", "b"],
    "an array of numbers": np.array([1.0, 2.0]),
    "an array without shape": np.array(5),
    "a square array": np.array([[{"role": "user"}]], dtype=object),
    "a list in a list": [[{"role": "user", "content": "x"}]],
    "half messages": [{"role": "user", "content": "x"}, "y"],
}


def _endless():
    message = {"role": "user"}
    message["content"] = [message]
    return [message]


HOSTILE["endless"] = _endless()


@pytest.mark.parametrize("what", HOSTILE)
def test_one_hostile_cell_is_refused_alone(what):
    df = pd.DataFrame({"a": pd.Series(["before", HOSTILE[what], "after"], dtype=object)})
    plan = plan_of(df, "a")
    assert plan.codes.tolist() == [0, -1, 1]
    assert plan.refused[1].code == "invalid_prompt"


def test_hostile_cells_cost_the_others_nothing(llm):
    df = pd.DataFrame({"a": pd.Series(["before", *HOSTILE.values(), "after"], dtype=object)})
    with pytest.warns(llmframe.CompletionWarning, match=f"{len(HOSTILE)} × invalid_prompt"):  # noqa: RUF001
        df.llm.complete("a", errors="coerce", error_into="why")
    assert df["a_completion"].notna().tolist() == [True, *[False] * len(HOSTILE), True]
    assert df["why"].str.startswith("invalid_prompt: ").sum() == len(HOSTILE)
    assert llm.ledger.requests == 2


@pytest.mark.parametrize("what", [b"x", bytearray(b"x"), memoryview(b"x")])
def test_bytes_are_never_put_into_a_template(what):
    plan = plan_of(pd.DataFrame({"a": [what]}, dtype=object), None, "{a}")
    assert plan.refused[0].message == "the cell of {a} holds bytes; decode them to text first"


@pytest.mark.parametrize("text", ["a" * 2**20, "\x00\x01\x1f\x7f", "\u2028\ufeff\U0010ffff", "\\\"'\r\n"])
def test_strange_texts_arrive_as_they_are(text, llm):
    df = pd.DataFrame({"a": [text]})
    df.llm.complete("a")
    assert [body["messages"][0]["content"] for body in llm.ledger.bodies] == [text]


@pytest.mark.parametrize("kind", [list, tuple, lambda turns: np.array(turns, dtype=object)])
def test_message_arrays_may_be_lists_tuples_and_arrays(kind, llm):
    cells = pd.Series([kind(TURNS), kind(IMAGE), "Hi"], dtype=object)
    pd.DataFrame({"m": cells}).llm.complete("m", max_concurrency=1)
    assert [body["messages"] for body in llm.ledger.bodies] == [
        TURNS,
        IMAGE,
        [{"role": "user", "content": "Hi"}],
    ]


def test_text_in_messages_and_numbers_in_parameters_may_be_numpys(llm):
    message = {"role": "user", "content": [{"type": "text", "text": np.str_("x")}]}
    df = pd.DataFrame({"m": [[message]]})
    df.llm.complete("m", temperature=np.float64(0.5), max_completion_tokens=np.int64(50), into="y")
    (body,) = llm.ledger.bodies
    assert (body["temperature"], body["max_completion_tokens"]) == (0.5, 50)


def test_requests_are_what_was_planned_though_cells_change_meanwhile(server):
    llmframe.options.base_url, llmframe.options.api_key = server.base_url, "any"
    message = {"role": "user", "content": "as planned"}
    df = pd.DataFrame({"m": [[message]]})
    plan = plan_of(df, "m")
    message["content"] = "changed"
    assert [body["messages"] for body in bodies(plan)] == [[{"role": "user", "content": "as planned"}]]


def test_a_plan_notices_that_its_inputs_have_changed():
    df = pd.DataFrame({"a": ["x", "y"], "other": [1, 2]})
    plan = plan_of(df, "a", "Say")
    assert plan.same_inputs({"a": df["a"]})
    assert plan.same_inputs({"a": df["a"].astype(object)}), "another dtype asks the same"
    df["other"] = [5, 6]
    assert plan.same_inputs({"a": df["a"]})
    df.loc[1, "a"] = "z"
    assert not plan.same_inputs({"a": df["a"]})
    assert not plan.same_inputs({"a": df["a"].head(1)})


def test_a_series_is_planned_as_its_frame():
    cells = pd.Series(["x", "y"], name="a")
    settings = {"model": "m", "mode": "offline"}
    of_series = complete_series(cells, settings, prompt="Say {a}", where=None).run._plan
    assert of_series.keys == plan_of(cells.to_frame(), "a", "Say {a}", **settings).keys


def test_each_draw_is_asked_with_its_own_task():
    df = pd.DataFrame({"a": ["x", "y"]})
    plan = plan_of(df, "a")
    recipes = [replace(plan.recipes[0], draw=draw) for draw in range(2)]
    asked = plan.asked_as(recipes, plan.spec, Context("First.", further_tasks=("Second.",)))
    said = [[message["content"] for message in body["messages"]] for body in bodies(asked)]
    assert said == [["First.", "x"], ["Second.", "x"], ["First.", "y"], ["Second.", "y"]]
    alike = plan.asked_as(recipes, plan.spec, Context("Second."))
    assert alike.keys[1::2] == asked.keys[1::2]
    assert len({*alike.keys, *asked.keys}) == 6


def test_a_part_of_a_plan_has_its_requests_each_for_its_first_row():
    """Also of duplicates with a draw of their own, and of prompts that were made once."""
    df = pd.DataFrame({"a": ["x", "y", "x", None, "z"]})
    for prompt, settings in ((None, {}), (None, {"dedupe": False}), (lambda row: row["a"], {})):
        plan = (
            plan_of(df, "a", prompt, **settings) if prompt is None else plan_of(df, None, prompt, **settings)
        )
        numbers = list(range(1, plan.distinct))
        part = plan.part(numbers)
        assert part.keys == plan.keys[1:]
        assert bodies(part) == bodies(plan)[1:]
        assert part.selected.tolist() == [at in plan.first[1:] for at in range(5)]
        assert part.codes[plan.first[1:]].tolist() == list(range(len(numbers)))
        assert part.all_keys == plan.keys
        assert part.is_part
        assert not plan.is_part


def test_a_part_of_a_plan_keeps_each_rows_request():
    df = pd.DataFrame({"a": ["x", "x", None, "y", "x"]})
    for settings in ({}, {"dedupe": False}):
        plan = plan_of(df, "a", **settings)
        part = plan.limited(np.array([False, True, True, False, True]))
        for row in (1, 4):
            assert part.keys[part.codes[row]] == plan.keys[plan.codes[row]]
        assert [body["messages"][0]["content"] for body in bodies(part)] == ["x"] * part.distinct
        assert (part.codes[[0, 3]] == -1).all()
        assert (part.skipped_for(2), part.skipped["a"]) == ("a", 1)
    assert part.distinct == 2


def test_planning_many_rows_keeps_their_order_across_chunks():
    chance = random.Random(5)
    texts = [f"text {chance.randrange(6000)}" for _ in range(10_000)]
    plan = plan_of(pd.DataFrame({"a": texts}), "a")
    distinct = list(dict.fromkeys(texts))
    assert [body["messages"][0]["content"] for body in bodies(plan)] == distinct
    assert [distinct[code] for code in plan.codes] == texts


def test_planning_from_a_running_loop_needs_no_loop():
    async def inside():
        return key()

    assert asyncio.run(inside()) == key()
