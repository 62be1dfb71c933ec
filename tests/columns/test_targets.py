"""Which column may be written: overwriting, masks, records and fingerprints."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from columns.frames import HERE, failures_allowed, listed
from helpers import MODEL, answer
from hypothesis import given, settings
from hypothesis import strategies as st

import llmframe
from llmframe._columns import TEXT as TEXT_ANSWERS
from llmframe._columns.write_back import TargetColumns, fingerprint, row_mask


@settings(max_examples=40)
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
    a, there, asked = (list(values) for values in zip(*rows, strict=True))
    df = pd.DataFrame({"a": pd.Series(a, dtype=object), "c": pd.Series(there, dtype=kind)})
    where = asked if limited else None
    with llmframe.option_context(base_url=shared.base_url, errors="coerce", **HERE), failures_allowed():
        df.llm.complete("a", into="c", overwrite=overwrite, where=where)
    expected = []
    for text, old, ask in rows:
        chosen = (ask or not limited) and (overwrite is True or old is None)
        expected.append((answer(text) if text in {"x", "y"} else None) if chosen else old)
    assert listed(df["c"]) == expected


@pytest.mark.parametrize("overwrite", ["yes", None, 1, 0, "True"])
def test_a_bad_overwrite_is_an_error(overwrite):
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
        (pa.table({"a": [True] * 3, "b": [True] * 3, "c": [True] * 3}), TypeError, "which has columns"),
        ({True, False}, TypeError, "which has no order"),
        ({0: True, 1: False, 2: True}, TypeError, "got a dict"),
        (np.ones((3, 1), dtype=bool), TypeError, "got a ndarray"),
        (np.array(True), TypeError, "got a ndarray"),
        (pd.col("a") == "x", TypeError, "got a Expression"),
        (pd.Series([True] * 3, index=[2, 1, 0]), ValueError, "index is not the frame's"),
    ],
)
def test_a_mask_that_is_none_is_an_error_that_names_where(where, error, said):
    with pytest.raises(error, match=r"^where") as raised:
        pd.DataFrame({"a": list("xyz")}).llm.complete("a", where=where, model=MODEL, mode="offline")
    assert said in str(raised.value)


@pytest.mark.parametrize("argument", ["column", "into"])
@pytest.mark.parametrize("data", [pd.Series(["x", "y"]), pd.DataFrame({"a": ["x"]}), np.array(["x", "y"])])
def test_data_is_no_columns_name_and_is_not_shown(argument, data):
    with pytest.raises(
        TypeError, match=f"^{argument} must be one column's name; got {type(data).__name__}; "
    ):
        pd.DataFrame({"a": ["x"]}).llm.complete(
            **{"column": "a", argument: data}, model=MODEL, mode="offline"
        )


@pytest.mark.parametrize("argument", ["into", "error_into"])
def test_true_is_no_new_columns_name(argument):
    with pytest.raises(TypeError, match=f"^{argument} must be one column's name; got True"):
        pd.DataFrame({"a": ["x"]}).llm.complete("a", model=MODEL, mode="offline", **{argument: True})


def test_where_is_by_position_on_duplicate_labels(llm, lane):
    df = pd.DataFrame({"a": ["x", "y", "z"]}, index=[0, 0, 0])
    df.llm.complete("a", where=df["a"] == "y")
    assert listed(df["a_completion"]) == [None, answer("y"), None]


@pytest.fixture
def written(llm, lane):
    """Give a frame with a column that llmframe wrote."""
    return pd.DataFrame({"a": ["x", "y", None], "n": [1, 2, 3]}).llm.complete("a", "Say", into="c")


def test_running_a_cell_again_just_works_and_sends_nothing(written, llm):
    before = written.copy()
    for _ in range(2):
        written.llm.complete("a", "Say", into="c")
    pd.testing.assert_frame_equal(written, before)
    assert llm.ledger.billed == 2


def test_another_prompt_may_replace_llmframes_own_column(written):
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
    touched = REFUSED[what](written)
    before = touched.copy()
    with pytest.raises(ValueError, match=r"into=.*overwrite=True.*overwrite='missing'"):
        touched.llm.complete("a", "Say", into="c")
    pd.testing.assert_frame_equal(touched, before)
    assert llm.ledger.billed == 2


def test_another_model_or_verb_is_an_error(written):
    with pytest.raises(ValueError, match=r"^into: .*overwrite="):
        written.llm.complete("a", "Say", into="c", model="gpt-5-mini")
    written.attrs["llmframe"]["c"]["verb"] = "classify"
    with pytest.raises(ValueError, match=r"^into: .*overwrite="):
        written.llm.complete("a", "Say", into="c")


@pytest.mark.parametrize("kind", ["copy", "json", "parquet", "concat of columns", "reset_index", "object"])
def test_a_record_survives_what_keeps_the_values(kind, written, tmp_path):
    if kind == "copy":
        same = written.copy()
    elif kind == "json":
        same = pd.DataFrame(json.loads(json.dumps({name: listed(written[name]) for name in written})))
        same.attrs = json.loads(json.dumps(written.attrs))
    elif kind == "parquet":
        written.to_parquet(tmp_path / "written.parquet")
        same = pd.read_parquet(tmp_path / "written.parquet")
    elif kind == "concat of columns":
        same = written.assign(extra=1)
    elif kind == "reset_index":
        same = written.set_axis(["p", "q", "r"]).reset_index()
    else:
        same = written.astype({"c": object})
    same.llm.complete("a", "Say", into="c")


def test_the_record_is_small_and_json_able(written):
    entry = written.attrs["llmframe"]["c"]
    assert (entry["verb"], entry["model"], entry["complete"]) == ("complete", MODEL, True)
    record = written.attrs["llmframe_calls"][entry["call"]]
    assert (record["verb"], record["model"], record["rows"], record["answered"]) == ("complete", MODEL, 3, 2)
    assert json.loads(json.dumps(written.attrs)) == written.attrs
    assert len(json.dumps(written.attrs)) < 650


def test_the_same_column_of_another_frame_is_not_ours(written):
    other = pd.DataFrame({"a": ["x"], "c": ["mine"]})
    other.attrs = written.attrs
    with pytest.raises(ValueError, match=r"^into"):
        other.llm.complete("a", into="c")


@given(st.lists(st.none() | st.text(max_size=5), max_size=6), st.lists(st.none() | st.text(max_size=5)))
def test_a_fingerprint_tells_columns_apart(one, other):
    first, second = (pd.Series(values, dtype=object) for values in (one, other))
    assert (fingerprint(first) == fingerprint(second)) == (one == other)
    assert fingerprint(first) == fingerprint(first.copy())


@pytest.mark.parametrize("cell", [{"a": 1}, [1], "\ud800", 1, None])
def test_columns_of_anything_have_a_fingerprint(cell):
    column = pd.Series(["x", cell], dtype=object)
    assert fingerprint(column) == fingerprint(column.copy())
    assert fingerprint(column) != fingerprint(pd.Series(["x", "y"], dtype=object))


def test_missing_fills_only_missing_cells_whoever_wrote_the_rest(llm, lane):
    df = pd.DataFrame({"a": ["x", "y", "z"], "c": ["mine", None, " "]})
    df.llm.complete("a", into="c", overwrite="missing", model="gpt-5-mini")
    assert df["c"].tolist()[::2] == ["mine", " "]
    assert llm.ledger.billed == 1
    run = llmframe.last_run()
    assert (run.rows, run.answered) == (1, 1)


def test_the_target_is_checked_before_anything_else_is_done():
    df = pd.DataFrame({"a": ["x"], "c": ["mine"]})
    with pytest.raises(ValueError, match=r"^into"):
        TargetColumns.of(
            df, ["c"], False, None, {"verb": "complete", "model": MODEL}, argument="into", kind=TEXT_ANSWERS
        )


@pytest.mark.parametrize(
    ("column", "shown"),
    [(np.int64(3), "3"), (np.str_("b"), "'b'"), (pd.Timestamp("2026-01-31"), "2026-01-31 00:00:00")],
)
def test_an_error_names_a_column_plainly(column, shown, llm):
    """As one writes it, not as numpy's scalar."""
    df = pd.DataFrame({"a": ["x"]})
    with pytest.raises(KeyError) as missing:
        df.llm.complete(column, into="c")
    assert missing.value.args[0] == f"column: there is no column {shown}; the nearest is 'a'"
    df[column] = "mine"
    with pytest.raises(ValueError, match=rf"the column {re.escape(shown)} is already there"):
        df.llm.complete("a", into=column)


class Label(str):
    """A column's name that counts how often it is compared with another."""

    compared = 0
    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other):
        type(self).compared += 1
        return str.__eq__(self, other)


def test_a_functions_columns_are_looked_up_at_once(llm):
    """Not each of them among all: the time of a call grows with the columns, not with their square."""
    df = pd.DataFrame([["x"] * 300], columns=pd.Index([Label(number) for number in range(300)], dtype=object))
    Label.compared = 0
    df.llm.complete(prompt=lambda row: row["7"], into="a")
    assert Label.compared < 20 * 300
