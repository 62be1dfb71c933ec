"""Parquet as a table: schema, metadata and types of the other columns are kept."""

from __future__ import annotations

import io
import shutil
import tempfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import pandas as pd

from llmframe._files.frame_columns import any_json
from llmframe._files.tables import WHOLE, Table, distinct

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

    from llmframe._files.tables import ChunkSize, TextStyle

_BUFFER_BYTES = 1 << 20
_COMPRESSIONS = frozenset({"snappy", "gzip", "brotli", "zstd", "lz4"})


@dataclass(frozen=True)
class ArrowRows:
    """The rows of a file, and how they are stored there.

    Attributes
    ----------
    groups : sequence of int
        The rows of each row group; a table with other rows has groups as the first one.
    """

    table: Any
    compression: str
    groups: Sequence[int]

    def only(self, chosen: npt.NDArray[np.bool_]) -> ArrowRows:
        return ArrowRows(self.table.filter(chosen), self.compression, self.groups[:1])


def check_pyarrow() -> None:
    """Refuse Parquet where pyarrow is missing, before anything is sent."""
    try:
        import pyarrow.parquet  # noqa: F401, PLC0415 (an extra)
    except ImportError:
        raise ModuleNotFoundError(
            "Parquet needs pyarrow, the extra 'parquet': in the clone of llmframe, run pip install '.[parquet]'"
        ) from None


def chunks_of_parquet(file: IO[bytes], style: TextStyle, size: ChunkSize) -> Iterator[Table]:  # noqa: ARG001 (its text has one encoding)
    """Yield at least one chunk with its columns' own types; integers and truth values beside missing cells stay such."""
    check_pyarrow()
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        source = file if file.seekable() else io.BytesIO(file.read())
        # A chunk is read page by page: a row group may be as large as the file.
        in_pages = {} if size is WHOLE else {"buffer_size": _BUFFER_BYTES, "pre_buffer": False}
        stored = pq.ParquetFile(source, **in_pages)
        compression, nullable, start = _compression(stored.metadata), _nullable(stored.metadata), 0
        for table, groups in _arrow_tables(stored, size):
            names = table.column_names
            labels = distinct(names)
            columns = {
                label: _series(column, may_miss=name in nullable)
                for label, name, column in zip(labels, names, table.columns, strict=True)
                if size.wants(label)
            }
            rows = pd.RangeIndex(start, start + table.num_rows)
            frame = pd.DataFrame(columns, range(len(rows)), columns=pd.Index(list(columns), dtype=object))
            frame.index = rows
            yield Table(frame, names, rows=ArrowRows(table, compression, groups))
            start += table.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"the file cannot be read as Parquet: {error}") from error


def stated_rows(file: IO[bytes]) -> int:
    """Return the number of rows that a file states."""
    check_pyarrow()
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        return int(pq.read_metadata(file).num_rows)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"the file cannot be read as Parquet: {error}") from error


def _arrow_tables(stored: Any, size: ChunkSize) -> Iterator[tuple[Any, Sequence[int]]]:
    """Yield several row groups at a time, each whole, or a part of one that is larger than a chunk."""
    import pyarrow as pa  # noqa: PLC0415

    groups = [stored.metadata.row_group(number) for number in range(stored.metadata.num_row_groups)]
    if size is WHOLE or not groups:
        yield stored.read(), [group.num_rows for group in groups]
        return
    numbers = iter(_together(groups, size))
    for together in numbers:
        rows = [groups[number].num_rows for number in together]
        share = min(size.rows / max(1, rows[0]), size.size / max(1, groups[together[0]].total_byte_size))
        if len(together) > 1 or share >= 1:
            yield stored.read_row_groups(together), rows
            continue
        for batch in stored.iter_batches(max(1, int(rows[0] * share)), row_groups=together):
            yield pa.Table.from_batches([batch]), [batch.num_rows]


def _together(groups: Sequence[Any], size: ChunkSize) -> Iterator[list[int]]:
    """Yield the numbers of row groups that are one chunk: as many as it holds, or a single larger one."""
    together: list[int] = []
    rows = space = 0
    for number, group in enumerate(groups):
        rows, space = rows + group.num_rows, space + group.total_byte_size
        if together and (rows > size.rows or space > size.size):
            yield together
            together, rows, space = [], group.num_rows, group.total_byte_size
        together.append(number)
    yield together


