"""Files: CSV, TSV, JSONL and Parquet as tables whose other columns stay as they are; CSV and Excel of frames.

A file is read and written as a whole or by chunks, and is written completely or not at all.
"""

from llmframe._files.csv import SEPARATORS, read_csv, to_csv
from llmframe._files.encodings import check_encoding
from llmframe._files.excel import to_excel
from llmframe._files.formats import FORMATS, Format, format_of
from llmframe._files.replacement import FilePath, check_writable, is_stream, replacement
from llmframe._files.source_target import STREAM, PartWriter, Source, Target, check_new
from llmframe._files.tables import WHOLE, ChunkSize, Table, TextStyle
from llmframe._files.typed_cells import read_existing
from llmframe._files.where import columns_named, rows_where

__all__ = [
    "FORMATS",
    "SEPARATORS",
    "STREAM",
    "WHOLE",
    "ChunkSize",
    "FilePath",
    "Format",
    "PartWriter",
    "Source",
    "Table",
    "Target",
    "TextStyle",
    "check_encoding",
    "check_new",
    "check_writable",
    "columns_named",
    "format_of",
    "is_stream",
    "read_csv",
    "read_existing",
    "replacement",
    "rows_where",
    "to_csv",
    "to_excel",
]
