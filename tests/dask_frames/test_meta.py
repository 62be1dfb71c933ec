"""What Dask knows of a column before it is computed is what comes, and what pandas gives."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Literal

import dask.dataframe as dd
import pandas as pd
import pytest
from helpers import asked

import llmframe
from llmframe.testing import Fault

SCHEMA = {
    "part": str,
    "hours": float,
    "count": int,
    "good": bool,
    "tone": Literal["calm", "angry"],
    "day": date,
    "at": datetime,
    "price": Decimal,
    "parts": list[str],
}
VERBS = {
    "complete": lambda df: df.llm.complete("q", into="a", error_into="why"),
    "raw": lambda df: df.llm.complete("q", raw=True),
    "extract": lambda df: df.llm.extract("q", SCHEMA, prefix="x_", raw=True),
    "quotes": lambda df: df.llm.extract("q", {"part": str}, quotes=True),
    "classify": lambda df: df.llm.classify("q", ["one", "two"], other="neither", error_into="why"),
    "votes": lambda df: df.llm.classify("q", ["one", "two"], votes=3, confidence=True, probabilities=True),
    "multi": lambda df: df.llm.classify("q", ["one", "two"], multi=True),
    "ask": lambda df: df.llm.ask("q", {"spam": bool, "how": llmframe.Levels(["low", "high"])}),
    "series complete": lambda df: df["q"].llm.complete(),
    "series extract": lambda df: df["q"].llm.extract(SCHEMA),
    "series classify": lambda df: df["q"].llm.classify(["one", "two"]),
    "series multi": lambda df: df["q"].llm.classify(["one", "two"], multi=True),
    "series ask": lambda df: df["q"].llm.ask({"spam": bool}),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("failing", [False, True], ids=["answered", "all missing"])
def test_meta_is_what_comes_and_what_pandas_gives(verb, failing, llm):
    if failing:
        llm.faults = [Fault("context_length_exceeded")]
    llmframe.options.errors = "coerce"
    rows = pd.DataFrame({"q": asked(6)["q"], "id": range(6)})
    call = VERBS[verb]
    with pytest.warns(llmframe.CompletionWarning) if failing else llmframe.option_context():
        expected = call(rows.copy())
        lazy = call(dd.from_pandas(rows, npartitions=2))
        computed = lazy.compute()
    new = [name for name in expected if name not in rows] if expected.ndim == 2 else None
    if new is not None:
        assert list(lazy.columns) == list(expected)
        lazy, computed, expected = lazy[new], computed[new], expected[new]
    pd.testing.assert_index_equal(computed.index, expected.index)
    assert _dtypes(lazy) == _dtypes(computed) == _dtypes(expected)
    expected.attrs = {}
    (pd.testing.assert_frame_equal if new is not None else pd.testing.assert_series_equal)(computed, expected)


def _dtypes(data):
    return data.dtype if data.ndim == 1 else list(data.dtypes)
