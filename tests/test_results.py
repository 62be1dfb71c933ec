"""Back into columns: by position, into the right rows, over nobody's work, and with a record."""

from __future__ import annotations

import json
import os
import signal
import threading
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import llmframe
from llmframe._columns.write_back import TargetColumn, fingerprint, row_mask
from llmframe.testing import Fault, LocalServer, made_up_answer

MODEL = "gpt-6-luna"
TEXT = pd.Series(["text"]).dtype
HERE = {"api_key": "any", "model": MODEL, "journal": False}
one_by_one = pytest.mark.parametrize("lane", ["live"], indirect=True)
"""Of tests that look at single requests as they go."""


@pytest.fixture
def llm(llm, lane):
    """Give the server of `llm`, to be asked in both lanes."""
    return llm


@pytest.fixture(scope="module")
def shared():
    """One server for the many examples of a property."""
    faults = [Fault("context_length_exceeded", when=lambda body: "bad" in str(body["messages"]))]
    with LocalServer(faults=faults) as running:
        yield running


def answer(*contents, **params):
    """What the server answers to a user's text, or to a system's and a user's."""
    roles = ("system", "user") if len(contents) == 2 else ("user",)
    messages = [{"role": role, "content": text} for role, text in zip(roles, contents, strict=True)]
    return made_up_answer({"model": MODEL, "messages": messages, **params})


def listed(column):
    return [None if pd.isna(value) else value for value in column.tolist()]


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
    """Answers go back by position under any index."""
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
    """The row's own answer, by the contract; `None` where it is not sent or fails."""
    if a is None or b is None or not a.strip() or "bad" in a + b:
        return None
    return answer(f"As {b}", f"{b}: {a}")


@settings(max_examples=50, deadline=None)
@given(_frames(), st.sampled_from(["frame", "series", "list"]))
def test_every_row_gets_the_answer_to_its_own_request_or_none(shared, drawn, shape):
    """Every row gets the answer to its own request, or none."""
    frame, asked = drawn
    before = frame.copy()
    a, b = listed(frame["a"]), listed(frame["b"])
    with llmframe.option_context(base_url=shared.base_url, errors="coerce", **HERE), _allowed_warnings():
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


def _allowed_warnings():
    return warnings.catch_warnings(action="ignore", category=llmframe.CompletionWarning)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["x", "y", "bad", None]),
            st.sampled_from(["mine", "yours", None]),
            st.sampled_from([True, False]),
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from([True, "missing"]),
    st.sampled_from([object, "str", "category"]),
    st.booleans(),
)
def test_an_existing_column_changes_only_where_it_may(shared, rows, overwrite, kind, limited):
    """An existing column changes only where it may."""
    a, there, asked = (list(values) for values in zip(*rows, strict=True))
    df = pd.DataFrame({"a": pd.Series(a, dtype=object), "c": pd.Series(there, dtype=kind)})
    where = asked if limited else None
    with llmframe.option_context(base_url=shared.base_url, errors="coerce", **HERE), _allowed_warnings():
        df.llm.complete("a", into="c", overwrite=overwrite, where=where)
    expected = []
    for text, old, ask in rows:
        chosen = (ask or not limited) and (overwrite is True or old is None)
        expected.append((answer(text) if text in {"x", "y"} else None) if chosen else old)
    assert listed(df["c"]) == expected


def test_rows_outside_where_keep_even_what_is_no_text(llm):
    """Rows outside `where` keep even what is no text."""
    kept = [3, {"k": 1}, [1, 2], None, b"x"]
    df = pd.DataFrame({"a": list("vwxyz"), "c": pd.Series(kept, dtype=object)})
    df.llm.complete("a", into="c", overwrite=True, where=[False, False, False, True, False])
    assert df["c"].tolist() == [3, {"k": 1}, [1, 2], answer("y"), b"x"]
    assert df["c"].dtype == object
    df.llm.complete("a", into="c", where=[False, False, False, True, False])
    assert llm.ledger.billed == 1


