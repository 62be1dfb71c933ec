"""The formats of files, by their names: what a format adds is one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from llmframe._files import csv
from llmframe._files.json_lines import JsonLinesWriter, chunks_of_json_lines
from llmframe._files.parquet import ParquetWriter, check_pyarrow, chunks_of_parquet, stated_rows
from llmframe._files.tables import WHOLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from llmframe._files.tables import ChunkSize, Table, TableWriter, TextStyle


@dataclass(frozen=True)
class Format:
    """A format of files of rows.

    Attributes
    ----------
    chunks, writer : function
        How an open file of bytes is read, in at least one table, and written.
    sep : str or None
        What separates the cells of a file; `None` where that is found, or there are no cells.
    is_text : bool
        Whether a file has an encoding.
    check : function
        Raises where what the format needs is not installed.
    stated_rows : function or None
        Returns the number of rows that a file states; of the other formats a whole file must be read to know that it can be.
    """

    name: str
    suffixes: tuple[str, ...]
    chunks: Callable[[IO[bytes], TextStyle, ChunkSize], Iterator[Table]]
    writer: Callable[[IO[bytes], TextStyle], TableWriter]
    sep: str | None = None
    is_text: bool = True
    check: Callable[[], None] = lambda: None
    stated_rows: Callable[[IO[bytes]], int] | None = None

    @property
    def is_delimited(self) -> bool:
        return self.name in {"csv", "tsv"}

    def read(self, file: IO[bytes], style: TextStyle) -> Table:
        """Read a whole file."""
        (table,) = self.chunks(file, style, WHOLE)
        return table

    def write(self, table: Table, file: IO[bytes], style: TextStyle) -> None:
        """Write a whole file."""
        writer = self.writer(file, style)
        writer.add(table)
        writer.close()


FORMATS = {
    kind.name: kind
    for kind in (
        Format("csv", (".csv",), csv.chunks(None), csv.writer(",")),
        Format("tsv", (".tsv", ".tab"), csv.chunks("\t"), csv.writer("\t"), sep="\t"),
        Format("jsonl", (".jsonl", ".ndjson"), chunks_of_json_lines, JsonLinesWriter),
        Format(
            "parquet",
            (".parquet",),
            chunks_of_parquet,
            ParquetWriter,
            is_text=False,
            check=check_pyarrow,
            stated_rows=stated_rows,
        ),
    )
}
"""All formats, by name."""

_SPREADSHEETS = dict.fromkeys(
    (".xlsx", ".xlsm", ".xls", ".ods"),
    (
        "save it as CSV in the spreadsheet program",
        "write a .csv, which spreadsheets open, or use df.llm.to_excel in Python",
    ),
)
_COMPRESSED = dict.fromkeys(
    (".gz", ".bz2", ".xz", ".zst", ".zip"),
    (
        "decompress it, or pipe it in: gunzip -c IN.csv.gz | llmframe complete - OUT --format csv",
        "write it uncompressed and compress it then",
    ),
)
_OTHERS = {
    ".json": ("write one object a line, as .jsonl: jq -c '.[]' IN.json > IN.jsonl", "write .jsonl"),
    ".pq": ("rename it to .parquet", "write .parquet"),
} | dict.fromkeys(
    (
        ".tar", ".tgz", ".7z", ".feather", ".arrow", ".orc", ".pkl", ".pickle", ".h5", ".dta", ".sav", ".sqlite", ".db",
        ".html", ".xml", ".pdf", ".docx",
    ),
    ("convert it to one of those", "write one of those"),
)  # fmt: skip
_FOREIGN = _SPREADSHEETS | _COMPRESSED | _OTHERS
"""What to do instead of reading and of writing a format that llmframe has not."""


def format_of(path: Path, *, reading: bool) -> Format | None:
    """Return the format that a name's suffix says; `None` where it says none.

    Raises
    ------
    ValueError
        When it says a format that llmframe does not read or write.
    """
    suffix = path.suffix.lower()
    if suffix in _FOREIGN:
        verb = "read" if reading else "written"
        raise ValueError(
            f"{path.name}: {suffix} is not {verb}; CSV, TSV, JSONL and Parquet are (.csv .tsv .jsonl .parquet): {_FOREIGN[suffix][not reading]}"
        )
    return next((kind for kind in FORMATS.values() if suffix in kind.suffixes), None)
