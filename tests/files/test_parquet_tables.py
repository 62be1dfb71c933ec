"""Parquet: what nobody asked about stays as it was, down to metadata and row groups."""

import datetime as dt
import decimal
import io
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmframe._files import FORMATS, Table, TextStyle

ROWS = 4
COLUMNS = {
    "review": pa.array(["a", "b", None, "d"]),
    "large": pa.array(["a", "b", None, "d"], pa.large_string()),
    "n": pa.array([1, None, 3, 2**60 + 1]),
    "small": pa.array([1, 2, None, 4], pa.uint8()),
    "ok": pa.array([True, None, False, True]),
    "f": pa.array([1.5, None, -0.0, float("inf")], pa.float32()),
    "when": pa.array([dt.datetime(2026, 1, 1, tzinfo=dt.UTC)] * ROWS, pa.timestamp("us", tz="Europe/Paris")),
    "long ago": pa.array([-(2**50)] * ROWS, pa.timestamp("s")),
    "day": pa.array([dt.date(2026, 1, 1)] * ROWS),
    "time": pa.array([dt.time(1, 2)] * ROWS),
    "price": pa.array([decimal.Decimal("1.50")] * ROWS),
    "nested": pa.array([{"x": [1, None], "y": {"z": "a"}}] * ROWS),
    "map": pa.array([[("k", 1)]] * ROWS, pa.map_(pa.string(), pa.int32())),
    "label": pa.array(["u", "v", "u", None]).dictionary_encode(),
    "bytes": pa.array([b"\xff", None, b"", b"a"]),
    "nothing": pa.nulls(ROWS),
}


def arrow_table():
    fields = [
        pa.field(name, array.type, metadata={"unit": name}, nullable=bool(array.null_count))
        for name, array in COLUMNS.items()
    ]
    return pa.Table.from_arrays(list(COLUMNS.values()), schema=pa.schema(fields, metadata={"who": "me"}))


def file_of(table, **storage):
    file = io.BytesIO()
    pq.write_table(table, file, **storage)
    file.seek(0)
    return file


def read(file):
    return FORMATS["parquet"].read(file, TextStyle())


def written(table):
    file = io.BytesIO()
    FORMATS["parquet"].write(table, file, TextStyle())
    return pq.ParquetFile(file)


def test_a_column_is_added_and_all_others_stay():
    """Types, nullability, metadata of fields and schema, row groups and compression."""
    before = pq.ParquetFile(file_of(arrow_table(), compression="zstd", row_group_size=3))
    table = read(file_of(arrow_table(), compression="zstd", row_group_size=3))
    table.frame["mood"] = pd.Series(["x", None, None, "y"], dtype="str")
    after = written(replace(table, changed=frozenset({"mood"})))
    assert after.schema_arrow.field("mood").type in {pa.string(), pa.large_string()}
    kept = after.read().drop_columns(["mood"])
    assert kept.schema.equals(before.schema_arrow, check_metadata=True)
    assert kept.equals(before.read())
    assert after.read()["mood"].to_pylist() == ["x", None, None, "y"]
    groups = [after.metadata.row_group(number) for number in range(after.metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [3, 1]
    assert groups[0].column(0).compression == "ZSTD"


def test_integers_and_truth_values_beside_missing_cells_stay_such():
    frame = read(file_of(arrow_table())).frame
    assert frame["n"].tolist() == [1, pd.NA, 3, 2**60 + 1]
    assert frame["ok"].tolist() == [True, pd.NA, False, True]
    assert frame["nested"][0]["y"] == {"z": "a"}
    assert frame["review"].isna().tolist() == [False, False, True, False]


def test_an_index_of_pandas_stays_a_column():
    """And pandas finds it again in what is written."""
    frame = pd.DataFrame({"review": ["a", "b"]}, index=pd.Index([7, 3], name="key"))
    table = read(file_of(pa.Table.from_pandas(frame)))
    assert list(table.frame.columns) == ["review", "key"]
    table.frame["mood"] = ["x", "y"]
    file = io.BytesIO()
    FORMATS["parquet"].write(replace(table, changed=frozenset({"mood"})), file, TextStyle())
    pd.testing.assert_frame_equal(pd.read_parquet(file), frame.assign(mood=["x", "y"]))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_a_column_that_is_filled_keeps_its_type_and_place(kind):
    arrow = pa.table({"mood": pa.array(["x", None], kind), "review": ["a", "b"]})
    field = pa.field("mood", kind, metadata={"unit": "m"})
    table = read(file_of(arrow.cast(pa.schema([field, arrow.schema.field("review")]))))
    table.frame["mood"] = ["x", "y"]
    after = written(replace(table, changed=frozenset({"mood"}))).read()
    assert after.schema.field("mood").equals(field, check_metadata=True)
    assert after.to_pydict() == {"mood": ["x", "y"], "review": ["a", "b"]}


def test_a_column_of_another_type_is_replaced_by_text():
    table = read(file_of(pa.table({"mood": [1, 2], "n": [3, 4]})))
    table.frame["mood"] = ["good", None]
    after = written(replace(table, changed=frozenset({"mood"}))).read()
    assert after.to_pydict() == {"mood": ["good", None], "n": [3, 4]}


def test_duplicate_names_stay():
    arrow = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], names=["a", "a", "a.1"])
    table = read(file_of(arrow))
    assert table.frame.columns.tolist() == ["a", "a.1", "a.1.1"]
    assert table.duplicates() == {"a": ["a", "a.1"]}
    assert written(table).read().equals(arrow)


