"""Several columns of one call that are there already: whose they are, what stays in them, and what is kept of the call."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from columns.frames import listed
from pydantic import AwareDatetime, BaseModel

import llmframe
from llmframe.testing import Fault

ANSWER = {"a": 1, "b": 2, "c": 3}


def frame(rows=3):
    return pd.DataFrame({"review": [f"Review {number}" for number in range(rows)]})


@pytest.fixture
def counting(llm, lane):
    """Give a server that answers the fields that are asked for, in both lanes."""

    def answer(body):
        fields = body["response_format"]["json_schema"]["schema"]["properties"]
        return json.dumps({name: ANSWER[name] for name in fields})

    llm.answer = answer
    return llm


def test_one_error_names_all_columns_that_are_anothers(counting):
    df = frame().assign(a=7, c=8).llm.extract("review", {"b": int})
    with pytest.raises(ValueError, match=r"^prefix: the columns 'a', 'c' are already there .* replace them"):
        df.llm.extract("review", {"a": int, "b": int, "c": int})
    assert counting.ledger.billed == 3


def test_a_field_more_leaves_the_others_ours_and_a_field_less_leaves_its_column_alone(counting):
    df = frame()
    df.llm.extract("review", {"a": int, "b": int})
    df.llm.extract("review", {"a": int, "b": int, "c": int})
    assert df.iloc[:, 1:].to_numpy().tolist() == [[1, 2, 3]] * 3
    before = df.copy()
    df.llm.extract("review", {"b": int, "c": int})
    pd.testing.assert_frame_equal(df, before)
    df.llm.extract("review", {"a": int})
    df.loc[0, "a"] = 9
    df.llm.extract("review", {"b": int})
    with pytest.raises(ValueError, match="the column 'a' is already there"):
        df.llm.extract("review", {"a": int, "b": int})


def test_a_stopped_run_writes_the_new_column_and_leaves_the_complete_one(llm):
    llm.answer = lambda body: json.dumps(dict.fromkeys(body["response_format"]["json_schema"]["schema"]["properties"], 1))  # fmt: skip
    df = frame().llm.extract("review", {"a": int})
    llm.answer = lambda _: json.dumps({"a": 5, "b": 5})
    llm.faults = [Fault("insufficient_quota", after=1)]
    with pytest.raises(llmframe.StoppedError):
        df.llm.extract("review", {"a": int, "b": int}, max_concurrency=1)
    assert df["a"].tolist() == [1, 1, 1]
    assert listed(df["b"]) == [5, None, None]
    llm.faults = []
    df.llm.extract("review", {"a": int, "b": int})
    assert df[["a", "b"]].to_numpy().tolist() == [[5, 5]] * 3


TYPES = {
    "int": int, "float": float, "bool": bool, "text": str, "date": date, "datetime": datetime, "decimal": Decimal,
    "list": list[int], "tone": Literal["calm", "angry"], "stars": Literal[1, 2],
}  # fmt: skip
NEW = {
    "int": 5, "float": 0.5, "bool": False, "text": "new", "date": "2026-01-31", "datetime": "2026-01-31T10:00:00",
    "decimal": "1.5", "list": [5], "tone": "calm", "stars": 2,
}  # fmt: skip
MISFITS = [
    ("int", ["many", 1.5, True], "'many', 1.5, True"),
    ("int", ["a", "b", "c", "d"], "'a', 'b', 'c' and 1 more"),
    ("int", [2**63], "9223372036854775808"),
    ("float", ["1.5", True, 2**53 + 1], "'1.5', True, 9007199254740993"),
    ("bool", [1, "yes"], "1, 'yes'"),
    ("text", [5, b"x"], "5, b'x'"),
    ("date", ["2026-01-31"], "'2026-01-31'"),
    ("datetime", [pd.Timestamp("2026-01-31", tz="UTC")], "2026-01-31 00:00:00+00:00"),
    ("datetime", [pd.Timestamp(1), 5], "1970-01-01 00:00:00.000000001, 5"),
    ("decimal", [1.5], "1.5"),
    ("list", [5], "5"),
    ("tone", ["furious", 1], "'furious', 1"),
    ("stars", [3], "3"),
]


def answering(llm):
    llm.answer = lambda body: json.dumps(
        {name: NEW[name] for name in body["response_format"]["json_schema"]["schema"]["properties"]}
    )


@pytest.mark.parametrize(("field", "values", "shown"), MISFITS)
@pytest.mark.parametrize("how", ["missing", "where"])
def test_a_value_that_would_stay_and_does_not_fit_is_an_error_that_shows_three(
    llm, field, values, shown, how
):
    df = frame(len(values) + 1)
    df[f"p_{field}"] = pd.Series([*values, None], dtype=object)
    before = df.copy()
    only_the_last = {"overwrite": True, "where": [False] * len(values) + [True]}
    with pytest.raises(ValueError, match=rf"^prefix: the column 'p_{field}' is to hold ") as raised:
        df.llm.extract(
            "review",
            {field: TYPES[field]},
            prefix="p_",
            **({"overwrite": "missing"} if how == "missing" else only_the_last),
        )
    assert f"not fit: {shown}; correct or empty " in str(raised.value)
    assert "write elsewhere with prefix=, or pass overwrite=True" in str(raised.value)
    pd.testing.assert_frame_equal(df, before)
    assert llm.ledger.requests == 0


TEN = pd.Timestamp("2026-01-31 10:00")
FITTING = [
    ("int", pd.Series([7.0, None]), 7),
    ("int", pd.Series([2**62 + 1, None], dtype=object), 2**62 + 1),
    ("int", pd.Series([7, None], dtype="int64[pyarrow]"), 7),
    ("float", pd.Series([7, None], dtype="Int64"), 7.0),
    ("bool", pd.Series([True, None], dtype=object), True),
    ("text", pd.Series(["mine", None], dtype="category"), "mine"),
    ("text", pd.Series(["mine", None], dtype="string[pyarrow]"), "mine"),
    ("date", pd.Series([date(2026, 1, 31), None], dtype=object), pd.Timestamp("2026-01-31")),
    ("datetime", pd.Series([TEN, None], dtype="datetime64[ns]"), TEN),
    ("datetime", pd.Series([np.datetime64(TEN), None], dtype=object), TEN),
    ("decimal", pd.Series([Decimal(2), None], dtype=object), Decimal(2)),
    ("list", pd.Series([[7], None], dtype=object), [7]),
    ("tone", pd.Series(["angry", None], dtype="category"), "angry"),
    ("tone", pd.Series(["angry", None], dtype="str"), "angry"),
    ("stars", pd.Series([1, None], dtype="float64"), 1),
]


@pytest.mark.parametrize(("field", "existing", "kept"), FITTING)
@pytest.mark.parametrize("how", ["missing", "where"])
def test_what_fits_stays_in_the_dtype_that_a_new_column_has(llm, field, existing, kept, how):
    answering(llm)
    new = frame(2).llm.extract("review", {field: TYPES[field]})[field]
    df = frame(2).assign(**{field: existing})
    df.llm.extract(
        "review",
        {field: TYPES[field]},
        **({"overwrite": "missing"} if how == "missing" else {"overwrite": True, "where": [False, True]}),
    )
    assert df[field].dtype == new.dtype
    assert df[field].tolist() == [kept, new[1]]
    df.llm.extract("review", {field: TYPES[field]}, where=[False, True])
    assert df[field].tolist() == [kept, new[1]]
    assert llm.ledger.billed == 2


def test_an_aware_datetime_stays_in_utc(llm):
    schema = {"at": AwareDatetime}
    llm.answer = lambda _: '{"at": "2026-01-31T10:00:00+01:00"}'
    new = frame(2).llm.extract("review", schema)["at"]
    there = pd.Series([TEN.tz_localize("Europe/Berlin"), None])
    df = frame(2).assign(at=there).llm.extract("review", schema, overwrite="missing")
    assert df["at"].dtype == new.dtype
    assert df["at"].tolist() == [datetime(2026, 1, 31, 9, tzinfo=UTC)] * 2


def test_rows_are_asked_where_any_column_is_missing_and_only_missing_cells_are_written(counting):
    df = frame(4).assign(
        a=pd.array([7, None, 7, None], dtype="Int64"), b=pd.array([8, 8, None, None], dtype="Int64")
    )
    df.llm.extract("review", {"a": int, "b": int}, overwrite="missing", where=[True, True, True, False])
    assert llmframe.last_run().rows == counting.ledger.billed == 2
    assert listed(df["a"]) == [7, 1, 7, None]
    assert listed(df["b"]) == [8, 8, 2, None]
    assert df.dtypes.astype(str).tolist() == ["str", "Int64", "Int64"]


def calls(df):
    return df.attrs["llmframe_calls"]


def test_the_columns_of_a_call_point_to_its_one_record(counting):
    df = frame().llm.extract("review", {"a": int, "b": int}, error_into="why")
    entries = df.attrs["llmframe"]
    assert set(entries) == {"a", "b", "why"}
    assert [entries[name]["verb"] for name in ("a", "b", "why")] == ["extract", "extract", "reasons"]
    (key,) = {entry["call"] for entry in entries.values()}
    assert list(calls(df)) == [key]
    assert (calls(df)[key]["verb"], calls(df)[key]["rows"], calls(df)[key]["answered"]) == ("extract", 3, 3)
    assert json.loads(json.dumps(df.attrs)) == df.attrs


def test_a_call_is_kept_as_long_as_a_column_points_to_it(counting, tmp_path):
    df = frame().llm.extract("review", {"a": int, "b": int})
    (first,) = calls(df)
    df.llm.extract("review", {"b": int})
    assert next(iter(calls(df))) == first
    assert len(calls(df)) == 2
    df.to_parquet(tmp_path / "df.parquet")
    df = pd.read_parquet(tmp_path / "df.parquet")
    df.llm.extract("review", {"a": int})
    assert len(calls(df)) == 2
    assert first not in calls(df)


def test_a_record_of_an_earlier_form_still_shows_whose_a_column_is(counting):
    """A column's entry had the call's record itself."""
    df = frame().llm.extract("review", {"a": int})
    entry = df.attrs["llmframe"]["a"]
    old = {**calls(df)[entry["call"]], "fingerprint": entry["fingerprint"]}
    df.attrs = {"llmframe": {"a": old, "gone": dict(old)}}
    df.llm.extract("review", {"a": int, "b": int})
    assert df.attrs["llmframe"]["gone"] == old
    assert len(calls(df)) == 1
    df.attrs = {"llmframe": {"a": old}}
    df.loc[0, "a"] = 9
    with pytest.raises(ValueError, match="the column 'a' is already there"):
        df.llm.extract("review", {"a": int}, prefix=None)


class Part(BaseModel):
    name: str
    n: int | None


def test_a_column_of_lists_is_ours_after_parquet(llm, tmp_path):
    """Lists come back as arrays, and whole numbers with gaps as floats."""
    schema = {"sizes": list[int], "parts": list[Part]}
    llm.answer = lambda _: (
        '{"sizes": [1, 2], "parts": [{"name": "hinge", "n": 2}, {"name": "lid", "n": null}]}'
    )
    frame(2).llm.extract("review", schema).to_parquet(tmp_path / "df.parquet")
    df = pd.read_parquet(tmp_path / "df.parquet")
    df.llm.extract("review", schema)
    assert df["sizes"].tolist() == [[1, 2]] * 2
