"""Parquet as a table: schema, metadata and types of the other columns are kept."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import pandas as pd

from llmframe._files.frame_columns import any_json
from llmframe._files.tables import Table, TextStyle, distinct

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_COMPRESSIONS = frozenset({"snappy", "gzip", "brotli", "zstd", "lz4"})


@dataclass(frozen=True)
class ArrowRows:
    """The rows of a file, and how they are stored there."""

    table: Any
    compression: str
    rows_per_group: int | None

    def only(self, chosen: npt.NDArray[np.bool_]) -> ArrowRows:
        return ArrowRows(self.table.filter(chosen), self.compression, self.rows_per_group)


def check_pyarrow() -> None:
    """Refuse Parquet where pyarrow is missing, before anything is sent."""
    try:
        import pyarrow.parquet  # noqa: F401, PLC0415 (an extra)
    except ImportError:
        raise ModuleNotFoundError(
            "Parquet needs pyarrow, the extra 'parquet': in the clone of llmframe, run pip install '.[parquet]'"
        ) from None


def read_parquet(file: IO[bytes], style: TextStyle) -> Table:  # noqa: ARG001 (its text has one encoding)
    """Read a file's columns with their own types; integers and truth values beside missing cells stay such."""
    check_pyarrow()
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        stored = pq.ParquetFile(file if file.seekable() else io.BytesIO(file.read()))
        table = stored.read()
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"the file cannot be read as Parquet: {error}") from error
    names = table.column_names
    labels = distinct(names)
    columns = {label: _series(column) for label, column in zip(labels, table.columns, strict=True)}
    frame = pd.DataFrame(columns, index=range(table.num_rows), columns=pd.Index(labels, dtype=object))
    return Table(frame, names, rows=ArrowRows(table, *_storage(stored.metadata)))


def _storage(metadata: Any) -> tuple[str, int | None]:
    """Return the compression and the rows of a row group, as the first group has them."""
    if not (metadata.num_row_groups and metadata.num_columns):
        return "snappy", None
    group = metadata.row_group(0)
    name = group.column(0).compression.lower()
    compression = "none" if name == "uncompressed" else name
    return compression if compression in {*_COMPRESSIONS, "none"} else "snappy", group.num_rows or None


def _series(column: Any) -> pd.Series[Any]:
    """Convert a column; pandas' own types have no integers and truth values beside missing cells."""
    nullable = {
        f"{sign}int{bits}": pd.api.types.pandas_dtype(f"{name}{bits}")
        for sign, name in (("", "Int"), ("u", "UInt"))
        for bits in (8, 16, 32, 64)
    }
    nullable["bool"] = pd.BooleanDtype()
    mapper = (lambda kind: nullable.get(str(kind))) if column.null_count else None
    series: pd.Series[Any] = column.to_pandas(types_mapper=mapper)
    return series


def write_parquet(table: Table, file: IO[bytes], style: TextStyle) -> None:  # noqa: ARG001
    """Write the kept columns as they were, and those that changed with the types of their values."""
    check_pyarrow()
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    rows = table.rows if isinstance(table.rows, ArrowRows) else None
    compression, rows_per_group = (
        ("snappy", None) if rows is None else (rows.compression, rows.rows_per_group)
    )
    labels = [str(label) for label in table.frame.columns]
    if rows is None:
        arrays = [_array(table.frame.iloc[:, position]) for position in range(len(labels))]
        arrow = pa.Table.from_arrays(arrays, names=labels)
    else:
        arrow = _with_changes(rows.table, table, labels)
    sink = io.BytesIO()  # Arrow asks for places in the file, which a pipe has not
    pq.write_table(
        arrow, sink if not file.seekable() else file, compression=compression, row_group_size=rows_per_group
    )
    if not file.seekable():
        file.write(sink.getbuffer())


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
    import pyarrow as pa  # noqa: PLC0415

    if isinstance(cells.dtype, pd.StringDtype):
        return pa.array(cells, type=pa.string(), from_pandas=True)
    try:
        array = pa.array(cells, from_pandas=True)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):  # values of several types
        texts = [
            None if missing else cell if isinstance(cell, str) else any_json(cell)
            for cell, missing in zip(cells.astype(object), cells.isna(), strict=True)
        ]
        array = pa.array(texts, type=pa.string())
    return array.cast(pa.string()) if pa.types.is_null(array.type) else array


def _replaced(field: Any, cells: pd.Series[Any]) -> tuple[Any, Any]:
    """Return new values for an existing column: of its type, if they are such."""
    import pyarrow as pa  # noqa: PLC0415

    array = _array(cells)
    try:
        array = array.cast(field.type)
    except pa.ArrowException:
        field = field.with_type(array.type)
    return field.with_nullable(nullable=True), array