def _compression(metadata: Any) -> str:
    """Return the compression of the first row group."""
    if not (metadata.num_row_groups and metadata.num_columns):
        return "snappy"
    name = metadata.row_group(0).column(0).compression.lower()
    compression = "none" if name == "uncompressed" else name
    return compression if compression in {*_COMPRESSIONS, "none"} else "snappy"


def _nullable(metadata: Any) -> set[str]:
    """Return the columns in which a cell of the file is missing, or may be: chunks have the types of the whole column."""
    found = set()
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for column in map(group.column, range(metadata.num_columns)):
            counted = column.statistics is not None and column.statistics.has_null_count
            if not counted or column.statistics.null_count:
                found.add(column.path_in_schema)
    return found


def _series(column: Any, *, may_miss: bool) -> pd.Series[Any]:
    """Convert a column; pandas' own types have no integers and truth values beside missing cells."""
    nullable = {
        f"{sign}int{bits}": pd.api.types.pandas_dtype(f"{name}{bits}")
        for sign, name in (("", "Int"), ("u", "UInt"))
        for bits in (8, 16, 32, 64)
    }
    nullable["bool"] = pd.BooleanDtype()
    mapper = (lambda kind: nullable.get(str(kind))) if may_miss else None
    series: pd.Series[Any] = column.to_pandas(types_mapper=mapper)
    return series


class ParquetWriter:
    """Writes the kept columns as they were, and those that changed with the types of their values.

    The types of values in a later table may be wider than those so far: the file is then written again with them.
    """

    def __init__(self, file: IO[bytes], style: TextStyle) -> None:  # noqa: ARG002
        check_pyarrow()
        self._file = file
        # Arrow asks for places in the file, which a pipe has not.
        self._sink = file if file.seekable() else io.BytesIO()
        self._writer: Any = None
        self._schema: Any = None
        self._compression = "snappy"
        self._untyped: set[str] = set()
        """Columns in which every cell is missing so far, and whose type is therefore open."""

    def add(self, table: Table) -> None:
        import pyarrow as pa  # noqa: PLC0415

        rows = table.rows if isinstance(table.rows, ArrowRows) else None
        labels = [str(label) for label in table.frame.columns]
        if rows is None:
            arrays = [_array(table.frame.iloc[:, position]) for position in range(len(labels))]
            arrow = pa.Table.from_arrays(arrays, names=labels)
        else:
            arrow = _with_changes(rows.table, table, labels)
        kept = set() if rows is None else set(labels[: len(table.names)]) - table.changed
        untyped = {
            name
            for name, column in zip(labels, arrow.columns, strict=True)
            if name not in kept and _is_untyped(column)
        }
        if self._writer is None:
            self._compression = "snappy" if rows is None else rows.compression
            self._untyped = untyped
            fields = [each.with_type(pa.string()) if each.name in untyped else each for each in arrow.schema]
            self._open(pa.schema(fields, metadata=arrow.schema.metadata))
        elif not arrow.schema.equals(self._schema):
            self._widen(arrow.schema, untyped)
        self._untyped &= untyped
        self._write(_as(arrow, self._schema), () if rows is None else rows.groups)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._sink is not self._file and isinstance(self._sink, io.BytesIO):
            self._file.write(self._sink.getbuffer())

    def _open(self, schema: Any) -> None:
        import pyarrow.parquet as pq  # noqa: PLC0415

        self._schema = schema
        self._writer = pq.ParquetWriter(self._sink, schema, compression=self._compression)

    def _write(self, arrow: Any, groups: Sequence[int]) -> None:
        if sum(groups) != arrow.num_rows:
            self._writer.write_table(arrow, groups[0] if groups else None)
            return
        start = 0
        for rows in groups:
            self._writer.write_table(arrow.slice(start, rows), rows or None)
            start += rows

    def _widen(self, schema: Any, untyped: set[str]) -> None:
        """Let the columns take the values of a further table too; what is written already is written again if it must be."""
        import pyarrow as pa  # noqa: PLC0415

        fields = [
            _wider(old, new, old_is_open=old.name in self._untyped, new_is_open=new.name in untyped)
            for old, new in zip(self._schema, schema, strict=True)
        ]
        wider = pa.schema(fields, metadata=self._schema.metadata)
        if wider.equals(self._schema):
            return
        self._writer.close()
        with tempfile.TemporaryFile() as before:
            self._sink.seek(0)
            shutil.copyfileobj(self._sink, before)
            self._sink.seek(0)
            self._sink.truncate()
            self._rewrite(before, wider)

    def _rewrite(self, before: IO[bytes], schema: Any) -> None:
        import pyarrow.parquet as pq  # noqa: PLC0415

        stored = pq.ParquetFile(before)
        self._open(schema)
        for number in range(stored.metadata.num_row_groups):
            self._write(_as(stored.read_row_group(number), schema), ())


