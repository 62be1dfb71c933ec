"""Excel files: text is text, numbers are numbers, and what does not fit is named before anything is written."""

import datetime as dt
import decimal
import io
import re
import sys
import zipfile

import numpy as np
import openpyxl
import pandas as pd
import pytest
from files.csv_frames import HOSTILE, text_frame
from hypothesis import given, settings
from hypothesis import strategies as st

from llmframe._files import excel, to_excel

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(HOSTILE)
UTC = dt.UTC


def sheet_of(frame, **options):
    file = io.BytesIO()
    to_excel(frame, file, **{"index": False, **options})
    return openpyxl.load_workbook(file).active


def parts_of(frame):
    file = io.BytesIO()
    to_excel(frame, file, index=False)
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def cells(frame, **options):
    return [[cell.value for cell in row] for row in sheet_of(frame, **options).iter_rows()]


def unescaped(text):
    """Return what Excel shows for a text of the file: it writes control characters as _x0001_."""
    return None if text is None else re.sub("_x([0-9A-F]{4})_", lambda found: chr(int(found[1], 16)), text)


@pytest.mark.slow
@settings(max_examples=200)
@given(texts=st.lists(TEXTS, min_size=1, max_size=5))
def test_text_is_that_text(texts):
    """Of any characters: no formula, no number, no link, no apostrophe, nothing stripped; control characters too."""
    sheet = sheet_of(text_frame([texts], ["=name"]))
    rows = list(sheet.iter_rows(min_row=2, max_row=len(texts) + 1))
    for text, (cell,) in zip(texts, rows, strict=True):
        # XML reads a carriage return as a line feed unless it is written as _x000D_.
        assert (unescaped(cell.value) or "").replace("\r\n", "\n").replace("\r", "\n") == text.replace(
            "\r\n", "\n"
        ).replace("\r", "\n")
        assert cell.data_type == ("s" if text else "n" if cell.value is None else "s")
        assert cell.hyperlink is None
    assert sheet["A1"].value == "=name"


def test_there_are_no_formulas_and_no_links():
    texts = ["=1+1", "+1", "-1", "@a", "http://a.example/", "mailto:a@b.example", "internal:A1", "1.5", "007"]
    parts = parts_of(text_frame([texts]))
    sheet = parts["xl/worksheets/sheet1.xml"]
    assert "<f>" not in sheet
    assert "hyperlink" not in sheet
    assert not [name for name in parts if name.startswith("xl/worksheets/_rels")]
    assert sheet.count('t="s"') == len(texts) + 1
    assert "'=1" not in parts["xl/sharedStrings.xml"]


def test_numbers_truth_values_and_dates_are_excels_own():
    frame = pd.DataFrame(
        {
            "i": [1, -5],
            "f": [0.1, np.nan],
            "b": [True, False],
            "n": pd.array([7, None], dtype="Int64"),
            "d": pd.Series([decimal.Decimal("-2.50"), None], dtype=object),
            "when": pd.to_datetime(["2026-01-31 10:30:00.125", None], format="ISO8601"),
            "day": pd.Series([dt.date(2026, 1, 31), None], dtype=object),
            "time": pd.Series([dt.time(10, 30), None], dtype=object),
            "cat": pd.Categorical(["-x", None]),
            "small": np.array([0.5, 2], dtype="float32"),
        }
    )
    sheet = sheet_of(frame)
    first, second = ([cell.value for cell in row] for row in sheet.iter_rows(min_row=2))
    moment = dt.datetime(2026, 1, 31, 10, 30, 0, 125_000)  # noqa: DTZ001 (Excel has no time zones)
    assert first == [1, 0.1, True, 7, -2.5, moment, dt.datetime(2026, 1, 31), dt.time(10, 30), "-x", 0.5]  # noqa: DTZ001
    assert second == [-5, None, False, None, None, None, None, None, None, 2]
    assert [cell.number_format for cell in sheet[2]][5:8] == ["yyyy-mm-dd hh:mm:ss", "yyyy-mm-dd", "hh:mm:ss"]


