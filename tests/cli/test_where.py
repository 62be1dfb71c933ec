"""`--where`: which rows a condition chooses, and what a condition may be."""

from __future__ import annotations

import datetime as dt
import operator

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmframe._files.where import rows_where

CSV = pd.DataFrame(
    {
        "stars": ["1", "5", None, " 2 ", "1e1"],
        "zip": ["007", "7", "", "70", "0"],
        "shop": ["a", "b", None, "d e", "a"],
        "two words": ["1", "2", "3", "4", "x"],
        "class": ["A", "B", "C", "D", "E"],
    }
)


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("stars < 3", [0, 3]),
        ("1 < stars <= 5", [1, 3]),
        ("stars != 1", [1, 3, 4]),
        ("stars == 10.0", [4]),
        ("stars == '1'", [0]),
        ("stars == -1", []),
        ("zip == 7", [0, 1]),
        ("zip == '007'", [0]),
        ("stars < zip", [0, 1, 3]),
        ("shop in ['a', 'b']", [0, 1, 4]),
        ("shop not in ('a', 'b')", [3]),
        ("stars in {1, 2}", [0, 3]),
        ("stars in ['1', 5]", [0, 1]),
        ("not shop == 'a'", [1, 2, 3]),
        ("stars < 3 and shop == 'a' or zip == 70", [0, 3]),
        ("stars < 3 and (shop == 'a' or zip == 70)", [0, 3]),
        ("`two words` == 'x'", [4]),
        ("`class` == 'B'", [1]),
        ("shop == '`a`' or shop == \"d e\"", [3]),
        ("'b' > shop", [0, 4]),
        ("2 > 1", [0, 1, 2, 3, 4]),
    ],
)
def test_cells_of_text_are_compared_as_numbers_where_all_are_such(condition, rows):
    """A comparison with a missing or blank cell does not hold, so that `!=` and `not in` leave it out too."""
    chosen = rows_where(condition, CSV, texts=True)
    assert [row for row, wanted in enumerate(chosen.tolist()) if wanted] == rows


TYPED = pd.DataFrame(
    {
        "n": pd.array([1, None, 2**60 + 1], dtype="Int64"),
        "ok": pd.Series([True, None, False], dtype=object),
        "day": [dt.date(2026, 1, 1), None, dt.date(2026, 3, 1)],
        "when": pd.to_datetime(["2026-01-01", None, "2026-03-01"]),
        "aware": pd.to_datetime(["2026-01-01", None, "2026-03-01"]).tz_localize("Europe/Paris"),
        "mixed": pd.Series([1, "1", [1]], dtype=object),
    }
)


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        (f"n == {2**60 + 1}", [2]),
        ("ok", [0]),
        ("not ok", [1, 2]),
        ("ok == False", [2]),
        ("day < '2026-02-01'", [0]),
        ("'2026-02-01' < when", [2]),
        ("aware >= '2026-03-01'", [2]),
        ("mixed == 1", [0]),
        ("mixed != 1", [1, 2]),
        ("mixed == '1'", [1]),
    ],
)
def test_typed_columns_are_compared_as_they_are(condition, rows):
    chosen = rows_where(condition, TYPED, texts=False)
    assert [row for row, wanted in enumerate(chosen.tolist()) if wanted] == rows


NUMBERS = st.integers(-(10**20), 10**20) | st.floats(-1e9, 1e9)
SIGNS = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
}


@given(cells=st.lists(NUMBERS, min_size=1), sign=st.sampled_from(sorted(SIGNS)), constant=NUMBERS)
def test_numbers_in_text_are_compared_exactly(cells, sign, constant):
    frame = pd.DataFrame({"n": list(map(repr, cells))})
    chosen = rows_where(f"n {sign} {constant!r}", frame, texts=True)
    assert chosen.tolist() == [SIGNS[sign](cell, constant) for cell in cells]


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("len(shop) < 3", "a call is not allowed"),
        ("shop.str == 'a'", "an attribute is not allowed"),
        ("stars + 1 < 3", "arithmetic is not allowed"),
        ("-stars < 3", "this is not allowed"),
        ("shop[0] == 'a'", "an index is not allowed"),
        ("(lambda: 1) == 1", "a function is not allowed"),
        ("[s for s in shop] == 1", "this is not allowed"),
        ("(x := 1) == 1", "this is not allowed"),
        ("f'{shop}' == 'a'", "this is not allowed"),
        ("shop is None", "`is` is not allowed"),
        ("shop == None", "None there is not allowed"),
        ("True", "True there is not allowed"),
        ("1", "1 there is not allowed"),
        ("__import__('os').system('true')", "a call is not allowed"),
        ("stars in 3", "constants in brackets"),
        ("stars in []", "constants in brackets"),
        ("stars in [zip]", "this is not allowed"),
        ("star < 3", "no column 'star'; the nearest is 'stars'"),
        ("stars <", "cannot be read"),
        ("stars < 3; 1", "cannot be read"),
        ("stars = 3", "cannot be read"),
        ("", "cannot be read"),
        ("(" * 9999, "cannot be read"),
        ("\0", "cannot be read"),
        ("stars", "alone is no condition"),
        ("shop < 3", "'shop' holds 'a' in row 1, and 3 is given"),
        ("`two words` < 3", "'two words' holds 'x' in row 5"),
        ("shop in [1, 2]", "no row can be compared"),
    ],
)
def test_nothing_else_is_allowed_and_the_error_says_what_is(condition, said):
    with pytest.raises(ValueError, match=r"^where: ") as caught:
        rows_where(condition, CSV, texts=True)
    assert said in str(caught.value)


def test_an_unreadable_date_is_an_error():
    with pytest.raises(ValueError, match="'soon' is no date"):
        rows_where("when < 'soon'", TYPED, texts=False)


def test_no_rows_have_no_rows():
    assert rows_where("a < 3 or a in [1]", pd.DataFrame({"a": []}), texts=True).tolist() == []