def _is_untyped(column: Any) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    return bool(pa.types.is_null(column.type))


def _wider(old: Any, new: Any, *, old_is_open: bool, new_is_open: bool) -> Any:
    """Return the field that holds the values of both: of the wider type, or text where there is none."""
    import pyarrow as pa  # noqa: PLC0415

    if new_is_open or old.type.equals(new.type):
        return old.with_nullable(old.nullable or new.nullable)
    if old_is_open:
        return old.with_type(new.type).with_nullable(nullable=True)
    try:
        both = pa.unify_schemas([pa.schema([old]), pa.schema([new])], promote_options="permissive")
    except pa.ArrowException:
        return old.with_type(pa.string())
    return old.with_type(both.field(0).type).with_nullable(old.nullable or new.nullable)


def _as(arrow: Any, schema: Any) -> Any:
    """Return a table with these types; values of no common type become text."""
    import pyarrow as pa  # noqa: PLC0415

    if arrow.schema.equals(schema, check_metadata=True):
        return arrow
    columns = []
    for column, field in zip(arrow.columns, schema, strict=True):
        if column.null_count == len(column):
            columns.append(pa.nulls(len(column), field.type))
        elif pa.types.is_string(field.type) and not pa.types.is_string(column.type):
            columns.append(_texts(column.to_pylist()))
        elif pa.types.is_nested(
            field.type
        ):  # Arrow casts no struct to one with more fields in its older versions
            columns.append(pa.array(column.to_pylist(), type=field.type))
        else:
            columns.append(column.cast(field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _texts(values: Sequence[Any]) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    texts = [value if value is None or isinstance(value, str) else any_json(value) for value in values]
    return pa.array(texts, type=pa.string())


def _with_changes(arrow: Any, table: Table, labels: list[str]) -> Any:
    """Return the kept columns, with those that are new or changed."""
    for position, label in enumerate(labels):
        cells = table.frame.iloc[:, position]
        if position >= len(table.names):
            arrow = arrow.append_column(label, _array(cells))
        elif label in table.changed:
            field, array = _replaced(arrow.field(position), cells)
            arrow = arrow.set_column(position, field, array)
    return arrow


def _array(cells: pd.Series[Any]) -> Any:
    """Return cells as Arrow has them; where all are missing and could be anything, without a type."""
    import pyarrow as pa  # noqa: PLC0415

    if isinstance(cells.dtype, pd.StringDtype):
        return pa.array(cells, type=pa.string(), from_pandas=True)
    try:
        return pa.array(cells, from_pandas=True)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):  # values of several types
        present = cells.astype(object).where(cells.notna(), None)
        return _texts(present.tolist())


def _replaced(field: Any, cells: pd.Series[Any]) -> tuple[Any, Any]:
    """Return new values for an existing column: of its type, if they are such."""
    import pyarrow as pa  # noqa: PLC0415

    array = _array(cells)
    if _is_untyped(array):
        return field.with_nullable(nullable=True), array.cast(field.type)
    try:
        array = array.cast(field.type)
    except pa.ArrowException:
        field = field.with_type(array.type)
    return field.with_nullable(nullable=True), array
