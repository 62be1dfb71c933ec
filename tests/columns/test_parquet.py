"""Frames that have been through Parquet: message arrays can still be asked, and records still hold."""

from __future__ import annotations

import json
from datetime import date, datetime, time
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from columns.plans import bodies, plan_of
from helpers import answer
from pydantic import AwareDatetime

import llmframe


@pytest.fixture
def through_parquet(tmp_path):
    """Give a function that writes a frame as Parquet and reads it back."""

    def write_and_read(frame, **options):
        frame.to_parquet(tmp_path / "frame.parquet")
        return pd.read_parquet(tmp_path / "frame.parquet", **options)

    return write_and_read


def said(text):
    return {"role": "user", "content": text}


def test_message_arrays_come_back_as_arrays_and_are_the_same_requests(llm, lane, through_parquet):
    """They are answered from the journal: nothing is sent a second time."""
    turns = [[said("a")], [said("b"), {"role": "assistant", "content": "B"}, said("c")], None]
    df = pd.DataFrame({"chat": turns}).llm.complete("chat")
    back = through_parquet(df)
    assert [type(cell) for cell in back["chat"].dropna()] == [np.ndarray] * 2
    assert plan_of(back, "chat").keys == plan_of(df, "chat").keys
    back.llm.complete("chat", overwrite=True)
    assert llmframe.last_run().from_journal == 2
    assert back["chat_completion"].tolist()[0] == answer("a")
    pd.testing.assert_series_equal(back["chat_completion"], df["chat_completion"])
    assert llm.ledger.billed == 2


CALL = {
    "id": "1",
    "type": "function",
    "function": {"name": "f", "arguments": '{"a": null, "content":null,"b":0}'},
}
URL = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
UNLIKE = {
    "a name in one message": [[said("a")], [{**said("b"), "name": "bob"}]],
    "parts": [[said([{"type": "text", "text": "x"}, URL])]],
    "keys deep inside parts": [[said([URL, {**URL, "image_url": {"url": "u", "detail": "low"}}])]],
    "tools": [[said("a"), {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "1", "content": "2"}]],
    "tools without content": [[said("a"), {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "1", "content": "2"}]],
    "numbers and truth": [[{**said("a"), "weight": 1.5, "seen": True, "n": 3}, said("b")]],
    "another system message": [[{"role": "system", "content": "Be brief.", "name": "s"}, said("a")], [said("a")]],
}  # fmt: skip


@pytest.mark.parametrize("arrays", UNLIKE.values(), ids=UNLIKE)
@pytest.mark.parametrize("backend", ["numpy", "numpy_nullable", "pyarrow"])
def test_null_keys_that_arrow_adds_are_neither_sent_nor_hashed(arrays, backend, through_parquet):
    """Dicts of one column gain each other's keys; a message's own `content` is the one null that is sent."""
    df = pd.DataFrame({"chat": arrays})
    back = through_parquet(df, **({} if backend == "numpy" else {"dtype_backend": backend}))
    plan = plan_of(back, "chat")
    assert plan.keys == plan_of(df, "chat").keys
    sent = [body["messages"] for body in bodies(plan)]
    empty = [{"content": None} if message["role"] == "assistant" else {} for message in arrays[0]]
    assert sent[0] == [{**more, **message} for more, message in zip(empty, arrays[0], strict=True)]
    assert sent[1:] == arrays[1:]


@pytest.mark.parametrize("prompt", ["Sum up:", "Sum up: {chat}"])
@pytest.mark.parametrize("backend", ["numpy_nullable", "pyarrow"])
def test_arrays_of_arrow_cannot_be_put_into_text_either(prompt, backend, through_parquet):
    back = through_parquet(pd.DataFrame({"chat": [[said("a")]]}), dtype_backend=backend)
    with pytest.raises(ValueError, match=r"^prompt: column 'chat' holds message arrays"):
        plan_of(back, "chat", prompt)


def test_records_of_columns_come_back(llm, lane, through_parquet):
    """A cell that runs again on the frame that was read replaces its own columns, and sends nothing."""
    df = pd.DataFrame({"q": ["x", " ", None, "é😀"]}, index=[3, 1, 3, 0])
    df.llm.complete("q", into="a", error_into="why")
    back = through_parquet(df)
    assert back.attrs == df.attrs
    back.llm.complete("q", into="a", error_into="why")
    pd.testing.assert_frame_equal(back, df)
    assert llm.ledger.billed == 2


def test_a_column_that_was_edited_in_between_is_not_replaced_unasked(llm, through_parquet):
    back = through_parquet(pd.DataFrame({"q": ["x", "y"]}).llm.complete("q", into="a"))
    back.loc[1, "a"] = "mine"
    with pytest.raises(ValueError, match=r"^into: the column 'a' is already there"):
        back.llm.complete("q", into="a")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Decimal, ["1.5", "2.25", None]),
        (list[Decimal], [["1.5", "2.25"], ["3"], []]),
        (list[AwareDatetime], [["2024-05-01T10:00:00+02:00"], [], None]),
        (list[datetime], [["2024-05-01T10:00:00"], [], None]),
        (list[date], [["2024-05-01"], [], None]),
        (time, ["10:00", "10:00:00.5", None]),
    ],
    ids=str,
)
def test_typed_columns_are_still_known_as_written(llm, kind, values, through_parquet):
    """Arrow gives numbers more places and moments no zone."""
    llm.answer = lambda body: json.dumps({"x": values[int(body["messages"][1]["content"])]})
    df = pd.DataFrame({"q": ["0", "1", "2"]})
    df.llm.extract("q", {"x": kind})
    back = through_parquet(df)
    back.llm.extract("q", {"x": kind})
    assert back["x"].tolist() == df["x"].tolist()
    assert llm.ledger.billed == 3
