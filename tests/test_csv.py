"""CSV: what to_csv writes, read_csv gives back exactly, and spreadsheets and other tools read it right."""

import bz2
import csv
import datetime as dt
import decimal
import gzip
import io
import lzma
import os
import stat
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmframe._files.csv_reader import read_csv
from llmframe._files.csv_writer import to_csv

# fmt: off
HOSTILE = [
    "", " ", "  padded  ", "\t", "\n", "\r", "\r\n", "\x85", "\u2028", "\0", "a\0b", "\ufeff", "\ufffe", "\ufffe0",
    '"', '""', '"""', '","', '"\n"', ",", ";", "|", ",,", 'he said "no", twice', 'a\n\n\nb\r"', "'", "''", "😀", "ﬀ",
    "NA", "nan", "NaN", "None", "null", "<NA>", "N/A", "#N/A", "007", "1.50", "-5", "1e5", "inf", "True", "false",
    "=1+1", "'=1+1", "''=1+1", "'x", "+49 30", "-1", "- item", "@you", "\t=x", " =x", "\n=x", "\r=", "\0=x",
    "\uff1d1", "\uff0b1", "\uff0d1", "\uff20x", "'\uff1d1", "2026-01-31", "[1, 2]", "Unnamed: 0",
]
FORMULAS = [
    "=1+1", "+1", "-1", "@x", "\tx", "\rx", "\uff1d1", "\uff0b1", "\uff0d1", "\uff201", " =1", "\n=1", "'=1", "\u3000\uff1d1",
]
# fmt: on
HUGE = ["x" * 70_000, 'é"' * 300_000, ",\n" * 300_000]
TEXTS = st.one_of(st.text(max_size=20), st.sampled_from(HOSTILE))
CELLS = st.one_of(TEXTS, st.none())
SEPARATORS = st.sampled_from([",", ";", "\t", "|"])


def text_frame(columns, names=None):
    return pd.DataFrame(
        {name: pd.Series(cells, dtype="str") for name, cells in zip(names or "abcdef", columns, strict=False)}
    )


def through_text(frame, *, index_col=None, **options):
    index = index_col is not None
    return read_csv(io.StringIO(to_csv(frame, index=index, **options)), index_col=index_col, **options)


def assert_comes_back(frame, **options):
    pd.testing.assert_frame_equal(through_text(frame, index_col=None, **options), frame, check_exact=True)


@pytest.fixture
def reviews():
    return text_frame([["R1", "R2"], ["Grüße, 😀", None]], ["id", "review"])


# Text comes back


@settings(max_examples=300, deadline=None)
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


@settings(max_examples=200, deadline=None)
@given(names=st.lists(TEXTS, min_size=1, max_size=4, unique=True), cells=st.lists(CELLS, max_size=3))
def test_any_distinct_names_come_back_exactly(names, cells):
    """Column names are text like any other, the empty name and "Unnamed: 0" too."""
    assert_comes_back(text_frame([cells] * len(names), names))


@settings(max_examples=200, deadline=None)
@given(labels=st.lists(TEXTS, min_size=1, max_size=6), name=st.one_of(st.none(), TEXTS.filter(bool)))
def test_a_text_index_comes_back_exactly(labels, name):
    """Index labels and the index's name are kept, duplicates too; no name stays no name."""
    frame = pd.DataFrame({"value": range(len(labels))}, index=pd.Index(labels, dtype="str", name=name))
    if name != "value":
        pd.testing.assert_frame_equal(through_text(frame, index_col=0), frame)


@pytest.mark.parametrize("block", [1, 2, 3, 7])
def test_the_end_of_a_block_may_fall_anywhere(monkeypatch, block):
    """Reading in small blocks gives what reading at once gives, wherever quotes and line ends are cut."""
    monkeypatch.setattr("llmframe._files.csv_reader._CHARACTERS_AT_ONCE", block)
    assert_comes_back(text_frame([HOSTILE, HOSTILE[::-1]]))


def test_a_file_gives_back_hostile_texts(tmp_path):
    """Through a real file, in several chunks and with huge cells, everything comes back."""
    texts = [*HUGE, *HOSTILE * 300]
    frame = text_frame([texts, [None, *texts[:0:-1]]])
    to_csv(frame, tmp_path / "x.csv", index=False)
    pd.testing.assert_frame_equal(read_csv(tmp_path / "x.csv"), frame)


