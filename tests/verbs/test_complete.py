"""What `complete` takes and returns over frames, Series and lists, in both lanes."""

from __future__ import annotations

import asyncio

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from helpers import MODEL, answer

import llmframe


def test_what_was_tried_on_the_head_is_not_paid_again_on_the_whole(llm, lane):
    """The rows may come in another order."""
    df = pd.DataFrame({"review": [f"review {i}" for i in range(50)]})
    question = "One word, positive or negative: {review}"
    head = df.head(20).llm.complete("review", question, into="sentiment")
    assert llm.ledger.billed == 20
    df.llm.complete("review", question, into="sentiment")
    assert llm.ledger.billed == 50
    assert df["sentiment"].head(20).tolist() == head["sentiment"].tolist()
    shuffled = df.sample(frac=1, random_state=1)
    shuffled.llm.complete("review", question, into="sentiment", overwrite=True)
    pd.testing.assert_frame_equal(shuffled.sort_index(), df)
    assert llm.ledger.billed == 50


def test_the_default_names_of_the_new_columns(llm, lane):
    df = pd.DataFrame({"review": ["x"]})
    df.llm.complete("review").llm.complete(prompt="{review}")
    assert list(df) == ["review", "review_completion", "completion"]
    assert df["review"].llm.complete().name == "review_completion"
    assert df["review"].rename(None).llm.complete().name == "completion"


def test_a_series_is_left_alone(llm, lane):
    cells = pd.Series(["x", None], name="a")
    before = cells.copy()
    answers = cells.llm.complete("Say")
    pd.testing.assert_series_equal(cells, before)
    assert cells.attrs == {}
    assert answers.isna().tolist() == [False, True]


@pytest.mark.parametrize("name", ["a", ("a", "b"), 5, None])
def test_a_series_of_any_name_can_be_asked(name, llm, lane):
    assert pd.Series(["x"], name=name).llm.complete("Say {}").tolist() == [answer("Say x")]


def test_series_verbs_work_in_column_expressions_and_chains(llm, lane):
    df = (
        pd.DataFrame({"review": ["x", "y"], "n": [1, 2]})
        .assign(said=pd.col("review").llm.complete("Say"))
        .query("n > 1")
        .llm.complete("review", "Shout", into="shouted")
        .rename(columns=str.upper)
    )
    assert df[["SAID", "SHOUTED"]].to_numpy().tolist() == [[answer("Say\n\ny"), answer("Shout\n\ny")]]


@pytest.mark.parametrize("container", [list, tuple, iter, pd.Series, np.array, lambda x: (i for i in x)])
def test_plain_prompts_may_come_in_any_iterable_and_are_answered_in_order(container, llm, lane):
    assert llmframe.complete(container(["x", "y", "x"])) == [answer("x"), answer("y"), answer("x")]


def test_plain_prompts_are_texts_and_message_arrays_also_mixed(llm, lane):
    turns = [{"role": "user", "content": "y"}]
    assert llmframe.complete(["x", turns, tuple(turns), None, ""]) == [
        answer("x"),
        answer("y"),
        answer("y"),
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("prompts", "shown"),
    [
        ("Hello", "complete(['Hello'])"),
        ([{"role": "user", "content": "x"}], "complete([messages])"),
        (({"role": "user", "content": "x"},), "complete([messages])"),
        (np.array([{"role": "user", "content": "x"}], dtype=object), "complete([messages])"),
        ({"role": "user", "content": "x"}, "complete([[message]])"),
        (iter([{"role": "user", "content": "x"}]), "complete([messages])"),
        ({"a": "x", "b": "y"}, "complete(list(prompts.values()))"),
        ([{"text": "x"}, {"text": "y"}], "pd.DataFrame(prompts).llm.complete('text')"),
    ],
)
def test_a_single_prompt_is_an_error_that_shows_the_list(prompts, shown):
    with pytest.raises(TypeError, match=r"^prompts must be a list") as error:
        llmframe.complete(prompts)
    assert shown in str(error.value)


class ForeignFrame:
    """A frame of another library: iterating over it gives its columns, or their names."""

    columns = ("text",)

    def __iter__(self):
        return iter([["x", "y"]])


class LazyColumn:
    """A column of a library that computes later."""

    def __dask_graph__(self):
        raise AssertionError("computed")

    def __iter__(self):
        raise AssertionError("computed")


class Endless:
    """An expression, as pandas' `col` was at first: there is an item for every number, and no length."""

    def __getitem__(self, number):
        assert number < 100
        return "x"


