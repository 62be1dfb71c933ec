"""What stands in a CSV file: formulas, index, columns."""

import csv
import io
import math

import pandas as pd
import pytest
from files.csv_frames import assert_comes_back, text_frame, through_text

from llmframe._files.csv.csv_reader import read_csv
from llmframe._files.csv.csv_writer import to_csv

# fmt: off
FORMULAS = [
    "=1+1", "+1+1", "-1-1", "-2+3", "+1-800", "+49 30", "-", "--1", "-1/2", "-A1", "-1,2,3", "-1.2.3", "-1e", "-1\n", "-$5", "-nan", "@x", "\tx", "\rx", "\uff1d1", "\uff0b1", "\uff0d1", "\uff201", " =1", "\n=1", "'=1", "\u3000\uff1d1",
]
# fmt: on


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_are_neutralised_everywhere(text):
    """Cells, column names, index names and index labels that would run begin with an apostrophe in the file."""
    frame = text_frame([[text]], [text + "c"]).set_index(pd.Index([text], name=text))
    for row in csv.reader(io.StringIO(to_csv(frame), newline="")):
        assert all(cell.startswith("'") and cell.lstrip("'").startswith(text.lstrip("'")) for cell in row)
    pd.testing.assert_frame_equal(through_text(frame, index_col=0), frame)


# fmt: off
NUMBERS = [
    "-33.9", "+49", "-1e5", "-1,234.5", "-1.234,5", "-33,9", "+1E+5", "-1,234,567", "-12,34,567.8", "-1.234.567", "-.5", "-5.", "-5%", "-007", "-0",
    "-inf", " -33.9", "-33.9 ",
]
# fmt: on


@pytest.mark.parametrize("text", NUMBERS)
def test_a_plain_number_is_no_formula(text):
    """As text, as a label and as a name it is written as it is, and comes back as that text."""
    frame = text_frame([[text], ["'" + text]], [text, "x"]).set_index(pd.Index([text], name="i"))
    written = to_csv(frame)
    assert next(csv.reader(io.StringIO(written, newline=""))) == ["i", text, "x"]
    assert list(csv.reader(io.StringIO(written, newline="")))[1][:2] == [text, text]
    pd.testing.assert_frame_equal(through_text(frame, index_col=0), frame)


def test_columns_of_numbers_as_text_are_numbers_to_others():
    frame = text_frame([["-33.9", "1"], ["-1e5", "+49"], ["-inf", "0"]])
    read = pd.read_csv(io.StringIO(to_csv(frame, index=False)))
    assert read.to_numpy().tolist() == [[-33.9, -1e5, -math.inf], [1, 49, 0]]


@pytest.mark.parametrize("text", ["x=1", "a - b", "'quoted'", "\nHello", "'", "", "7", "(=1)"])
def test_harmless_text_is_left_alone(text):
    """What no spreadsheet runs is written as it is."""
    assert next(csv.reader([to_csv(text_frame([[text]]), index=False).split("\n", 1)[1]])) in (
        [text],
        [text + "\n"],
    )


def test_number_columns_with_a_formula_for_a_name_are_escaped():
    """A name is text even where its column is not."""
    frame = pd.DataFrame({"=1": [1], "-2+1": [2.5], "-2": [0], "ok name": [True]})
    assert to_csv(frame, index=False) == '"\'=1","\'-2+1","-2",ok name\n1,2.5,0,True\n'
    assert_comes_back(frame)


def test_escaping_can_be_left_out():
    """With escape_formulas=False the file holds the text itself, and reading takes nothing off."""
    frame = text_frame([["=1", "'=1"]])
    assert to_csv(frame, index=False, escape_formulas=False) == '"a"\n"=1"\n"\'=1"\n'
    assert_comes_back(frame, escape_formulas=False)


def test_the_index_is_written_as_pandas_does():
    """Each level is a column before the others, with an empty name where it has none."""
    index = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["k", None])
    frame = pd.DataFrame({"x": [1.5, 2.5]}, index=index)
    assert to_csv(frame) == '"k",,x\n"a",1,1.5\n"b",2,2.5\n'
    pd.testing.assert_frame_equal(through_text(frame, index_col=[0, 1]), frame)
    pd.testing.assert_frame_equal(through_text(frame, index_col=["k", "Unnamed: 1"]), frame)