def test_chunks_of_rows_join_up(monkeypatch):
    """Where one chunk of rows ends and the next begins cannot be seen."""
    frame = text_frame([[str(row) if row % 3 else None for row in range(25)]])
    whole = to_csv(frame)
    for rows in (1, 5, 24, 25, 26):
        monkeypatch.setattr("llmframe._files.csv_writer._ROWS_AT_ONCE", rows)
        assert to_csv(frame) == whole


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


# Numbers and the rest


@settings(max_examples=200, deadline=None)
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


# Formulas


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_are_neutralised_everywhere(text):
    """Cells, column names, index names and index labels that would run begin with an apostrophe in the file."""
    frame = text_frame([[text]], [text + "c"]).set_index(pd.Index([text], name=text))
    for row in csv.reader(io.StringIO(to_csv(frame), newline="")):
        assert all(cell.startswith("'") and cell.lstrip("'").startswith(text.lstrip("'")) for cell in row)
    pd.testing.assert_frame_equal(through_text(frame, index_col=0), frame)


@pytest.mark.parametrize("text", ["x=1", "a - b", "'quoted'", "\nHello", "'", "", "7", "(=1)"])
def test_harmless_text_is_left_alone(text):
    """What no spreadsheet runs is written as it is."""
    assert next(csv.reader([to_csv(text_frame([[text]]), index=False).split("\n", 1)[1]])) in (
        [text],
        [text + "\n"],
    )


def test_number_columns_with_a_formula_for_a_name_are_escaped():
    """A name is text even where its column is not."""
    frame = pd.DataFrame({"=1": [1], "-2": [2.5], "ok name": [True]})
    assert to_csv(frame, index=False) == '"\'=1","\'-2",ok name\n1,2.5,True\n'
    assert_comes_back(frame)


def test_escaping_can_be_left_out():
    """With escape_formulas=False the file holds the text itself, and reading takes nothing off."""
    frame = text_frame([["=1", "'=1"]])
    assert to_csv(frame, index=False, escape_formulas=False) == '"a"\n"=1"\n"\'=1"\n'
    assert_comes_back(frame, escape_formulas=False)


# Index and columns


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


# Files


def test_files_are_utf8_with_a_bom_and_line_feeds(tmp_path, reviews):
    """The default file begins with the BOM that Excel needs; encoding="utf-8" leaves it out."""
    to_csv(reviews, tmp_path / "x.csv", index=False)
    assert (tmp_path / "x.csv").read_bytes() == '\ufeff"id","review"\n"R1","Grüße, 😀"\n"R2",\n'.encode()
    to_csv(reviews, tmp_path / "y.csv", index=False, encoding="utf-8")
    assert (tmp_path / "y.csv").read_bytes().startswith(b'"id"')
    for name, encoding in [("x.csv", "utf-8-sig"), ("x.csv", "utf-8"), ("y.csv", "utf-8-sig")]:
        pd.testing.assert_frame_equal(read_csv(tmp_path / name, encoding=encoding), reviews)


def test_other_encodings_have_one_byte_order_mark(tmp_path, reviews):
    """An encoding that begins with a mark writes it once for the file, not for each chunk."""
    to_csv(reviews, tmp_path / "x.csv", index=False, encoding="utf-16")
    assert (tmp_path / "x.csv").read_bytes() == to_csv(reviews, index=False).encode("utf-16")


@pytest.mark.parametrize(("suffix", "module"), [(".gz", gzip), (".bz2", bz2), (".XZ", lzma)])
def test_the_extension_compresses(tmp_path, reviews, suffix, module):
    """.gz, .bz2 and .xz files are compressed, read back by read_csv and by pandas."""
    path = tmp_path / f"x.csv{suffix}"
    to_csv(reviews, path, index=False)
    assert module.decompress(path.read_bytes()) == to_csv(reviews, index=False).encode("utf-8-sig")
    pd.testing.assert_frame_equal(read_csv(path), reviews)
    pd.testing.assert_frame_equal(pd.read_csv(path), reviews)
    assert b"tmp" not in path.read_bytes()


