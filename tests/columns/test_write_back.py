"""Answers back into columns: by position, into the right rows, with the right dtype."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from columns.frames import HERE, TEXT, failures_allowed, listed
from helpers import MODEL, answer, body
from hypothesis import given, settings
from hypothesis import strategies as st

import llmframe
from llmframe._columns import comparable
from llmframe.testing import made_up_answer

SAME = [
    ([1, None], pd.array([1, None], dtype="Int64")),
    ([True, None], pd.array([True, None], dtype="boolean")),
    (["a", None], pd.Categorical(["a", None], ["a", "b"])),
    ([[1, 2], None], [np.array([1.0, 2.0]), None]),
    ([{"a": 1}, None], [{"a": 1.0, "b": None}, None]),
    ([Decimal("1.5"), None], [Decimal("1.50"), None]),
    ([date(2026, 1, 31), None], [pd.Timestamp("2026-01-31"), pd.NaT]),
    (
        [datetime(2026, 1, 31, 9, tzinfo=UTC), None],
        [pd.Timestamp("2026-01-31 10:00", tz="Europe/Berlin"), None],
    ),
]
OTHER = [([True], [1]), (["1"], [1]), ([[1]], [1]), (["a"], ["A"]), ([None], [""]), ([0], [False])]


@pytest.mark.parametrize(("cells", "stored"), SAME, ids=str)
def test_a_cell_is_equal_to_what_a_file_or_another_dtype_made_of_it(cells, stored):
    assert comparable(pd.Series(cells, dtype=object)) == comparable(pd.Series(stored))
    assert hash(tuple(comparable(pd.Series(cells, dtype=object)))) == hash(
        tuple(comparable(pd.Series(stored)))
    )


@pytest.mark.parametrize(("cells", "others"), OTHER, ids=str)
def test_cells_of_other_values_are_not_equal(cells, others):
    assert comparable(pd.Series(cells, dtype=object)) != comparable(pd.Series(others, dtype=object))


INDEXES = {
    "default": pd.RangeIndex(4),
    "duplicate": pd.Index([1, 1, 1, 0]),
    "unsorted": pd.Index([9, -3, 5, 0]),
    "text with missing": pd.Index(["b", None, "a", "b"]),
    "datetime": pd.to_datetime(["2024-02-01", "2024-01-01", "2024-01-01", "NaT"]),
    "categorical": pd.CategoricalIndex(["b", "a", "b", "c"]),
    "multi-level": pd.MultiIndex.from_tuples([("a", 2), ("a", 1), ("a", 2), ("b", 1)]),
    "interval": pd.interval_range(0, 4),
    "mixed": pd.Index([1, "a", None, (2, 3)], tupleize_cols=False),
}


@pytest.mark.parametrize("kind", INDEXES)
def test_answers_go_back_by_position_under_any_index(kind, shared):
    df = pd.DataFrame({"a": ["w", "x", "y", "z"]}, index=INDEXES[kind])
    expected = [answer(text) for text in "wxyz"]
    with llmframe.option_context(base_url=shared.base_url, **HERE):
        assert df.llm.complete("a") is df
        answers = df["a"].llm.complete()
    assert df["a_completion"].tolist() == expected
    assert answers.tolist() == expected
    assert answers.index.equals(INDEXES[kind])
    assert df.index.equals(INDEXES[kind])


_CELLS = st.sampled_from(["x", "y", "z", "{a}", "bad", "bad one", "", " ", None, "é\n", "0"])
_INDEX = st.sampled_from([0, 1, 1, "k", None, 2.5])


@st.composite
def _frames(draw):
    rows = draw(st.lists(st.tuples(_CELLS, _CELLS, _INDEX, st.booleans()), max_size=10))
    a, b, labels, asked = zip(*rows, strict=True) if rows else ((), (), (), ())
    kind = draw(st.sampled_from([object, "str", "category"]))
    frame = pd.DataFrame(
        {"a": pd.Series(a, dtype=kind), "b": pd.Series(b, dtype=object)},
        index=range(len(rows)),
    )
    frame.index = pd.Index(labels, dtype=object)
    return frame, np.array(asked, dtype=bool)


def _expected(a, b):
    """Return the row's own answer; `None` where it is not sent or fails."""
    if a is None or b is None or not a.strip() or "bad" in a + b:
        return None
    system = {"role": "system", "content": f"As {b}"}
    return made_up_answer({"model": MODEL, "messages": [system, *body(f"{b}: {a}")["messages"]]})


