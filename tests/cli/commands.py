"""Files and commands for the tests of `llmframe extract` and `llmframe classify`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd

from llmframe.cli import main

REVIEWS = ["Good, it ran 5 hours", "=Bad after 3 hours", None, "It broke"]


def write_reviews(name="in.csv", reviews=REVIEWS, **columns):
    """Write a file of reviews, in the format of its name."""
    zips = ["007", "1.50", "NA", "8"][: len(reviews)]
    frame = pd.DataFrame({"zip": zips, **columns, "review": pd.Series(reviews, dtype="str")})
    if name.endswith("parquet"):
        frame.to_parquet(name, index=False)
    elif name.endswith("jsonl"):
        records = frame.astype(object).where(frame.notna(), None).to_dict("records")
        Path(name).write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    else:
        frame.to_csv(name, index=False, sep="\t" if name.endswith("tsv") else ",")


def read_texts(name="out.csv"):
    """Return the cells of a CSV by column."""
    with Path(name).open(encoding="utf-8-sig", newline="") as file:
        header, *rows = csv.reader(file)
    return {name: list(cells) for name, cells in zip(header, zip(*rows, strict=True), strict=True)}


def extract(*more, source="in.csv", target="out.csv"):
    return main(["extract", source, target, "--column", "review", "--quiet", *more])


def classify(*more, source="in.csv", target="out.csv"):
    return main(["classify", source, target, "--column", "review", "--quiet", *more])