def test_half_a_surrogate_pair_is_named_before_the_file_is_touched(tmp_path):
    """Text that UTF-8 cannot write is an error with its column and row, and the old file stays."""
    path = tmp_path / "x.csv"
    path.write_text("precious")
    frame = pd.DataFrame({"n": range(20_001), "t": pd.Series(["ok"] * 20_000 + ["\ud83d"], dtype=object)})
    with pytest.raises(ValueError, match=r"column 't', row 20000 \(iloc\[20000\]\).*ud83d.*surrogate"):
        to_csv(frame, path)
    with pytest.raises(ValueError, match="a column name"):
        to_csv(pd.DataFrame([[1]], columns=pd.Index(["\ud83d"], dtype=object)), path)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_narrow_encoding_names_what_it_cannot_write():
    """An encoding without a character is an error with its place, not a question mark."""
    with pytest.raises(ValueError, match=r"column 'a', row 1 .*encoding=\"latin-1\""):
        to_csv(text_frame([["é", "😀"]]), encoding="latin-1")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupt_leaves_the_old_file(tmp_path, monkeypatch, reviews, error):
    """An interrupt or failure before the end leaves what was there, and nothing half-written."""
    path = tmp_path / "x.csv"
    path.write_text("precious")

    def fail(*_):
        raise error

    monkeypatch.setattr("llmframe._files.csv_writer._encodable", lambda text, *_: text)
    monkeypatch.setattr("llmframe._files.csv_writer._fields", fail)
    with pytest.raises(error):
        to_csv(reviews, path)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions and links of POSIX")
def test_permissions_and_links_stay(tmp_path, reviews):
    """An existing file keeps its permissions, a link still points to it, and a new file has the usual ones."""
    target, link, new, usual = (tmp_path / name for name in ("target.csv", "link.csv", "new.csv", "usual"))
    target.touch()
    usual.touch()
    target.chmod(0o640)
    link.symlink_to(target)
    to_csv(reviews, link)
    to_csv(reviews, new)
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert target.read_bytes() == new.read_bytes()
    assert new.stat().st_mode == usual.stat().st_mode


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_a_write_protected_file_is_not_replaced(tmp_path, monkeypatch, reviews):
    """A file that may not be written is an error, although its folder would allow replacing it."""
    (tmp_path / "x.csv").touch()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="write-protected"):
        to_csv(reviews, tmp_path / "x.csv")


@pytest.mark.skipif(sys.platform == "win32", reason="devices of POSIX")
def test_a_device_is_written_to_and_not_replaced(reviews):
    """What is no regular file stays what it is."""
    to_csv(reviews, os.devnull)
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_open_text_files_stay_open(tmp_path, reviews):
    """A caller's own file is written and read where it stands, and not closed."""
    with (tmp_path / "x.csv").open("w+", encoding="utf-8", newline="") as file:
        to_csv(reviews, file, index=False)
        file.seek(0)
        pd.testing.assert_frame_equal(read_csv(file), reviews)
        assert not file.closed


def test_none_returns_the_text_without_a_bom(reviews):
    """Without a path the text comes back, and with one None does."""
    assert to_csv(reviews, index=False) == '"id","review"\n"R1","Grüße, 😀"\n"R2",\n'
    assert to_csv(reviews, io.StringIO()) is None


