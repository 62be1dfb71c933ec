"""Rows of four kinds of text, with the tokens that o200k counts in each (toktok-rs 0.3.0)."""

from __future__ import annotations

from pathlib import Path

import orjson

_KINDS = orjson.loads(Path(__file__).with_name("o200k.json").read_bytes())
KINDS = list(_KINDS)


def rows_of(kind):
    """Return the texts of a kind and their tokens."""
    made = _KINDS[kind]
    texts = [made["join"].join(made["pieces"][piece] for piece in pieces) for pieces in made["rows"]]
    return texts, made["tokens"]