@settings(max_examples=50)
@given(_frames(), st.sampled_from(["frame", "series", "list"]))
def test_every_row_gets_the_answer_to_its_own_request_or_none(shared, drawn, shape):
    frame, asked = drawn
    before = frame.copy()
    a, b = listed(frame["a"]), listed(frame["b"])
    with llmframe.option_context(base_url=shared.base_url, errors="coerce", **HERE), failures_allowed():
        if shape == "frame":
            frame.llm.complete("a", "{b}: {a}", system="As {b}", into="c", where=asked, error_into="why")
            got = listed(frame["c"])
            expected = [_expected(*cells) if ask else None for *cells, ask in zip(a, b, asked, strict=True)]
            reasons = frame.pop("why").notna().tolist()
            assert reasons == [
                bool(ask and value is None) for ask, value in zip(asked, expected, strict=True)
            ]
            assert frame.pop("c").dtype == TEXT
        elif shape == "series":
            result = frame["a"].llm.complete("{a}", where=asked)
            got = listed(result)
            expected = [
                answer(text) if ask and text and text.strip() and "bad" not in text else None
                for text, ask in zip(a, asked, strict=True)
            ]
            assert result.index.equals(before.index)
        else:
            got = llmframe.complete(a)
            expected = [answer(t) if t and t.strip() and "bad" not in t else None for t in a]
    assert got == expected
    pd.testing.assert_frame_equal(frame, before)


def test_rows_outside_where_keep_even_what_is_no_text(llm, lane):
    kept = [3, {"k": 1}, [1, 2], None, b"x"]
    df = pd.DataFrame({"a": list("vwxyz"), "c": pd.Series(kept, dtype=object)})
    df.llm.complete("a", into="c", overwrite=True, where=[False, False, False, True, False])
    assert df["c"].tolist() == [3, {"k": 1}, [1, 2], answer("y"), b"x"]
    assert df["c"].dtype == object
    df.llm.complete("a", into="c", where=[False, False, False, True, False])
    assert llm.ledger.billed == 1


def test_a_column_of_numbers_becomes_objects_and_keeps_its_numbers(llm, lane):
    df = pd.DataFrame({"a": ["x", "y"], "c": [1.5, None]})
    df.llm.complete("a", into="c", overwrite="missing")
    assert df["c"].tolist() == [1.5, answer("y")]


def test_an_all_missing_column_is_filled_as_text(llm, lane):
    df = pd.DataFrame({"a": ["x", "y"], "c": np.nan})
    df.llm.complete("a", into="c", overwrite="missing", where=[True, False])
    assert listed(df["c"]) == [answer("x"), None]
    assert df["c"].dtype == TEXT


@pytest.mark.parametrize("rows", [0, 1])
def test_frames_of_no_row_and_of_one(llm, lane, rows):
    df = pd.DataFrame({"a": ["x"] * rows, "b": [1] * rows})
    df.llm.complete("a", "Say", where=df["b"] == 1)
    assert df["a_completion"].tolist() == [answer("Say\n\nx")] * rows
    assert df["a_completion"].dtype == TEXT
    assert llmframe.complete(["x"] * rows) == [answer("x")] * rows
    assert len(df["a"].llm.complete()) == rows
    assert df.llm.complete(prompt=lambda row: row["a"], into="c", where=[True] * rows)["c"].notna().all()


def test_a_frame_without_columns_or_rows_is_asked_nothing(llm, lane):
    df = pd.DataFrame().llm.complete(prompt=lambda _: "x")
    assert list(df) == ["completion"]
    assert llm.ledger.requests == 0


@pytest.mark.parametrize(
    "values",
    [[None, None], ["", " "], [float("nan"), pd.NA]],
)
def test_text_has_pandas_own_dtype_also_when_all_is_missing(llm, lane, values):
    df = pd.DataFrame({"a": pd.Series(values, dtype=object)})
    df.llm.complete("a", error_into="why")
    assert df["a_completion"].dtype == TEXT
    assert df["a_completion"].isna().all()
    assert df["why"].tolist() == ["not sent: a is missing or blank"] * 2
    assert df["a"].llm.complete().dtype == TEXT


def test_slices_and_filters_of_other_frames_are_written_without_a_warning(llm, lane):
    df = pd.DataFrame({"a": ["x", "y", "z"], "n": [1, 2, 3]})
    filtered = df[df["n"] > 1]
    filtered.llm.complete("a", into="c")
    assert filtered["c"].tolist() == [answer("y"), answer("z")]
    df.iloc[::-1].llm.complete("a", into="c")
    df.loc[:, ["a"]].llm.complete("a", into="c")
    assert list(df) == ["a", "n"], "the other frame has no new column"


