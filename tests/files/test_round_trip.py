"""CSV: what `to_csv` writes, `read_csv` gives back exactly."""

import datetime as dt
import decimal
import io
import sys

import numpy as np
import pandas as pd
import pytest
from files.csv_frames import CELLS, HOSTILE, SEPARATORS, TEXTS, assert_comes_back, text_frame, through_text
from hypothesis import given, settings
from hypothesis import strategies as st

from llmframe._files.csv.csv_reader import _read, read_csv
from llmframe._files.csv.csv_writer import _chunks, _Style, to_csv
from llmframe._files.frame_columns import frame_columns

HUGE = ["x" * 70_000, 'é"' * 300_000, ",\n" * 300_000]


@settings(max_examples=300)
@given(
    table=st.integers(1, 4).flatmap(lambda width: st.lists(st.tuples(*[CELLS] * width), max_size=8)),
    sep=SEPARATORS,
    escape=st.booleans(),
)
def test_any_text_comes_back_exactly(table, sep, escape):
    """Whatever stands in text columns, missing cells among it, comes back as it was, in any style."""
    width = len(table[0]) if table else 2
    frame = text_frame([[row[column] for row in table] for column in range(width)])
    assert_comes_back(frame, sep=sep, escape_formulas=escape)


@settings(max_examples=200)
@given(names=st.lists(TEXTS, min_size=1, max_size=4, unique=True), cells=st.lists(CELLS, max_size=3))
def test_any_distinct_names_come_back_exactly(names, cells):
    """Column names are text like any other, the empty name and "Unnamed: 0" too."""
    assert_comes_back(text_frame([cells] * len(names), names))


@settings(max_examples=200)
@given(labels=st.lists(TEXTS, min_size=1, max_size=6), name=st.one_of(st.none(), TEXTS.filter(bool)))
def test_a_text_index_comes_back_exactly(labels, name):
    """Index labels and the index's name are kept, duplicates too; no name stays no name."""
    frame = pd.DataFrame({"value": range(len(labels))}, index=pd.Index(labels, dtype="str", name=name))
    if name != "value":
        pd.testing.assert_frame_equal(through_text(frame, index_col=0), frame)


@pytest.mark.parametrize("block", [1, 2, 3, 7])
def test_the_end_of_a_block_may_fall_anywhere(block):
    """Reading in small blocks gives what reading at once gives, wherever quotes and line ends are cut."""
    frame = text_frame([HOSTILE, HOSTILE[::-1]])
    text = io.StringIO(to_csv(frame, index=False))
    pd.testing.assert_frame_equal(_read(text, block_characters=block), frame)


def test_a_file_gives_back_hostile_texts(tmp_path):
    """Through a real file, in several chunks and with huge cells, everything comes back."""
    texts = [*HUGE, *HOSTILE * 300]
    frame = text_frame([texts, [None, *texts[:0:-1]]])
    to_csv(frame, tmp_path / "x.csv", index=False)
    pd.testing.assert_frame_equal(read_csv(tmp_path / "x.csv"), frame)


def test_chunks_of_rows_join_up():
    """Where one chunk of rows ends and the next begins cannot be seen."""
    frame = text_frame([[str(row) if row % 3 else None for row in range(25)]])
    table = frame_columns(frame, "to_csv", index=True, labels=None)
    style = _Style(",", "utf-8-sig", escape_formulas=True, missing="")
    for rows in (1, 5, 24, 25, 26):
        assert "".join(_chunks(table, style, rows)) == to_csv(frame)


@pytest.mark.parametrize("cells", [[], [None], [None, None], [""], ["", None], [None, "", None, "NA"]])
def test_one_column_keeps_its_rows(cells):
    """A file of one column has no blank lines, so that no reader skips a missing or empty cell."""
    frame = text_frame([cells])
    assert_comes_back(frame)
    assert len(pd.read_csv(io.StringIO(to_csv(frame, index=False)))) == len(cells)


@pytest.mark.parametrize("rows", [0, 3])
def test_text_columns_without_a_value_stay_text(rows):
    """An empty or all-missing text column is known by its quoted name, and a number column by its bare one."""
    frame = pd.DataFrame(
        {"text": pd.Series([None] * rows, dtype="str"), "all": "x", "number": np.nan}, index=range(rows)
    )
    back = through_text(frame)
    assert back["text"].dtype == frame["text"].dtype
    assert rows == 0 or back["number"].dtype == float


def test_missing_and_empty_are_two_things():
    """A missing cell is nothing and empty text is two quotes."""
    frame = text_frame([["", None], ["x", "y"]])
    assert to_csv(frame, index=False) == '"a","b"\n"","x"\n,"y"\n'


@settings(max_examples=200)
@given(
    floats=st.lists(st.floats(), min_size=1, max_size=9),
    whole=st.integers(-(2**63), 2**63 - 1),
    truth=st.booleans(),
)
def test_numbers_and_truth_values_come_back_exactly(floats, whole, truth):
    """int64, float64 to the last bit and bool columns keep their values and dtypes."""
    frame = pd.DataFrame({"float": floats, "int": whole, "bool": truth})
    back = through_text(frame)
    pd.testing.assert_frame_equal(back, frame, check_exact=True)
    known = frame["float"].notna()
    assert np.array_equal(np.signbit(back["float"][known]), np.signbit(frame["float"][known]))


@pytest.mark.parametrize("dtype", ["Int64", "UInt64", "int64[pyarrow]"])
def test_large_integers_beside_missing_cells_come_back_as_their_digits(dtype):
    """pandas would round them. Small ones stay numbers."""
    frame = pd.DataFrame(
        {
            "id": pd.array([2**53 + 1, 2**63 - 1, 5, None], dtype=dtype),
            "n": pd.array([2**53, 1, 5, None], dtype=dtype),
        }
    )
    back = through_text(frame)
    assert back["id"].tolist()[:-1] == ["9007199254740993", "9223372036854775807", "5"]
    assert back["n"].tolist()[:-1] == [2**53, 1, 5]
    assert back.isna().sum().tolist() == [1, 1]


