"""CSV and TSV: of frames, which are read back exactly, and as tables of text, whose cells stay as they are."""

from llmframe._files.csv.csv_reader import read_csv
from llmframe._files.csv.csv_writer import to_csv
from llmframe._files.csv.delimited import chunks, writer
from llmframe._files.csv.text_files import SEPARATORS

__all__ = ["SEPARATORS", "chunks", "read_csv", "to_csv", "writer"]
