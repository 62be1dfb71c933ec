"""CSV and TSV as tables: cells and names stay as they are, whatever is answered beside them."""

import csv
import io

import pandas as pd
import pytest
from files.csv_frames import HOSTILE
from hypothesis import given, settings
from hypothesis import strategies as st

from llmframe._files import FORMATS, Table, TextStyle
from llmframe._files.csv.delimited import found_separator
from llmframe._files.csv.text_files import is_formula

# A carriage return alone ends a line for pandas; formulas are neutralised, which tests of their own hold.
PLAIN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\ufeff\ufffe"), max_size=12)
CELLS = (PLAIN | st.sampled_from(HOSTILE)).filter(
    lambda text: not (is_formula(text) or text.startswith("'") or set("\0\r\ufeff\ufffe") & set(text))
)


def file_of(rows, sep=",", encoding="utf-8", quoting=csv.QUOTE_MINIMAL):
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=sep, lineterminator="\n", quoting=quoting).writerows(rows)
    return io.BytesIO(text.getvalue().encode(encoding))


def read(raw, name="csv", **style):
    return FORMATS[name].read(io.BytesIO(raw), TextStyle(**style))


def written(table, name="csv", **style):
    file = io.BytesIO()
    FORMATS[name].write(table, file, TextStyle(**style))
    return file.getvalue()


def rows_of(raw, sep=","):
    return list(csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), delimiter=sep))


