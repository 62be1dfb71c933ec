"""Lists as rows: `llmframe.explode`."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from columns.frames import TEXT
from pydantic import BaseModel

import llmframe

RECORDS = [[{"name": "hinge", "count": 2}, {"name": "lid", "count": None}], [], None, [{"name": "lid"}]]


def frame(lists, **columns):
    before = {"id": range(len(lists))}
    return pd.DataFrame({**before, "items": pd.Series(lists, dtype=object), "z": list("abcdef")[: len(lists)], **columns})  # fmt: skip


def test_the_fields_of_records_are_columns_where_the_lists_were():
    df = frame(RECORDS).set_axis(["p", "q", "q", "r"])
    before = df.copy()
    made = llmframe.explode(df, "items")
    assert list(made) == ["id", "items.name", "items.count", "z"]
    assert made.index.tolist() == ["p", "p", "q", "q", "r"]
    assert made["id"].tolist() == [0, 0, 1, 2, 3]
    assert made["items.name"].dropna().tolist() == ["hinge", "lid", "lid"]
    assert made["items.name"].isna().tolist() == [False, False, True, True, False]
    assert made["items.count"].fillna(-1).tolist() == [2, -1, -1, -1, -1]
    assert made.dtypes.astype(str).tolist() == ["int64", "str", "Int64", "str"]
    pd.testing.assert_frame_equal(df, before)


def test_single_values_stay_one_column_as_pandas_has_it():
    df = frame([[1, 2], [], None, (3,), np.array([4])])
    made = llmframe.explode(df, "items")
    assert made["items"].dtype == "Int64"
    expected = df.assign(items=[[1, 2], [], None, [3], [4]]).explode("items")
    pd.testing.assert_frame_equal(made, expected.astype({"items": "Int64"}))


@pytest.mark.parametrize("options", [{}, {"dtype_backend": "pyarrow"}, {"dtype_backend": "numpy_nullable"}])
def test_lists_that_came_back_from_parquet_are_lists(options, tmp_path):
    df = frame(RECORDS, sizes=[[1, 2], [], None, [3]])
    df.to_parquet(tmp_path / "df.parquet")
    back = pd.read_parquet(tmp_path / "df.parquet", **options)
    for column in ("items", "sizes"):
        made, expected = llmframe.explode(back, column), llmframe.explode(df, column)
        new = [name for name in expected if name.startswith(column)]
        pd.testing.assert_frame_equal(made[new], expected[new])


TYPES = {
    "text": (["a", None], TEXT),
    "int": ([1, None], "Int64"),
    "float": ([1, 0.5], "float64"),
    "bool": ([True, None], "boolean"),
    "date": ([date(2026, 1, 31), None], "datetime64[us]"),
    "datetime": ([datetime(2026, 1, 31, 10), None], "datetime64[us]"),  # noqa: DTZ001
    "aware": ([datetime(2026, 1, 31, 10, tzinfo=UTC), None], "datetime64[us, UTC]"),
    "zones": ([datetime(2026, 1, 31, tzinfo=timezone(timedelta(hours=hours))) for hours in (0, 1)], object),
    "beyond 64 bits": ([2**64, 1], object),
    "several types": ([1, "a"], object),
    "lists": ([[1], None], object),
    "records": ([{"a": 1}, None], object),
    "nothing": ([None, None], object),
}


@pytest.mark.parametrize("kind", TYPES)
def test_a_field_has_the_dtype_that_suits_its_values(kind):
    values, dtype = TYPES[kind]
    made = llmframe.explode(frame([[{"v": value} for value in values]]), "items")["items.v"]
    assert made.dtype == dtype
    expected = [
        pd.Timestamp(value) if kind in {"date", "datetime", "aware"} and value else value for value in values
    ]
    assert [None if pd.api.types.is_scalar(value) and pd.isna(value) else value for value in made] == expected


@pytest.mark.parametrize("lists", [[], [None], [[]], [[None]]])
def test_without_an_item_the_column_is_all_missing(lists):
    made = llmframe.explode(frame(lists), "items")
    assert list(made) == ["id", "items", "z"]
    assert len(made) == len(lists)
    assert made["items"].isna().all()


@pytest.mark.parametrize(
    ("lists", "arguments", "error", "said"),
    [
        ([[1]], {"column": "itens"}, KeyError, "there is no column 'itens'; the nearest is 'items'"),
        ([[1]], {"column": "id"}, TypeError, "'id' must hold lists; at row 0 it has 0"),
        (["[1]"], {}, TypeError, r"at row 0 it has '\[1\]'; lists in text are read with json.loads"),
        ([[1], {"a": 1}], {}, TypeError, "at row 1 it has {'a': 1}"),
        ([[{"a": 1}, 2]], {}, TypeError, r"records and single values \(2\)"),
        (
            [[{"d": 1, "z": 2, "id": 3}]],
            {"prefix": ""},
            ValueError,
            "prefix: the columns 'z', 'id' are already",
        ),
        ([[1]], {"prefix": 3}, TypeError, "prefix must be text"),
    ],
)
def test_what_cannot_be_meant_is_an_error_that_names_it(lists, arguments, error, said):
    with pytest.raises(error, match=said):
        llmframe.explode(frame(lists), **{"column": "items", **arguments})


def test_several_columns_of_one_name_are_an_error_where_they_are_meant_and_harmless_elsewhere():
    df = pd.DataFrame([[1, [1, 2], 3]], columns=["a", "items", "a"])
    assert llmframe.explode(df, "items").shape == (2, 3)
    with pytest.raises(ValueError, match="several columns named 'a'"):
        llmframe.explode(df, "a")


def test_a_field_may_take_the_lists_own_name():
    assert list(llmframe.explode(frame([[{"items": 1}]]), "items", prefix="")) == ["id", "items", "z"]


def test_columns_of_several_levels():
    df = pd.DataFrame([[1, [{"a": 5}]]], columns=pd.MultiIndex.from_tuples([("id", ""), ("items", "")]))
    made = llmframe.explode(df, "items")
    assert made.columns.tolist() == [("id", ""), ("items.a", "")]


def test_what_is_no_frame_is_an_error():
    with pytest.raises(TypeError, match="frame must be a DataFrame; got a list"):
        llmframe.explode([[1]], "items")


class Part(BaseModel):
    name: str
    count: int | None


def test_what_extract_wrote_is_exploded(llm, lane, tmp_path):
    llm.answer = lambda _: json.dumps(
        {"parts": [{"name": "hinge", "count": 2}, {"name": "lid", "count": None}]}
    )
    df = pd.DataFrame({"review": ["a", None]}).llm.extract("review", {"parts": list[Part]})
    df.to_parquet(tmp_path / "df.parquet")
    for each in (df, pd.read_parquet(tmp_path / "df.parquet")):
        made = llmframe.explode(each, "parts", prefix="part_")
        assert set(made) == {"review", "part_name", "part_count"}  # earlier pyarrow sorts them
        assert made["part_count"].dtype == "Int64"
        assert made["part_name"].fillna("-").tolist() == ["hinge", "lid", "-"]
