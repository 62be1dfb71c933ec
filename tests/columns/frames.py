"""What tests of columns compare frames by."""

from __future__ import annotations

import warnings

import pandas as pd
from helpers import MODEL

import llmframe

TEXT = pd.Series(["text"]).dtype
HERE = {"api_key": "any", "model": MODEL, "journal": False}


def listed(column):
    return [None if pd.isna(value) else value for value in column.tolist()]


def failures_allowed():
    return warnings.catch_warnings(action="ignore", category=llmframe.CompletionWarning)