def test_no_digit_is_lost():
    """What Excel would round, or has no form for, is text."""
    frame = pd.DataFrame(
        {
            "id": [10**15, 5],
            "huge": pd.Series([2**70, None], dtype=object),
            "fits": [10**15 - 1, -(10**15) + 1],
            "decimal": pd.Series(
                [decimal.Decimal("1.234567890123456"), decimal.Decimal("NaN")], dtype=object
            ),
            "inf": [np.inf, -np.inf],
            "zone": pd.to_datetime(["2026-01-31", None]).tz_localize("Europe/Paris"),
            "fine": pd.to_datetime(["2026-01-31 00:00:00.000001", "1899-12-31"], format="ISO8601"),
            "old": pd.Series([dt.date(1899, 12, 31), dt.datetime(1, 1, 1, tzinfo=UTC)], dtype=object),
            "nested": pd.Series([[1, "é", None], {"a": np.float32(0.5)}], dtype=object),
            "other": pd.Series([1 - 2j, pd.Timedelta("1s")], dtype=object),
        }
    )
    rows = cells(frame)[1:]
    assert [list(column) for column in zip(*rows, strict=True)] == [
        ["1000000000000000", "5"],
        ["1180591620717411303424", None],
        [10**15 - 1, -(10**15) + 1],
        ["1.234567890123456", None],
        ["inf", "-inf"],
        ["2026-01-31 00:00:00+01:00", None],
        ["2026-01-31 00:00:00.000001", "1899-12-31 00:00:00"],
        ["1899-12-31", "0001-01-01 00:00:00+00:00"],
        ['[1,"é",null]', '{"a":0.5}'],
        ["(1-2j)", "0 days 00:00:01"],
    ]


def test_the_index_and_the_columns_are_chosen_as_for_csv(tmp_path):
    index = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["k", None])
    frame = pd.DataFrame({"x": [1.5, 2.5], 3: ["u", "v"], "z": 0}, index=index)
    assert cells(frame, index=True, columns=[3, "x"]) == [
        ["k", None, "3", "x"],
        ["a", 1, "u", 1.5],
        ["b", 2, "v", 2.5],
    ]
    frame.llm.to_excel(tmp_path / "x.XLSX", sheet_name="Réponses")
    workbook = openpyxl.load_workbook(tmp_path / "x.XLSX")
    assert workbook.sheetnames == ["Réponses"]
    assert workbook.active.max_column == 5


def test_a_frame_without_rows_has_its_names():
    assert cells(pd.DataFrame({"a": []})) == [["a"]]


LONG = "x" * 32_767


@pytest.mark.parametrize(
    ("frame", "options", "error", "message"),
    [
        (text_frame([["a", LONG + "x"]]), {}, ValueError, r"column 'a', row 1 .*32,768 characters.*32,767"),
        (text_frame([["😀" * 16_384]]), {}, ValueError, "32,768 characters"),
        (pd.DataFrame({"a": [list(range(9999))]}), {}, ValueError, r"column 'a', row 0 .*characters"),
        (pd.DataFrame({LONG + "x": [1]}), {}, ValueError, "the name of column 'xxx"),
        (pd.DataFrame({"a": pd.Series(["\ud83d"], dtype=object)}), {}, ValueError, r"column 'a', row 0 .*surrogate"),
        (pd.DataFrame({"a": pd.Series([{(1, 2): 3}], dtype=object)}), {}, ValueError, "cannot be written as JSON"),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), {}, ValueError, r"to_excel: \['x'\] would name several"),
        (pd.DataFrame({("a", "b"): [1]}), {}, ValueError, "to_excel: .*join them first"),
        (pd.DataFrame({"x": [1]}), {"columns": ["y"]}, ValueError, r"to_excel: columns has \['y'\]"),
        (pd.DataFrame({"x": [1]}), {"sheet_name": "a/b"}, ValueError, "sheet_name cannot be 'a/b'"),
        (pd.DataFrame({"x": [1]}), {"sheet_name": "x" * 32}, ValueError, "sheet_name cannot be"),
        (pd.DataFrame({"x": [1]}), {"path": "x.csv"}, ValueError, r"path ends in '.csv'.*'.xlsx'"),
        (pd.DataFrame({"x": [1]}), {"path": io.StringIO()}, TypeError, "a binary file, not StringIO"),
        (pd.DataFrame({"x": [1]}), {"path": 3}, TypeError, "not int"),
        (pd.DataFrame({"x": [1]}), {"path": "none/x.xlsx"}, FileNotFoundError, "to_excel: .*create it first"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_named_and_nothing_is_written(
    tmp_path, monkeypatch, frame, options, error, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.xlsx").write_text("precious")
    with pytest.raises(error, match=message):
        to_excel(frame, **{"path": "x.xlsx", **options})
    assert (tmp_path / "x.xlsx").read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_frame_larger_than_a_sheet_is_refused(monkeypatch):
    monkeypatch.setattr(excel, "_MOST_ROWS", 3)
    assert len(cells(pd.DataFrame({"a": range(2)}))) == 3
    with pytest.raises(ValueError, match="the frame has 3 rows and 1 columns"):
        to_excel(pd.DataFrame({"a": range(3)}), io.BytesIO(), index=False)


def test_the_longest_text_fits():
    assert cells(text_frame([[LONG]]))[1] == [LONG]


def test_without_its_extra_it_says_how_to_install_it(monkeypatch):
    """By a clone's extra: on PyPI the name belongs to another project."""
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install '\.\[excel\]'"):
        pd.DataFrame({"a": [1]}).llm.to_excel(io.BytesIO())