MISTAKEN = [
    (Endless(), "a Endless"),
    (5, "a int"),
    (None, "a NoneType"),
    (b"text", "a bytes"),
    (bytearray(b"text"), "a bytearray"),
    (memoryview(b"text"), "a memoryview"),
    (np.array("x"), "a ndarray"),
    (pd.col("text"), "a Expression"),
    ({"x", "y"}, "a set, which has no order: pass a list"),
    (frozenset("xy"), "a frozenset, which has no order: pass a list"),
    (pd.DataFrame({"a": ["x"]}), r"a DataFrame, which has columns: .*\.to_list\(\).*\.to_pandas\(\)"),
    (pa.table({"a": ["x"]}), r"a Table, which has columns: .*\.to_list\(\).*\.to_pandas\(\)"),
    (pa.RecordBatch.from_pydict({"a": ["x"]}), "a RecordBatch, which has columns"),
    (np.array([(1, "x")], dtype=[("n", int), ("text", "U1")]), "a ndarray, which has columns"),
    (ForeignFrame(), r"a ForeignFrame, which has columns: .*\.to_list\(\).*\.to_pandas\(\)"),
    (LazyColumn(), r"a LazyColumn, which is not computed yet: .*\.compute\(\)"),
]


@pytest.mark.parametrize(("prompts", "said"), MISTAKEN, ids=lambda value: type(value).__name__)
def test_what_is_no_list_of_prompts_is_an_error_that_says_what_to_pass(prompts, said):
    with pytest.raises(TypeError, match=rf"^prompts must be a list of texts or message arrays; got {said}"):
        llmframe.complete(prompts)


class ForeignColumn:
    """A column of another library: its cells are columns too, and its own list holds plain values."""

    def __init__(self, values):
        self._values = values

    def __iter__(self):
        return map(ForeignColumn, self._values)

    def to_list(self):
        return self._values


@pytest.mark.parametrize("container", [pa.array, lambda values: pa.chunked_array([values]), ForeignColumn])
def test_columns_of_other_libraries_are_lists_of_their_values(container, llm):
    """Their missing values are missing, and message arrays in them are message arrays."""
    turns = [[{"role": "user", "content": "x"}], None]
    assert llmframe.complete(container(turns)) == [answer("x"), None]
    assert llmframe.complete(container(["x", None])) == [answer("x"), None]
    df = pd.DataFrame({"a": ["x", "y"]}).llm.complete("a", where=container([True, None]))
    assert df["a_completion"].notna().tolist() == [True, False]


def test_the_await_twins_do_the_same(llm, lane):
    async def all_three():
        df = pd.DataFrame({"a": ["x", None]})
        assert await df.llm.acomplete("a", "Say", into="b") is df
        return df["b"], await df["a"].llm.acomplete("Say"), await llmframe.acomplete(["Say\n\nx", None])

    column, series, values = asyncio.run(all_three())
    assert [column[0], series[0], values[0]] == [answer("Say\n\nx")] * 3
    assert column.isna().tolist() == series.isna().tolist() == [False, True]
    assert values[1] is None
    assert llm.ledger.billed == 1


@pytest.mark.parametrize("wait", ["no", 0, None])
def test_a_bad_wait_is_an_error(wait):
    with pytest.raises(TypeError, match=r"^wait must be True or False"):
        llmframe.complete(["x"], wait=wait, model=MODEL, mode="offline")


def test_offline_sends_nothing_and_answers_from_the_journal(llm, lane):
    df = pd.DataFrame({"a": ["x", "y"]})
    df.head(1).llm.complete("a")
    llmframe.options.api_key = None
    with pytest.raises(llmframe.CompletionError, match=r"1 × not_in_journal") as error:  # noqa: RUF001
        df.llm.complete("a", mode="offline")
    assert error.value.result["a_completion"].notna().tolist() == [True, False]
    assert llm.ledger.billed == 1


def test_a_key_is_needed_only_when_something_must_be_sent(llm, lane):
    llmframe.complete(["x"])
    llmframe.options.api_key = None
    assert llmframe.complete(["x", None]) == [answer("x"), None]
    with pytest.raises(llmframe.StoppedError, match="OPENAI_API_KEY") as error:
        llmframe.complete(["x", "y"])
    assert error.value.result == [answer("x"), None]
    assert llm.ledger.billed == 1


def test_fresh_asks_again_and_version_asks_anew_once(llm, lane):
    llmframe.complete(["x"])
    llmframe.complete(["x"], fresh=True)
    assert llm.ledger.billed == 2
    for _ in range(2):
        llmframe.complete(["x"], version="v2")
    assert llm.ledger.billed == 3


def test_without_a_journal_every_call_asks(llm):
    for _ in range(2):
        llmframe.complete(["x"], journal=False)
    assert llm.ledger.billed == 2


def test_verbs_refuse_keywords_of_other_verbs(llm, lane):
    with pytest.raises(TypeError, match=r"'into'; this verb does not take it; df\.llm\.complete does"):
        pd.Series(["x"]).llm.complete("Say", into="b")
    with pytest.raises(TypeError, match="'where'; this verb does not take it"):
        llmframe.complete(["x"], where=[True])