def test_some_rows_are_written_as_they_are():
    table = read(file_of(arrow_table()))
    some = table.only(table.frame["review"].notna().to_numpy())
    assert written(some).read().equals(pq.read_table(file_of(arrow_table())).take([0, 1, 3]))


def test_other_tables_get_the_types_of_their_values():
    frame = pd.DataFrame(
        {
            "text": pd.Series(["007", None, "x"], dtype="str"),
            "n": pd.Series([1, None, 3], dtype=object),
            "mixed": pd.Series([1, "b", [2]], dtype=object),
            "huge": pd.Series([2**70, 1, None], dtype=object),
            "nothing": pd.Series([None] * 3, dtype=object),
        }
    )
    after = written(Table(frame, list(frame.columns))).read()
    assert after.to_pydict() == {
        "text": ["007", None, "x"],
        "n": [1, None, 3],
        "mixed": ["1", "b", "[2]"],
        "huge": ["1180591620717411303424", "1", None],
        "nothing": [None] * 3,
    }


def chunk_of(*values):
    frame = pd.DataFrame({"new": pd.Series(values, dtype=object)})
    return Table(frame, [])


@pytest.mark.parametrize(
    "chunks",
    [
        [[None, None], [["a"], []], [None, ["b", "c"]]],
        [[1, 2], [None, 3], [2.5, None]],
        [[decimal.Decimal("1.5")], [decimal.Decimal("12345.678"), None]],
        [[1, None], ["b", [2]], [3, None]],
        [["a"], [1, None]],
        [[{"x": 1}], [{"x": None, "y": "b"}]],
        [[dt.time(1, 2)], [None], [dt.time(3, 4, 5, 6)]],
        [[None], [None]],
    ],
    ids=repr,
)
def test_values_of_later_chunks_widen_the_types_of_earlier_ones(chunks):
    """What is written already is written again, as it would be in a whole file."""
    file = io.BytesIO()
    writer = FORMATS["parquet"].writer(file, TextStyle())
    for values in chunks:
        writer.add(chunk_of(*values))
    writer.close()
    whole = written(chunk_of(*[value for values in chunks for value in values])).read()
    assert pq.ParquetFile(file).read().equals(whole)


def test_pipes_are_read_and_written_whole():
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

        def seek(self, *_):
            raise io.UnsupportedOperation

        tell = seek

    source, target = Pipe(file_of(arrow_table()).getvalue()), Pipe()
    FORMATS["parquet"].write(read(source), target, TextStyle())
    assert pq.read_table(io.BytesIO(target.getvalue())).num_rows == ROWS


@pytest.mark.parametrize("raw", [b"", b"a,b\n1,2\n", b"PAR1" + bytes(50) + b"PAR1"])
def test_what_is_no_parquet_is_refused(raw):
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        read(io.BytesIO(raw))