def test_index_col_takes_positions_and_names():
    """index_col finds columns as pandas does: by position, also from the end, or by name."""
    text = '"k",n\n"007",1\n"NA",2\n'
    by_name = read_csv(io.StringIO(text), index_col="k")
    assert by_name.index.tolist() == ["007", "NA"]
    for index_col in (0, -2, [0], ["k"]):
        pd.testing.assert_frame_equal(read_csv(io.StringIO(text), index_col=index_col), by_name)
    pd.testing.assert_frame_equal(read_csv(io.StringIO(text), index_col=False), read_csv(io.StringIO(text)))


@pytest.mark.parametrize("index_col", ["nope", 2, -3, ["k", "nope"]])
def test_an_unknown_index_col_lists_the_columns(index_col):
    """An index_col that is not there is an error that names those that are."""
    with pytest.raises(ValueError, match=r"index_col has .*, but the file's columns are \['k', 'n'\]"):
        read_csv(io.StringIO('"k",n\n"a",1\n'), index_col=index_col)


def test_a_frame_of_an_index_alone_is_written():
    """No columns but an index is a file of one column; nothing at all is an error."""
    frame = pd.DataFrame(index=["a", "b"])
    assert to_csv(frame) == '""\n"a"\n"b"\n'
    back = through_text(frame, index_col=0)
    assert (back.index.tolist(), back.index.name, back.shape) == (["a", "b"], None, (2, 0))
    with pytest.raises(ValueError, match="no column to write"):
        to_csv(frame, index=False)


def test_columns_chooses_and_orders():
    """columns= writes those and no others, in that order."""
    frame = pd.DataFrame({"a": [1], "b": [2], 3: [3]})
    assert to_csv(frame, columns=[3, "a"], index=False) == "3,a\n3,1\n"
    assert through_text(frame).columns.tolist() == ["a", "b", "3"]


@pytest.mark.parametrize(
    ("frame", "options", "error", "message"),
    [
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), {}, ValueError, r"\['x'\] would name several columns"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), {}, ValueError, r"\['1'\] would name several columns"),
        (pd.DataFrame({"x": [1]}, index=pd.Index([1], name="x")), {}, ValueError, "index=False"),
        (pd.DataFrame({("a", "b"): [1]}), {}, ValueError, "join them first"),
        (pd.DataFrame({"x": [1]}), {"columns": ["y"]}, ValueError, r"columns has \['y'\]"),
        (pd.DataFrame({"x": [1]}), {"columns": "x"}, TypeError, r"columns=\['x'\]"),
        (pd.DataFrame({"x": [1]}), {"sep": "::"}, ValueError, "sep is '::', but must be one of"),
        (pd.DataFrame({"x": [1]}), {"path": io.BytesIO()}, TypeError, "TextIOWrapper"),
        (pd.DataFrame({"x": [1]}), {"path": 3}, TypeError, "not int"),
        (pd.DataFrame({"x": [1]}), {"path": "no such folder/x.csv"}, FileNotFoundError, "create it first"),
        (pd.DataFrame({"x": [1]}), {"path": "x.csv.zip"}, ValueError, "'.zip'"),
        (
            pd.DataFrame({"x": [1]}),
            {"path": "x.parquet"},
            ValueError,
            "path ends in '.parquet', and this is CSV",
        ),
        (pd.DataFrame({"x": [1]}), {"path": "x.XLSX"}, ValueError, "path ends in '.XLSX', and this is CSV"),
    ],
)
def test_bad_arguments_say_what_to_write(tmp_path, monkeypatch, frame, options, error, message):
    """A bad argument is an error that names it, and no file is made."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        to_csv(frame, **{"path": "x.csv", **options})
    assert not list(tmp_path.iterdir())


def test_the_frame_is_left_alone():
    """Writing changes neither cells nor index nor attrs."""
    frame = text_frame([["=1", None]])
    before = frame.copy(deep=True)
    to_csv(frame)
    pd.testing.assert_frame_equal(frame, before)