def test_a_column_of_numbers_becomes_objects_and_keeps_its_numbers(llm):
    """A column of numbers becomes objects and keeps its numbers."""
    df = pd.DataFrame({"a": ["x", "y"], "c": [1.5, None]})
    df.llm.complete("a", into="c", overwrite="missing")
    assert df["c"].tolist() == [1.5, answer("y")]


def test_an_all_missing_column_is_filled_as_text(llm):
    """An all missing column is filled as text."""
    df = pd.DataFrame({"a": ["x", "y"], "c": np.nan})
    df.llm.complete("a", into="c", overwrite="missing", where=[True, False])
    assert listed(df["c"]) == [answer("x"), None]
    assert df["c"].dtype == TEXT


@pytest.mark.parametrize("rows", [0, 1])
def test_frames_of_no_row_and_of_one(llm, rows):
    """Frames of no row and of one."""
    df = pd.DataFrame({"a": ["x"] * rows, "b": [1] * rows})
    df.llm.complete("a", "Say", where=df["b"] == 1)
    assert df["a_completion"].tolist() == [answer("Say\n\nx")] * rows
    assert df["a_completion"].dtype == TEXT
    assert llmframe.complete(["x"] * rows) == [answer("x")] * rows
    assert len(df["a"].llm.complete()) == rows
    assert df.llm.complete(prompt=lambda row: row["a"], into="c", where=[True] * rows)["c"].notna().all()


def test_a_frame_without_columns_or_rows_is_asked_nothing(llm):
    """A frame without columns or rows is asked nothing."""
    df = pd.DataFrame().llm.complete(prompt=lambda _: "x")
    assert list(df) == ["completion"]
    assert llm.ledger.requests == 0


@pytest.mark.parametrize(
    "values",
    [[None, None], ["", " "], [float("nan"), pd.NA]],
)
def test_text_has_pandas_own_dtype_also_when_all_is_missing(llm, values):
    """Text has pandas' own dtype also when all is missing."""
    df = pd.DataFrame({"a": pd.Series(values, dtype=object)})
    df.llm.complete("a", error_into="why")
    assert df["a_completion"].dtype == TEXT
    assert df["a_completion"].isna().all()
    assert df["why"].tolist() == ["not sent: a is missing or blank"] * 2
    assert df["a"].llm.complete().dtype == TEXT


def test_slices_and_filters_of_other_frames_are_written_without_a_warning(llm):
    """Slices and filters of other frames are written without a warning."""
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
    """Columns of any kind may be asked."""
    df = pd.DataFrame({"a": KINDS[kind]})
    with llmframe.option_context(base_url=shared.base_url, **HERE):
        df.llm.complete("a", prompt)
    assert df["a_completion"].tolist() == [answer("3"), answer("4")]


@pytest.mark.parametrize("dtype", ["string[pyarrow]", "large_string[pyarrow]", "int64[pyarrow]"])
def test_columns_backed_by_arrow_may_be_asked_and_filled(dtype, llm):
    """Columns backed by arrow may be asked and filled."""
    pytest.importorskip("pyarrow")
    values = [3, None, 4] if "int" in dtype else ["3", None, "4"]
    df = pd.DataFrame({"a": pd.Series(values, dtype=dtype), "t": ["3", "5", "4"]})
    df.llm.complete("a", "{a}", into="c")
    assert listed(df["c"]) == [answer("3"), None, answer("4")]
    df["d"] = df["a"]
    df.llm.complete("t", into="d", overwrite="missing")
    assert df["d"].tolist() == [*values[:1], answer("5"), *values[2:]]
    df.llm.complete("t", into="d")


def test_duplicate_column_names_among_those_read_are_an_error_and_elsewhere_harmless(llm):
    """Duplicate column names among those read are an error and elsewhere harmless."""
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


def test_frames_with_multi_level_columns(llm):
    """Frames with multi-level columns."""
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


def test_a_frame_that_cannot_take_the_column_says_so_before_anything_is_sent(llm):
    """A frame that cannot take the column says so before anything is sent."""
    df = pd.DataFrame([["x"]], columns=pd.MultiIndex.from_tuples([("a", "b")]))
    with pytest.raises(ValueError, match=r"^into: the frame cannot take"):
        df.llm.complete(("a", "b"), into=("one", "level", "more"))
    assert llm.ledger.requests == 0