@settings(max_examples=200)
@given(
    rows=st.integers(2, 4).flatmap(
        lambda width: st.lists(st.tuples(*[CELLS] * width), min_size=1, max_size=6)
    ),
    name=st.sampled_from(["csv", "tsv"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_cells_and_names_stay_as_they_were(rows, name, encoding, quoting):
    """Of any text, empty and duplicate names among it; the new column is the last."""
    sep = "\t" if name == "tsv" else ","
    rows = [row for row in rows if any(row)] or [("a",) * len(rows[0])]  # readers skip blank lines
    table = FORMATS[name].read(file_of(rows, sep, encoding, quoting), TextStyle(sep=sep))
    table.frame["a new one"] = "answer"
    expected = [[*rows[0], "a new one"], *([*row, "answer"] for row in rows[1:])]
    assert rows_of(written(table, name), sep) == expected


@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16-le", "utf-8"])
def test_a_separator_is_found_by_the_header_and_the_first_lines(sep, encoding):
    rows = [["id", "price, or |;", "text"], ["1", "1,5", "a; b | c\nd"], ["", "2,5", "e"]]
    raw = file_of(rows, sep, encoding).getvalue()
    table = read(raw)
    assert (table.sep, list(table.names)) == (sep, rows[0])
    assert table.frame["price, or |;"].tolist() == ["1,5", "2,5"]


@pytest.mark.parametrize(
    ("head", "sep"),
    [
        ("a;b\n", ";"),
        ("a,b;c\n1,2;3\n", ","),
        ("a,b;c\n1,2\n", ","),
        ("a;b\n1;2\n3\n", ";"),
        ("a,b,c\n1,2\n4;5\n", ","),
        ("review\nGood, cheap\n", ";"),
        ("review\n", ","),
        ("", ","),
        ('"a;b",c\n1,2\n', ","),
        ("a;b\n" + "1;2\n" * 40_000 + "1;", ";"),
    ],
)
def test_where_several_could_be_the_separator_the_likelier_is_taken(head, sep):
    assert found_separator(head) == sep


def test_a_file_of_one_column_has_no_separator():
    table = read(b"review\nGood, cheap\n")
    assert table.sep is None
    assert table.frame["review"].tolist() == ["Good, cheap"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_any_system_are_read(end):
    table = read("a,b\n007,\n\nNA,x\n".replace("\n", end).encode())
    assert table.frame.astype(object).where(table.frame.notna(), None).to_numpy().tolist() == [
        ["007", None],
        ["NA", "x"],
    ]


def test_formulas_are_neutralised_once():
    table = read(b"=a,b\n=1,'=2\n-5,'x\n")
    assert table.frame.to_numpy().tolist() == [["=1", "=2"], ["-5", "'x"]]
    assert rows_of(written(table)) == [["'=a", "b"], ["'=1", "'=2"], ["-5", "'x"]]
    assert written(read(written(table))) == written(table)


def test_names_that_are_duplicate_are_told_and_written_as_they_are():
    table = read(b"a,b,a,,,a.1\n1,2,3,4,5,6\n")
    assert table.duplicates() == {"a": ["a", "a.2"], "": ["Unnamed: 3", "Unnamed: 4"]}
    assert rows_of(written(table))[0] == ["a", "b", "a", "", "", "a.1"]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (b"a,b\n1,2\n1,2,3\n", "line 3 has 3 cells, and the header has 2; quote the cells that hold ','"),
        (b"a,b\n1,2,3\n1,2,3\n", "the first row has more cells than the header; quote"),
        (b'a,b\n"1,2\n', "closing quotation mark is missing"),
    ],
)
def test_files_that_cannot_be_read_say_why_and_what_to_do(raw, said):
    with pytest.raises(ValueError, match=r"^(the|line|a) ") as caught:
        read(raw)
    assert said in str(caught.value)


def test_a_short_row_lacks_its_last_cells():
    assert rows_of(written(read(b"a,b\n1\n"))) == [["a", "b"], ["1", ""]]


def test_other_formats_are_written_whatever_their_cells_are():
    """What was paid for is written: nested values are JSON, bytes base64."""
    frame = pd.DataFrame(
        {"x": pd.Series([[2**70], {"a": b"\xff"}, b"\xff", True, None], dtype=object), "n": 0}
    )
    assert [row[0] for row in rows_of(written(Table(frame, ["x", "n"])))[1:]] == [
        "[1180591620717411303424]", '{"a":"b\'\\\\xff\'"}', "/w==", "True", "",
    ]  # fmt: skip


DAYS = ["2026-01-01", None, "2026-02-01"]
CHUNKS = {
    "finer moments": [
        pd.to_datetime(pd.Series(DAYS)),
        pd.to_datetime(pd.Series(["2026-01-01 10:00:00"])),
        pd.to_datetime(pd.Series(["2026-01-01 10:00:00.000001", None])),
    ],
    "zones": [
        pd.to_datetime(pd.Series(DAYS)).dt.tz_localize("Europe/Paris"),
        pd.to_datetime(pd.Series(["2026-07-01 10:00:00.5"])).dt.tz_localize("Europe/Paris"),
    ],
    "coarser moments": [
        pd.to_datetime(pd.Series(["2026-01-01 10:00:00.000000001"])),
        pd.to_datetime(pd.Series(DAYS)),
    ],
    "huge integers": [
        pd.Series([2**60 + 1, 5], dtype="Int64"),
        pd.Series([7, None], dtype="Int64"),
        pd.Series([1], dtype="Int64"),
    ],
    "small integers": [pd.Series([1], dtype="Int64"), pd.Series([None, 2], dtype="Int64")],
}


@pytest.mark.parametrize("others", [True, False])
@pytest.mark.parametrize("kind", CHUNKS)
def test_cells_of_later_chunks_change_how_earlier_ones_are_written(kind, others):
    """One format for a column, as in a whole file; the other columns' quotation marks and line breaks stay."""
    tables = []
    for cells in CHUNKS[kind]:
        texts = pd.Series(['a,"b"\n' * 30_000, "", None][: len(cells)], dtype="str")
        columns = {"cells": cells, "text": texts} if others else {"cells": cells}
        tables.append(Table(pd.DataFrame(columns), list(columns)))
    file, whole = io.BytesIO(), io.BytesIO()
    writer = FORMATS["csv"].writer(file, TextStyle())
    for table in tables:
        writer.add(table)
    writer.close()
    frame = pd.concat([table.frame for table in tables], ignore_index=True)
    FORMATS["csv"].write(Table(frame, list(frame.columns)), whole, TextStyle())
    assert file.getvalue() == whole.getvalue()
