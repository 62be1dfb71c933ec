"""Files: CSV that spreadsheets open correctly and that reads back equal; a file is written completely or not at all."""

from llmframe._files.csv_reader import read_csv
from llmframe._files.csv_writer import to_csv

__all__ = ["read_csv", "to_csv"]