def test_labels_that_are_no_text_are_columns_like_others(llm):
    """Labels that are no text are columns like others."""
    df = pd.DataFrame([["x", "y"]], columns=pd.Index([0, 1.5], dtype=object))
    for _ in range(2):
        df.llm.complete(0, "{0} {1.5}", into=7)
    assert df[7].tolist() == [answer("x y")]
    assert list(df.llm.complete(1.5)) == [0, 1.5, 7, "1.5_completion"]


@pytest.mark.parametrize("column", [["a", "b"], {"a"}, slice(1)])
def test_several_columns_at_once_are_an_error_that_shows_a_template(column):
    """Several columns at once are an error that shows a template."""
    with pytest.raises(TypeError, match=r"^column must be one column's name"):
        pd.DataFrame({"a": ["x"], "b": ["y"]}).llm.complete(column)


def test_a_column_that_is_not_there_is_an_error_that_names_the_nearest():
    """A column that is not there is an error that names the nearest."""
    df = pd.DataFrame({"review": ["x"], "stars": [1]})
    with pytest.raises(KeyError, match="no column 'reviews'; the nearest is 'review'"):
        df.llm.complete("reviews")
    with pytest.raises(KeyError, match="is the second argument, prompt="):
        df.llm.complete("Summarise {review}")


def test_a_verb_never_overwrites_a_column_that_it_reads(llm):
    """A verb never overwrites a column that it reads."""
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


def test_a_function_does_not_see_the_columns_that_the_call_writes(llm):
    """A function does not see the columns that the call writes."""
    df = pd.DataFrame({"a": ["x"]})
    for _ in range(2):
        df.llm.complete(prompt=" ".join, into="c", error_into="why")
    assert [body["messages"][0]["content"] for body in llm.ledger.bodies] == ["a"]


@pytest.mark.parametrize("overwrite", ["yes", None, 1, 0, "True"])
def test_a_bad_overwrite_is_an_error(overwrite):
    """A bad `overwrite` is an error."""
    with pytest.raises(ValueError, match=r"^overwrite must be False, True or 'missing'"):
        pd.DataFrame({"a": ["x"]}).llm.complete("a", overwrite=overwrite)


MASKS = {
    "list": [True, False, True],
    "tuple": (True, False, True),
    "array": np.array([True, False, True]),
    "Series": pd.Series([True, False, True]),
    "nullable": pd.array([True, None, True], dtype="boolean"),
    "objects": pd.Series([True, None, True], dtype=object),
    "Index": pd.Index([True, False, True]),
}


@pytest.mark.parametrize("kind", MASKS)
def test_where_takes_any_boolean_mask_and_missing_is_no(kind):
    """`where` takes any boolean mask, and missing is no."""
    assert row_mask(MASKS[kind], pd.RangeIndex(3)).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("where", "error", "said"),
    [
        ([True, False], ValueError, "2 values for 3 rows"),
        ([1, 0, 1], TypeError, "boolean mask"),
        (["a", "b", "c"], TypeError, "boolean mask"),
        ("a", TypeError, "boolean mask"),
        (True, TypeError, "boolean mask"),
        (lambda frame: frame, TypeError, "boolean mask"),
        (pd.DataFrame({"a": [True] * 3}), TypeError, "boolean mask"),
        (pd.Series([True] * 3, index=[2, 1, 0]), ValueError, "index is not the frame's"),
    ],
)
def test_a_mask_that_is_none_is_an_error_that_names_where(where, error, said):
    """A mask that is none is an error that names `where`."""
    with pytest.raises(error, match=r"^where") as raised:
        pd.DataFrame({"a": list("xyz")}).llm.complete("a", where=where, model=MODEL, mode="offline")
    assert said in str(raised.value)


def test_where_is_by_position_on_duplicate_labels(llm):
    """`where` is by position on duplicate labels."""
    df = pd.DataFrame({"a": ["x", "y", "z"]}, index=[0, 0, 0])
    df.llm.complete("a", where=df["a"] == "y")
    assert listed(df["a_completion"]) == [None, answer("y"), None]


