"""CSV files that other tools read or wrote."""

import csv
import io
from importlib import resources

import numpy as np
import pandas as pd
import pytest
from files.csv_frames import HOSTILE, text_frame
from hypothesis import given, settings
from hypothesis import strategies as st

from llmframe._files.csv.csv_reader import _read, read_csv
from llmframe._files.csv.csv_writer import to_csv


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


@settings(max_examples=300)
@given(
    body=st.text('",\n ab', max_size=25),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    block=st.sampled_from([1, 2, 5, 1 << 18]),
)
def test_any_foreign_text_has_the_cells_that_pandas_finds(body, end, block):
    """However quotes, separators and line ends meet, the cells are pandas' own, or both refuse the file."""
    lines = "h,i,j\n" + body
    text = lines.replace("\n", end)
    file = io.StringIO(text, newline="")
    try:
        theirs = pd.read_csv(io.StringIO(lines), keep_default_na=False, dtype="str")
        assert isinstance(theirs.index, pd.RangeIndex)
    except (ValueError, AssertionError):
        with pytest.raises(ValueError):
            _read(file, block_characters=block)
    else:
        ours = _read(file, block_characters=block).astype(object).fillna("")
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


def test_the_sample_reads_alike_everywhere():
    """The shipped reviews are plain UTF-8 without a BOM that pandas and read_csv read alike."""
    path = resources.files("llmframe") / "data" / "reviews.csv"
    content = path.read_bytes()
    assert not content.startswith(b"\xef\xbb\xbf")
    assert b"\r" not in content
    frame = pd.read_csv(io.BytesIO(content))
    assert frame["review_id"].tolist() == [f"R{number:04}" for number in range(1, 301)]
    pd.testing.assert_frame_equal(read_csv(str(path)), frame)
