"""Files: CSV, TSV, JSONL and Parquet as tables whose other columns stay as they are; CSV and Excel of frames.

A file is written completely or not at all.
"""

from llmframe._files.csv import SEPARATORS, read_csv, to_csv
from llmframe._files.encodings import check_encoding
from llmframe._files.excel import to_excel
from llmframe._files.formats import FORMATS, Format, format_of
from llmframe._files.replacement import check_writable, is_stream, replacement
from llmframe._files.tables import WHOLE, ChunkSize, Table, TextStyle

__all__ = [
    "FORMATS",
    "SEPARATORS",
    "WHOLE",
    "ChunkSize",
    "Format",
    "Table",
    "TextStyle",
    "check_encoding",
    "check_writable",
    "format_of",
    "is_stream",
    "read_csv",
    "replacement",
    "to_csv",
    "to_excel",
]
