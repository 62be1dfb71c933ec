"""Files: CSV that spreadsheets open correctly and that reads back equal; a file is written completely or not at all."""

from llmframe._files.csv_reader import read_csv, read_texts
from llmframe._files.csv_writer import to_csv, write_columns
from llmframe._files.text_files import check_suffix, separator

__all__ = ["check_suffix", "read_csv", "read_texts", "separator", "to_csv", "write_columns"]