@pytest.fixture
def written(llm):
    """A frame with a column that llmframe wrote."""
    return pd.DataFrame({"a": ["x", "y", None], "n": [1, 2, 3]}).llm.complete("a", "Say", into="c")


def test_running_a_cell_again_just_works_and_sends_nothing(written, llm):
    """Running a cell again just works and sends nothing."""
    before = written.copy()
    for _ in range(2):
        written.llm.complete("a", "Say", into="c")
    pd.testing.assert_frame_equal(written, before)
    assert llm.ledger.billed == 2


def test_another_prompt_may_replace_llmframes_own_column(written):
    """Another prompt may replace llmframe's own column."""
    written.llm.complete("a", "Shout", into="c")
    assert listed(written["c"]) == [answer("Shout\n\nx"), answer("Shout\n\ny"), None]


REFUSED = {
    "a changed cell": lambda df: df.assign(c=df["c"].where(df["n"] != 1, "mine")),
    "an emptied cell": lambda df: df.assign(c=df["c"].where(df["n"] != 1)),
    "sorted rows": lambda df: df.sort_values("n", ascending=False),
    "filtered rows": lambda df: df[df["n"] > 1],
    "no record": lambda df: pd.DataFrame({name: df[name].to_numpy() for name in df}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_column_that_was_touched_is_not_replaced_unasked(what, written, llm):
    """A column that was touched is not replaced unasked."""
    touched = REFUSED[what](written)
    before = touched.copy()
    with pytest.raises(ValueError, match=r"into=.*overwrite=True.*overwrite='missing'"):
        touched.llm.complete("a", "Say", into="c")
    pd.testing.assert_frame_equal(touched, before)
    assert llm.ledger.billed == 2


def test_another_model_or_verb_is_an_error(written):
    """Another model or verb is an error."""
    with pytest.raises(ValueError, match=r"^into: .*overwrite="):
        written.llm.complete("a", "Say", into="c", model="gpt-5-mini")
    written.attrs["llmframe"]["c"]["verb"] = "classify"
    with pytest.raises(ValueError, match=r"^into: .*overwrite="):
        written.llm.complete("a", "Say", into="c")


@pytest.mark.parametrize("kind", ["copy", "json", "concat of columns", "reset_index", "object"])
def test_a_record_survives_what_keeps_the_values(kind, written):
    """A record survives what keeps the values."""
    if kind == "copy":
        same = written.copy()
    elif kind == "json":
        same = pd.DataFrame(json.loads(json.dumps({name: listed(written[name]) for name in written})))
        same.attrs = json.loads(json.dumps(written.attrs))
    elif kind == "concat of columns":
        same = written.assign(extra=1)
    elif kind == "reset_index":
        same = written.set_axis(["p", "q", "r"]).reset_index()
    else:
        same = written.astype({"c": object})
    same.llm.complete("a", "Say", into="c")


def test_the_record_is_small_and_json_able(written):
    """The record is small and JSON-able."""
    record = written.attrs["llmframe"]["c"]
    assert json.loads(json.dumps(record)) == record
    assert len(json.dumps(record)) < 500
    assert (record["verb"], record["model"], record["rows"], record["answered"]) == ("complete", MODEL, 3, 2)


def test_the_same_column_of_another_frame_is_not_ours(written):
    """The same column of another frame is not ours."""
    other = pd.DataFrame({"a": ["x"], "c": ["mine"]})
    other.attrs = written.attrs
    with pytest.raises(ValueError, match=r"^into"):
        other.llm.complete("a", into="c")


@given(st.lists(st.none() | st.text(max_size=5), max_size=6), st.lists(st.none() | st.text(max_size=5)))
def test_a_fingerprint_tells_columns_apart(one, other):
    """A fingerprint tells columns apart."""
    first, second = (pd.Series(values, dtype=object) for values in (one, other))
    assert (fingerprint(first) == fingerprint(second)) == (one == other)
    assert fingerprint(first) == fingerprint(first.copy())


@pytest.mark.parametrize("cell", [{"a": 1}, [1], "\ud800", 1, None])
def test_columns_of_anything_have_a_fingerprint(cell):
    """Columns of anything have a fingerprint."""
    column = pd.Series(["x", cell], dtype=object)
    assert fingerprint(column) == fingerprint(column.copy())
    assert fingerprint(column) != fingerprint(pd.Series(["x", "y"], dtype=object))


def test_missing_fills_only_missing_cells_whoever_wrote_the_rest(llm):
    """`overwrite="missing"` fills only missing cells whoever wrote the rest."""
    df = pd.DataFrame({"a": ["x", "y", "z"], "c": ["mine", None, " "]})
    df.llm.complete("a", into="c", overwrite="missing", model="gpt-5-mini")
    assert df["c"].tolist()[::2] == ["mine", " "]
    assert llm.ledger.billed == 1
    run = llmframe.last_run()
    assert (run.rows, run.answered) == (1, 1)


@pytest.fixture
def bad_rows(llm):
    llm.faults = [Fault("context_length_exceeded", when=lambda body: "bad" in str(body["messages"]))]
    return llm


def test_error_into_gives_each_unanswered_row_its_reason(bad_rows):
    """`error_into` gives each unanswered row its reason."""
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
    """Reasons are brought up to date when the cell runs again."""
    df = pd.DataFrame({"a": ["x", "bad"]})
    for _ in range(2):
        with pytest.raises(llmframe.CompletionError):
            df.llm.complete("a", error_into="why")
    bad_rows.faults = []
    df.llm.complete("a", error_into="why")
    assert df["why"].isna().all()


def test_filling_with_another_model_clears_the_reasons_of_the_filled(bad_rows):
    """Filling with another model clears the reasons of the filled."""
    df = pd.DataFrame({"a": ["x", "bad", "y"]})
    with pytest.raises(llmframe.CompletionError):
        df.llm.complete("a", error_into="why")
    bad_rows.faults = []
    df.llm.complete("a", error_into="why", overwrite="missing", model="gpt-5-mini")
    assert df["why"].isna().all()
    assert df["a_completion"].notna().all()


@pytest.mark.parametrize("overwrite", [False, "missing"])
def test_reasons_never_go_over_a_column_of_the_users(overwrite, llm):
    """Reasons never go over a column of the user's."""
    df = pd.DataFrame({"a": ["x"], "why": ["my own words"]})
    with pytest.raises(ValueError, match=r"^error_into: .*write elsewhere with error_into="):
        df.llm.complete("a", error_into="why", overwrite=overwrite)
    assert llm.ledger.requests == 0


def test_rows_outside_where_keep_their_reasons(bad_rows):
    """Rows outside `where` keep their reasons."""
    df = pd.DataFrame({"a": ["bad 1", "bad 2"]})
    for where in ([True, False], [False, True]):
        with pytest.raises(llmframe.CompletionError):
            df.llm.complete("a", error_into="why", where=where)
    assert df["why"].notna().all()


def _interrupt_when(server, answered):
    def wait():
        server.ledger.wait_for(lambda ledger: ledger.answered >= answered, 10)
        threading.Event().wait(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.fixture
def stuck(llm):
    """Three rows are answered; those with "slow" in them never are."""
    llm.faults = [Fault("hang", when=lambda body: "slow" in str(body["messages"]))]
    return llm


STUCK = ["x", "slow", "y", "slow too", "z"]


@one_by_one
def test_an_interrupted_call_writes_what_is_there_into_a_new_column(stuck):
    """An interrupted call writes what is there into a new column."""
    df = pd.DataFrame({"a": STUCK})
    thread = _interrupt_when(stuck, 3)
    with pytest.raises(KeyboardInterrupt):
        df.llm.complete("a", error_into="why")
    thread.join()
    assert df["a_completion"].notna().tolist() == [True, False, True, False, True]
    assert df["why"].isna().tolist() == [True, False, True, False, True]
    stuck.faults = []
    df.llm.complete("a", error_into="why")
    assert df["a_completion"].tolist() == [answer(text) for text in STUCK]
    assert df["why"].isna().all()
    assert stuck.ledger.billed == 5


@one_by_one
def test_an_interrupted_call_leaves_an_existing_complete_column_alone(stuck):
    """An interrupted call leaves an existing complete column alone."""
    df = pd.DataFrame({"a": STUCK, "c": list("abcde")})
    before = df.copy()
    thread = _interrupt_when(stuck, 3)
    with pytest.raises(KeyboardInterrupt):
        df.llm.complete("a", into="c", overwrite=True)
    thread.join()
    pd.testing.assert_frame_equal(df, before)
    assert [value is not None for value in llmframe.last_run().values] == [True, False, True, False, True]  # noqa: PD011


@one_by_one
def test_a_stopped_run_writes_what_is_there_and_carries_it(llm):
    """A stopped run writes what is there and carries it."""
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


def test_a_stopped_run_leaves_llmframes_own_complete_column_alone(written, llm):
    """A stopped run leaves llmframe's own complete column alone."""
    before = written.copy()
    llm.faults = [Fault("insufficient_quota", after=1)]
    with pytest.raises(llmframe.StoppedError):
        written.llm.complete("a", "Shout", into="c", max_concurrency=1)
    pd.testing.assert_frame_equal(written, before)


@one_by_one
def test_a_stopped_run_fills_missing_cells_with_what_is_there(llm):
    """A stopped run fills missing cells with what is there."""
    llm.faults = [Fault("insufficient_quota", after=1)]
    df = pd.DataFrame({"a": ["x", "y", "z"], "c": ["mine", None, None]})
    with pytest.raises(llmframe.StoppedError):
        df.llm.complete("a", into="c", overwrite="missing", max_concurrency=1)
    assert listed(df["c"]) == ["mine", answer("y"), None]


def test_a_background_run_writes_only_when_asked_for_its_result(llm):
    """A background run writes only when asked for its result."""
    df = pd.DataFrame({"a": ["x", "y"]})
    run = df.llm.complete("a", wait=False)
    assert llm.ledger.wait_for(lambda ledger: ledger.billed == 2)
    assert list(df) == ["a"]
    assert run.result(10) is df
    assert run.result() is df
    assert df["a_completion"].tolist() == [answer("x"), answer("y")]


CHANGES = {
    "a cell": lambda df: df.__setitem__("a", ["x", "changed"]),
    "the column is gone": lambda df: df.__delitem__("a"),
    "a row more": lambda df: df.loc.__setitem__(5, ["z"]),
    "the target": lambda df: df.__setitem__("a_completion", ["mine", "mine"]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_background_run_never_writes_into_a_frame_that_changed(what, llm):
    """A background run never writes into a frame that changed."""
    df = pd.DataFrame({"a": ["x", "y"]})
    run = df.llm.complete("a", wait=False)
    CHANGES[what](df)
    before = df.copy()
    with pytest.raises(ValueError, match=r"run\.values"):
        run.result(10)
    pd.testing.assert_frame_equal(df, before)
    assert run.values == [answer("x"), answer("y")]  # noqa: PD011


def test_a_background_run_asks_what_the_frame_held_when_it_was_called(llm):
    """A background run asks what the frame held when it was called."""
    df = pd.DataFrame({"a": [f"text {i}" for i in range(50)]})
    run = df.llm.complete("a", wait=False)
    df.loc[:, "a"] = "changed"
    with pytest.raises(ValueError, match="have changed"):
        run.result(10)
    assert run.values == [answer(f"text {i}") for i in range(50)]  # noqa: PD011


def test_other_columns_may_change_under_a_background_run(llm):
    """Other columns may change under a background run."""
    df = pd.DataFrame({"a": ["x", "y"], "b": [1, 2]})
    run = df.llm.complete("a", wait=False)
    df["b"] = 5
    df["new"] = 6
    assert run.result(10) is df
    assert df["a_completion"].notna().all()


def test_the_target_is_checked_before_anything_else_is_done():
    """The target is checked before anything else is done."""
    df = pd.DataFrame({"a": ["x"], "c": ["mine"]})
    with pytest.raises(ValueError, match=r"^into"):
        TargetColumn.of(df, "c", False, None, {"verb": "complete", "model": MODEL})