KINDS = {
    "str": pd.Series(["3", "4"]),
    "object": pd.Series(["3", "4"], dtype=object),
    "string": pd.Series(["3", "4"], dtype="string"),
    "categorical": pd.Series(["3", "4"], dtype="category"),
    "int64": pd.Series([3, 4]),
    "Int64": pd.Series([3, 4], dtype="Int64"),
    "uint8": pd.Series([3, 4], dtype="uint8"),
    "mixed": pd.Series(["3", 4], dtype=object),
    "categorical numbers": pd.Series([3, 4], dtype="category"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prompt", [None, "{a}"])
def test_columns_of_any_kind_may_be_asked(kind, prompt, shared):
    df = pd.DataFrame({"a": KINDS[kind]})
    with llmframe.option_context(base_url=shared.base_url, **HERE):
        df.llm.complete("a", prompt)
    assert df["a_completion"].tolist() == [answer("3"), answer("4")]


@pytest.mark.parametrize("dtype", ["string[pyarrow]", "large_string[pyarrow]", "int64[pyarrow]"])
def test_columns_backed_by_arrow_may_be_asked_and_filled(dtype, llm, lane):
    values = [3, None, 4] if "int" in dtype else ["3", None, "4"]
    df = pd.DataFrame({"a": pd.Series(values, dtype=dtype), "t": ["3", "5", "4"]})
    df.llm.complete("a", "{a}", into="c")
    assert listed(df["c"]) == [answer("3"), None, answer("4")]
    df["d"] = df["a"]
    df.llm.complete("t", into="d", overwrite="missing")
    assert df["d"].tolist() == [*values[:1], answer("5"), *values[2:]]
    df.llm.complete("t", into="d")


def test_duplicate_column_names_among_those_read_are_an_error_and_elsewhere_harmless(llm, lane):
    df = pd.DataFrame([["x", 1, 2]], columns=["a", "b", "b"])
    df.llm.complete("a", "{a}")
    assert df["a_completion"].tolist() == [answer("x")]
    for ask in (
        lambda: df.llm.complete("b"),
        lambda: df.llm.complete("a", "{b}", into="c"),
        lambda: df.llm.complete("a", lambda _: "x", into="c"),
        lambda: df.llm.complete("a", system="{b}", into="c"),
        lambda: df.llm.complete("a", into="b", overwrite=True),
        lambda: df.llm.complete("a", into="c", error_into="b", overwrite=True),
    ):
        with pytest.raises(ValueError, match="several columns named 'b'"):
            ask()


def test_frames_with_multi_level_columns(llm, lane):
    columns = pd.MultiIndex.from_tuples([("text", ""), ("n", "one"), ("n", "two")])
    df = pd.DataFrame([["x", 1, 2], ["y", 3, 4]], columns=columns)
    df.llm.complete("text", "{text} {('n', 'one')}")
    assert df[("text_completion", "")].tolist() == [answer("x 1"), answer("y 3")]
    df.llm.complete(("n", "two"), into=("n", "said"))
    assert df[("n", "said")].tolist() == [answer("2"), answer("4")]
    df.llm.complete("text", "{text} {('n', 'one')}")
    assert llm.ledger.billed == 4
    with pytest.raises(ValueError, match="name the new column"):
        df.llm.complete(("n", "one"))
    with pytest.raises(KeyError, match="no column"):
        df.llm.complete("n", into="c")
    assert "text_completion" in df.attrs["llmframe"]


def test_a_frame_that_cannot_take_the_column_says_so_before_anything_is_sent(llm, lane):
    df = pd.DataFrame([["x"]], columns=pd.MultiIndex.from_tuples([("a", "b")]))
    with pytest.raises(ValueError, match=r"^into: the frame cannot take"):
        df.llm.complete(("a", "b"), into=("one", "level", "more"))
    assert llm.ledger.requests == 0


def test_labels_that_are_no_text_are_columns_like_others(llm, lane):
    df = pd.DataFrame([["x", "y"]], columns=pd.Index([0, 1.5], dtype=object))
    for _ in range(2):
        df.llm.complete(0, "{0} {1.5}", into=7)
    assert df[7].tolist() == [answer("x y")]
    assert list(df.llm.complete(1.5)) == [0, 1.5, 7, "1.5_completion"]


@pytest.mark.parametrize("column", [["a", "b"], {"a"}, slice(1)])
def test_several_columns_at_once_are_an_error_that_shows_a_template(column):
    with pytest.raises(TypeError, match=r"^column must be one column's name"):
        pd.DataFrame({"a": ["x"], "b": ["y"]}).llm.complete(column)


def test_a_column_that_is_not_there_is_an_error_that_names_the_nearest():
    df = pd.DataFrame({"review": ["x"], "stars": [1]})
    with pytest.raises(KeyError, match="no column 'reviews'; the nearest is 'review'"):
        df.llm.complete("reviews")
    with pytest.raises(KeyError, match="is the second argument, prompt="):
        df.llm.complete("Summarise {review}")


def test_a_verb_never_overwrites_a_column_that_it_reads(llm, lane):
    df = pd.DataFrame({"a": ["x"], "b": ["y"]})
    for ask in (
        lambda: df.llm.complete("a", into="a", overwrite=True),
        lambda: df.llm.complete("a", "{b}", into="b", overwrite=True),
        lambda: df.llm.complete("a", system="{b}", into="b", overwrite="missing"),
        lambda: df.llm.complete("a", lambda _: "x", into="a", overwrite=True),
    ):
        with pytest.raises(ValueError, match=r"^into: .* never overwrites"):
            ask()
    with pytest.raises(ValueError, match=r"^error_into: .* never overwrites"):
        df.llm.complete("a", "{b}", into="c", error_into="b", overwrite=True)
    with pytest.raises(ValueError, match=r"^error_into and into are both 'c'"):
        df.llm.complete("a", into="c", error_into="c")
    assert llm.ledger.requests == 0


def test_a_function_does_not_see_the_columns_that_the_call_writes(llm, lane):
    df = pd.DataFrame({"a": ["x"]})
    for _ in range(2):
        df.llm.complete(prompt=" ".join, into="c", error_into="why")
    assert [body["messages"][0]["content"] for body in llm.ledger.bodies] == ["a"]
