"""Frames of text, and their way through CSV and back."""

import io

import pandas as pd
from hypothesis import strategies as st

from llmframe._files.csv.csv_reader import read_csv
from llmframe._files.csv.csv_writer import to_csv

# fmt: off
HOSTILE = [
    "", " ", "  padded  ", "\t", "\n", "\r", "\r\n", "\x85", "\u2028", "\0", "a\0b", "\ufeff", "\ufffe", "\ufffe0",
    '"', '""', '"""', '","', '"\n"', ",", ";", "|", ",,", 'he said "no", twice', 'a\n\n\nb\r"', "'", "''", "😀", "ﬀ",
    "NA", "nan", "NaN", "None", "null", "<NA>", "N/A", "#N/A", "007", "1.50", "-5", "1e5", "inf", "True", "false",
    "=1+1", "'=1+1", "''=1+1", "'x", "+49 30", "-1", "- item", "@you", "\t=x", " =x", "\n=x", "\r=", "\0=x",
    "\uff1d1", "\uff0b1", "\uff0d1", "\uff20x", "'\uff1d1", "2026-01-31", "[1, 2]", "Unnamed: 0",
]
# fmt: on
TEXTS = st.one_of(st.text(max_size=20), st.sampled_from(HOSTILE))
CELLS = st.one_of(TEXTS, st.none())
SEPARATORS = st.sampled_from([",", ";", "\t", "|"])


def text_frame(columns, names=None):
    return pd.DataFrame(
        {name: pd.Series(cells, dtype="str") for name, cells in zip(names or "abcdef", columns, strict=False)}
    )


def through_text(frame, *, index_col=None, **options):
    index = index_col is not None
    return read_csv(io.StringIO(to_csv(frame, index=index, **options)), index_col=index_col, **options)


def assert_comes_back(frame, **options):
    pd.testing.assert_frame_equal(through_text(frame, index_col=None, **options), frame, check_exact=True)