def test_the_users_home_is_found(tmp_path, monkeypatch, reviews):
    """A path may begin with a tilde, as for pandas."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    to_csv(reviews, "~/x.csv", index=False)
    pd.testing.assert_frame_equal(read_csv("~/x.csv"), reviews)


# Other tools


def test_other_tools_read_it(tmp_path):
    """csv.reader and pandas.read_csv find the same rows and texts in the file."""
    texts = [text for text in HOSTILE if text and "\0" not in text]
    frame = text_frame([texts, texts[::-1]])
    to_csv(frame, tmp_path / "x.csv", index=False, escape_formulas=False)
    with (tmp_path / "x.csv").open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.reader(file)) == [["a", "b"], *frame.to_numpy().tolist()]
    by_pandas = pd.read_csv(tmp_path / "x.csv", encoding="utf-8-sig", keep_default_na=False, dtype="str")
    pd.testing.assert_frame_equal(by_pandas, frame)


FOREIGN = [
    "id,text,price\n1,plain,1.5\n2,NA,\n3,x y,3\n",
    'id,text\n1,"a, b"\n2,plain\n3,\n4,NA\n',
    'id,size\n1,5" pipe\n2,6"\n3,"7"" pipe, long"\n4,8\n',
    'id,text\n1,"two\nlines"\n2, "not quoted"\n3,"closed" and on\n',
    "only\na\n\nb\n",
    "only\n1\n\n2",
    "a,b,c\n1,2\n4,5,6\n",
    "a,,b\n1,2,3\n",
    "x,x\n1,2\n",
    "flag\nTrue\nFALSE\n",
    "d\n2026-01-31\n2026-02-28\n",
    "a;b\n1;2\n",
]


@pytest.mark.parametrize("text", FOREIGN)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_foreign_files_read_as_pandas_reads_them(tmp_path, text, end, bom):
    """Minimal quoting, any line ends, stray quotes, short rows and blank lines read as with pandas."""
    path = tmp_path / "foreign.csv"
    path.write_bytes((bom + text.replace("\n", end)).encode())
    pd.testing.assert_frame_equal(read_csv(path), pd.read_csv(path, encoding="utf-8-sig"))


@settings(max_examples=300, deadline=None)
@given(
    body=st.text('",\n ab', max_size=25),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    block=st.sampled_from([1, 2, 5, 1 << 18]),
)
def test_any_foreign_text_has_the_cells_that_pandas_finds(body, end, block):
    """However quotes, separators and line ends meet, the cells are pandas' own, or both refuse the file."""
    lines = "h,i,j\n" + body
    text = lines.replace("\n", end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmframe._files.csv_reader._CHARACTERS_AT_ONCE", block)
        try:
            theirs = pd.read_csv(io.StringIO(lines), keep_default_na=False, dtype="str")
            assert isinstance(theirs.index, pd.RangeIndex)
        except (ValueError, AssertionError):
            with pytest.raises(ValueError):
                read_csv(io.StringIO(text, newline=""))
        else:
            ours = read_csv(io.StringIO(text, newline="")).astype(object).fillna("")
            assert ours.to_numpy().tolist() == theirs.replace("\n", end, regex=True).to_numpy().tolist()


def test_quoted_numbers_are_text():
    """Quotes tell text from numbers, cell by cell; a column with a quoted cell is text."""
    frame = read_csv(io.StringIO('"zip",n,mixed\n"01234",1,"NA"\n,2,NA\n'))
    assert frame["zip"].tolist()[0] == "01234"
    assert frame["n"].dtype == np.int64
    assert frame["mixed"].fillna("missing").tolist() == ["NA", "missing"]


def test_apostrophes_of_a_resaved_file_come_off():
    """A spreadsheet that saves the file again drops the quotes but not the apostrophe, and it still comes off."""
    assert read_csv(io.StringIO("a,b\n'=1,'x\n''-2,'\n")).to_numpy().tolist() == [["=1", "'x"], ["'-2", "'"]]


@pytest.mark.parametrize(
    ("content", "options", "error", "message"),
    [
        (b"a\n\xe9\n", {}, ValueError, 'not in encoding="utf-8-sig".*cp1252'),
        (b"a,b\n1,2,3\n4,5,6\n", {}, ValueError, "more cells than the 2 names"),
        (b"a,b\n1,2\n1,2,3\n", {}, ValueError, "line 3"),
        (b'a,b\n1,"2\n', {}, ValueError, "EOF"),
        (b"", {}, ValueError, "No columns"),
        (b"a\n1\n", {"sep": " "}, ValueError, "sep is ' '"),
    ],
)
def test_files_that_cannot_be_read_say_why(tmp_path, content, options, error, message):
    """A file in another encoding or with rows that do not fit is an error, never wrong columns."""
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(error, match=message):
        read_csv(tmp_path / "x.csv", **options)


def test_binary_files_are_refused_with_the_remedy():
    """A file of bytes is an error that shows how to make it one of text."""
    with pytest.raises(TypeError, match=r"read_csv: .*TextIOWrapper"):
        read_csv(io.BytesIO(b"a\n1\n"))


# The sample that ships


def test_the_sample_reads_alike_everywhere():
    """The shipped reviews are plain UTF-8 without a BOM that pandas and read_csv read alike."""
    path = resources.files("llmframe") / "data" / "reviews.csv"
    content = path.read_bytes()
    assert not content.startswith(b"\xef\xbb\xbf")
    assert b"\r" not in content
    frame = pd.read_csv(io.BytesIO(content))
    assert frame["review_id"].tolist() == [f"R{number:04}" for number in range(1, 301)]
    pd.testing.assert_frame_equal(read_csv(str(path)), frame)