def test_extreme_floats_come_back_exactly():
    """Infinities, minus zero and the largest and smallest floats are kept."""
    floats = [np.inf, -np.inf, np.nan, -0.0, 1e308, sys.float_info.max, 5e-324, 0.1 + 0.2, 1.0]
    back = through_text(pd.DataFrame({"float": floats}))["float"].tolist()
    assert list(map(repr, back)) == list(map(repr, floats))


def test_numbers_are_neither_quoted_nor_escaped():
    """A negative number stays one that a spreadsheet can add up."""
    frame = pd.DataFrame({"n": [-5, 3], "x": [-0.5, np.nan], "ok": [True, False]})
    assert to_csv(frame, index=False) == "n,x,ok\n-5,-0.5,True\n3,,False\n"


def test_nullable_and_small_numbers_are_written_short():
    """Extension dtypes and float32 are written as people write them."""
    frame = pd.DataFrame(
        {
            "i": pd.array([1, None], dtype="Int64"),
            "b": pd.array([True, None], dtype="boolean"),
            "f": np.array([0.1, 2], dtype="float32"),
        }
    )
    assert to_csv(frame, index=False) == "i,b,f\n1,True,0.1\n,,2.0\n"


def test_mixed_columns_come_back_as_text():
    """In an object column text is quoted and numbers are not; read back, they are all text."""
    frame = pd.DataFrame(
        {"mixed": pd.Series([1, "1", None, decimal.Decimal("-2.50"), True], dtype=object), "n": 0}
    )
    assert to_csv(frame, columns=["mixed"], index=False) == '"mixed"\n1\n"1"\nNA\n-2.50\nTrue\n'
    assert through_text(frame)["mixed"].tolist()[:2] == ["1", "1"]
    assert through_text(frame)["mixed"].dtype == pd.Series(["x"]).dtype


def test_categories_are_written_as_their_values():
    """Categories of text are text, and those of numbers numbers."""
    frame = pd.DataFrame({"c": pd.Categorical(["-x", None, "-x"]), "n": pd.Categorical([1, None, 2])})
    assert to_csv(frame, index=False) == '"c",n\n"\'-x",1\n,\n"\'-x",2\n'


@pytest.mark.parametrize(
    ("moments", "texts"),
    [
        (["2026-01-31", None], ["2026-01-31", ""]),
        (["2026-01-31", "2026-01-31 10:30"], ["2026-01-31 00:00:00", "2026-01-31 10:30:00"]),
        (
            ["2026-01-31", "2026-01-31 00:00:00.5"],
            ["2026-01-31 00:00:00.000000", "2026-01-31 00:00:00.500000"],
        ),
        (["2026-01-31 00:00:00.000000001"], ["2026-01-31 00:00:00.000000001"]),
        (["2026-01-31 00:00+01:00"], ["2026-01-31 00:00:00+01:00"]),
    ],
)
def test_datetimes_have_one_format_a_column(moments, texts):
    """Datetimes are unquoted, in the shortest ISO format that is exact for the whole column, and come back as text."""
    frame = pd.DataFrame({"when": pd.to_datetime(pd.Series(moments), format="ISO8601"), "n": 1})
    assert (
        to_csv(frame, index=False).split() == ("when,n\n" + "".join(f"{text},1\n" for text in texts)).split()
    )
    assert through_text(frame)["when"].fillna("").tolist() == texts


def test_other_objects_are_text():
    """Dates are bare; what nobody knows is written as str shows it, and cannot become a formula."""
    cells = [dt.date(2026, 1, 31), pd.Timedelta("-1s"), pd.Interval(0, 1), 1 - 2j]
    frame = pd.DataFrame({"x": pd.Series(cells, dtype=object), "n": 0})
    back = through_text(frame)["x"].tolist()
    assert back == ["2026-01-31", "-1 days +23:59:59", "(0, 1]", "(1-2j)"]
    assert "\"'-1 days" in to_csv(frame)


def test_nested_cells_are_compact_json():
    """Lists, dicts, sets and arrays, also within each other, become JSON text as people read it."""
    cells = [
        [1, "é", None],
        {"a": np.float32(0.1), "b": np.arange(3), 7: [np.bool_(True), pd.NA, np.nan]},
        np.array([0.1, 2], dtype="float32"),
        np.array(["x", None], dtype=object),
        np.arange(6).reshape(2, 3)[:, ::2],
        ({1}, dt.date(2026, 1, 31), decimal.Decimal("1.5"), pd.Timestamp("2026-01-31")),
        None,
    ]
    frame = pd.DataFrame({"nested": pd.Series(cells, dtype=object), "n": 0})
    assert through_text(frame)["nested"].tolist()[:-1] == [
        '[1,"é",null]',
        '{"a":0.1,"b":[0,1,2],"7":[true,null,null]}',
        "[0.1,2.0]",
        '["x",null]',
        "[[0,2],[3,5]]",
        '[[1],"2026-01-31","1.5","2026-01-31 00:00:00"]',
    ]


@pytest.mark.parametrize("cell", [[2**70], ["\ud83d"], {(1, 2): 3}])
def test_a_cell_that_json_cannot_hold_is_named(cell):
    """A nested cell that cannot be JSON is an error with its column and row."""
    frame = pd.DataFrame({"nested": pd.Series([[1], None, cell], dtype=object)})
    with pytest.raises(ValueError, match=r"column 'nested', row 2 \(iloc\[2\]\) cannot be written as JSON"):
        to_csv(frame)
