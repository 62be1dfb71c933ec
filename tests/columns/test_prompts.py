"""Instructions, system messages and functions of a row: what a prompt becomes."""

from __future__ import annotations

import datetime as dt
import decimal
import random
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from columns.plans import contents
from helpers import answer
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionMessage

import llmframe
from llmframe._columns.prompts import PromptSpec, render


def test_an_instruction_comes_first_then_a_blank_line_then_the_cell(llm):
    pd.DataFrame({"review": ["Fine."]}).llm.complete("review", 'Answer as {"label": "x"}. {{ok}}')
    assert contents(llm) == ['Answer as {"label": "x"}. {ok}\n\nFine.']


def test_without_a_prompt_the_cell_is_the_prompt(llm):
    df = pd.DataFrame({"n": [3]})
    df.llm.complete("n")
    df.llm.complete("n", "")
    assert contents(llm) == ["3"]


def test_on_a_series_the_field_is_its_name_or_empty_braces(llm):
    llmframe.options.max_concurrency = 1
    cells = pd.Series(["x"], name="the text")
    cells.llm.complete("1 {the text}")
    cells.llm.complete("2 {}")
    cells.llm.complete("3 {:>3}")
    cells.rename(None).llm.complete("4 {}")
    assert contents(llm) == ["1 x", "2 x", "3   x", "4 x"]


def test_on_an_unnamed_series_only_empty_braces_are_a_field(llm):
    with pytest.raises(ValueError, match=r"nearest column is {}"):
        pd.Series(["x"]).llm.complete("{text}")


def test_an_empty_field_on_a_frame_is_literal(llm):
    pd.DataFrame({"a": ["x"]}).llm.complete("a", "Fill in {}")
    assert contents(llm) == ["Fill in {}\n\nx"]


def test_a_column_and_a_template_that_does_not_name_it_go_together(llm):
    df = pd.DataFrame({"a": ["x", None], "b": ["y", "z"]}).llm.complete("a", "Only {b}")
    assert contents(llm) == ["Only y"]
    assert df["a_completion"].isna().tolist() == [False, True]


def test_system_is_text_or_a_template(llm):
    llmframe.options.max_concurrency = 1
    df = pd.DataFrame({"a": ["x"], "language": ["French"]})
    df.llm.complete("a", system="Answer in {language}.", into="one")
    df.llm.complete("a", system='As {"label": "x"}.', into="two")
    assert [body["messages"] for body in llm.ledger.bodies] == [
        [{"role": "system", "content": "Answer in French."}, {"role": "user", "content": "x"}],
        [{"role": "system", "content": 'As {"label": "x"}.'}, {"role": "user", "content": "x"}],
    ]


def test_a_field_of_system_that_is_no_column_is_an_error_about_system():
    with pytest.raises(ValueError, match=r"^system: \{nope\} is no column"):
        pd.DataFrame({"a": ["x"]}).llm.complete("a", system="{nope}", model="m", mode="offline")


def test_a_missing_cell_that_system_names_is_not_sent(llm):
    df = pd.DataFrame({"a": ["x", "y"], "language": ["French", None]})
    df.llm.complete("a", system="In {language}.")
    assert llm.ledger.requests == 1
    assert llmframe.last_run().skipped == {"language": 1}


@pytest.mark.parametrize("role", ["system", "developer"])
def test_system_over_arrays_that_have_one_is_an_error(llm, role):
    messages = [{"role": role, "content": "Be brief."}, {"role": "user", "content": "x"}]
    with pytest.raises(ValueError, match=r"^system: a message array already has a system message"):
        pd.DataFrame({"m": [messages]}).llm.complete("m", system="Be long.")
    assert llm.ledger.requests == 0


def test_system_goes_before_arrays_that_have_none(llm):
    pd.DataFrame({"m": [[{"role": "user", "content": "x"}]]}).llm.complete("m", system="Be brief.")
    assert [message["role"] for message in llm.ledger.bodies[0]["messages"]] == ["system", "user"]


@pytest.mark.parametrize("prompt", ["An instruction.", "A field: {m}"])
def test_message_arrays_cannot_be_put_into_text(llm, prompt):
    df = pd.DataFrame({"m": [[{"role": "user", "content": "x"}]]})
    with pytest.raises(ValueError, match=r"^prompt: column 'm' holds message arrays"):
        df.llm.complete("m", prompt)
    assert llm.ledger.requests == 0


def test_a_function_gets_a_read_only_row_and_gives_text_messages_or_nothing(llm):
    df = pd.DataFrame({"a": ["text", "messages", "nothing", None], "n": [1, 2, 3, 4]})

    def ask(row):
        with pytest.raises(TypeError):
            row["a"] = "changed"
        assert list(row) == ["a", "n"]
        if row["a"] == "nothing":
            return None
        if row["a"] == "messages":
            return [{"role": "user", "content": "as messages"}]
        return f"{row['a']} {row['n']}"

    df.llm.complete(prompt=ask, into="answer")
    assert sorted(contents(llm)) == ["as messages", "nan 4", "text 1"]
    assert df["answer"].isna().tolist() == [False, False, True, False]
    assert llmframe.last_run().skipped == {"prompt": 1}


@pytest.mark.parametrize("nothing", [None, float("nan"), pd.NA, pd.NaT, "", " \n"])
def test_a_function_that_returns_nothing_means_a_row_that_is_not_sent(nothing, llm):
    df = pd.DataFrame({"a": ["x"]}).llm.complete("a", lambda _: nothing)
    assert llm.ledger.requests == 0
    assert llmframe.last_run().skipped == {"prompt": 1}
    assert df["a_completion"].isna().all()


def test_a_function_may_read_a_frame_of_anything(llm):
    cells = [[1], {"k": [2]}, np.array([1, 2]), float("nan"), b"x", {"role": "user"}, "\ud800"]
    df = pd.DataFrame({"any": pd.Series(cells, dtype=object), "n": range(len(cells))})
    for _ in range(2):
        df.llm.complete(prompt=lambda row: f"{row['n']}", into="c")
    assert df["c"].notna().all()
    assert llm.ledger.requests == len(cells)


def test_a_function_is_called_once_for_each_asked_row_and_for_no_other(llm):
    df = pd.DataFrame({"a": ["x", "x", "y", "z", None]})
    seen = []

    def ask(row):
        seen.append(row["a"])
        return f"{row['a']} {random.random()}"  # what it says is what is sent, however often it would change

    df.llm.complete("a", ask, where=[True, True, True, False, True])
    assert seen == ["x", "x", "y"]
    assert llm.ledger.requests == 3


def test_a_functions_exception_carries_its_row_and_nothing_is_sent(llm):
    df = pd.DataFrame({"a": ["x", "y"]})

    def ask(row):
        return {"x": "fine"}[row["a"]]

    with pytest.raises(KeyError) as error:
        df.llm.complete("a", ask)
    assert error.value.__notes__ == ["in the prompt function, at row 1; nothing was sent"]
    assert llm.ledger.requests == 0
    assert list(df) == ["a"]


def test_what_a_function_gives_that_is_no_prompt_fails_its_row_only(llm):
    df = pd.DataFrame({"a": ["x", "y"]})
    with pytest.warns(llmframe.CompletionWarning, match="invalid_prompt"):
        df.llm.complete("a", lambda row: row["a"] if row["a"] == "x" else 3.5, errors="coerce")
    assert df["a_completion"].notna().tolist() == [True, False]


def test_an_async_function_is_refused(llm):
    async def ask(row):
        return "x"

    with pytest.raises(TypeError, match=r"^prompt must be a plain function"):
        pd.DataFrame({"a": ["x"]}).llm.complete("a", ask)


@pytest.mark.parametrize("prompt", [5, ["a"], {"role": "user"}])
def test_a_prompt_of_another_kind_is_a_type_error(prompt):
    with pytest.raises(TypeError, match=r"^prompt must be text, a template or a function"):
        pd.DataFrame({"a": ["x"]}).llm.complete("a", prompt)


def test_without_column_and_fields_there_is_nothing_to_ask():
    with pytest.raises(ValueError, match="which column"):
        pd.DataFrame({"a": ["x"]}).llm.complete(prompt="Summarise.")


def test_a_cell_that_its_format_does_not_fit_fails_its_row_only(llm):
    df = pd.DataFrame({"x": [1.5, "dear", pd.Timestamp("2024-01-01")]}, dtype=object)
    with pytest.warns(llmframe.CompletionWarning):
        df.llm.complete(prompt="{x:.1f}", into="y", error_into="why", errors="coerce")
    assert contents(llm) == ["1.5"]
    assert df["why"][1:].tolist() == [
        "invalid_prompt: the format '.1f' of {x:.1f} does not suit text ('dear'); write {x}",
        "invalid_prompt: the format '.1f' of {x:.1f} does not suit a date; write {x:%Y-%m-%d}",
    ]


@pytest.mark.parametrize("errors", ["raise", "coerce"])
@pytest.mark.parametrize(
    ("arguments", "system", "said"),
    [
        ((None, "{review:.2f}"), None, "prompt: the format '.2f' of {review:.2f} does not suit text ('Fine, then.'); write {review} (at label 'p', and 2 other rows alike; nothing was sent)"),
        (("review",), "Of {review:%Y}.", "system: the format '%Y' of {review:%Y} does not suit text ('Fine, then.'); write {review} (at label 'p', and 2 other rows alike; nothing was sent)"),
        ((None, "{n:.3}"), None, "prompt: the format '.3' of {n:.3} does not suit a number (7); write {n} (at label 'p', and 3 other rows alike; nothing was sent)"),
        ((None, "{day:.10}"), None, "prompt: the format '.10' of {day:.10} does not suit a date; write {day:%Y-%m-%d} (at label 'p', and 3 other rows alike; nothing was sent)"),
        ((None, "{tags:>9}"), None, "prompt: the format '>9' of {tags:>9} does not suit a list; write {tags} (at label 'p', and 3 other rows alike; nothing was sent)"),
        ((None, lambda row: row["n"]), None, "prompt: the function returned a value of type int; expected text or a list of messages such as [{'role': 'user', 'content': '…'}] (at label 'p', and 3 other rows alike; nothing was sent)"),
    ],
)  # fmt: skip
def test_what_no_row_suits_is_an_error_about_the_template_before_anything_is_sent(
    llm, arguments, system, said, errors
):
    """Also with `errors="coerce"`: it is the argument that is wrong, and no row."""
    df = pd.DataFrame(
        {
            "review": ["Fine,\nthen.", "Bad.", None, "So so."],
            "n": [7, 8, 9, 10],
            "day": pd.Timestamp("2026-01-31"),
            "tags": [["a"]] * 4,
        },
        index=list("pqrs"),
    )
    before = df.copy()
    with pytest.raises(ValueError, match=r"^(prompt|system): ") as error:
        df.llm.complete(*arguments, system=system, into="a", errors=errors)
    assert str(error.value) == said
    assert llm.ledger.requests == 0
    pd.testing.assert_frame_equal(df, before)


@pytest.mark.parametrize("template", ["{n}{x:.2f}{y:.2f}", "{x:.2f} or {y:.2f}"])
def test_rows_that_fail_by_two_parts_of_a_template_are_failures_of_their_own(llm, template):
    """No part of it is wrong for all of them."""
    df = pd.DataFrame({"n": [1, 2], "x": [1.5, "one"], "y": ["one", 1.5]}, dtype=object)
    with pytest.raises(llmframe.CompletionError, match="2 of 2 rows failed"):
        df.llm.complete(prompt=template, into="a")
    assert llm.ledger.requests == 0


def test_an_error_of_a_cell_does_not_blame_the_template(llm):
    """Bytes suit no template, with a format or without."""
    df = pd.DataFrame({"x": [b"a", b"b"]}, index=[4, 5])
    with pytest.raises(llmframe.CompletionError) as error:
        df.llm.complete(prompt="{x:.2f}", into="a")
    lines = str(error.value).splitlines()
    assert lines[1].endswith(
        "invalid_prompt (first label 4): the cell of {x:.2f} holds bytes; decode them to text first"
    )
    assert not any(line.startswith("To mend") for line in lines), "the message says it"


def test_a_frame_that_no_longer_suits_its_template_has_changed(llm):
    """The run says so, and does not blame the template."""
    df = pd.DataFrame({"x": [1.5, 2.5]}, dtype=object)
    run = df.llm.complete(prompt="{x:.1f}", into="a", wait=False)
    df["x"] = ["one", "two"]
    with pytest.raises(ValueError, match="have changed since the call"):
        run.result(timeout=60)


def test_a_functions_own_exception_is_raised_at_its_first_row(llm):
    """It is not wrapped; the note says which row it was."""
    with pytest.raises(ZeroDivisionError) as error:
        pd.DataFrame({"a": ["x", "y"]}).llm.complete("a", lambda _: 1 / 0)
    assert error.value.__notes__ == ["in the prompt function, at row 0; nothing was sent"]
    assert llm.ledger.requests == 0


@given(
    st.lists(st.tuples(*[st.none() | st.text(max_size=6)] * 2), max_size=6),
    st.sampled_from([("a", None), ("a", "Sum up:"), ("a", "{a} and {b}"), (None, "{b}, {{a}}: {a}")]),
    st.sampled_from([None, "Be brief.", "You know {b}."]),
)
def test_rows_of_text_are_put_together_as_they_are_one_by_one(rows, asked, system):
    frame = pd.DataFrame(rows, columns=["a", "b"], dtype="object")
    together, one_by_one = (PromptSpec.parse(*asked, system, {"a": "a", "b": "b"}) for _ in range(2))
    one_by_one.__dict__["joins_text"] = False
    rendered = [
        list(render(asking, dict(frame.items()), np.arange(len(frame)))) for asking in (together, one_by_one)
    ]
    assert rendered[0] == rendered[1]


class Silent:
    """It says nothing of itself; Python shows where it is in memory."""


class Iterable:
    """It has a text and values, as other libraries' columns and pydantic's models do."""

    def __iter__(self):
        return iter("xy")

    def __str__(self):
        return "shape: (2,)"


@pytest.mark.parametrize(
    "cell",
    [Silent(), Iterable(), {"a"}, range(3), len, Silent, pd.Series(["x"]), pd.DataFrame({"a": ["x"]}), iter("x"), pa.scalar("x"), pa.scalar(None, pa.string())],
    ids=lambda cell: type(cell).__name__,
)  # fmt: skip
@pytest.mark.parametrize("prompt", [None, "An instruction."])
def test_an_object_that_is_no_text_fails_its_row_and_is_not_sent(cell, prompt, llm):
    df = pd.DataFrame({"x": pd.Series([cell, "fine"], dtype=object)})
    with pytest.warns(llmframe.CompletionWarning):
        df.llm.complete("x", prompt, into="y", errors="coerce")
    (failure,) = llmframe.last_run().failures.itertuples()
    assert (failure.position, failure.code) == (0, "invalid_prompt")
    assert f"the cell holds a {type(cell).__name__}" in failure.message
    assert llm.ledger.requests == 1


@pytest.mark.parametrize("cell", [Silent(), len, pa.scalar(None, pa.string())])
def test_a_template_takes_no_object_without_a_text(cell, llm):
    """Lists and dicts are written as Python does."""
    df = pd.DataFrame({"x": pd.Series([cell, ["a"], {"b": 1}], dtype=object)})
    with pytest.warns(llmframe.CompletionWarning, match="invalid_prompt"):
        df.llm.complete(prompt="In {x}", into="y", errors="coerce")
    assert sorted(contents(llm)) == ["In ['a']", "In {'b': 1}"]


def test_what_has_a_text_of_its_own_is_sent_as_that(llm):
    cells = [
        uuid.UUID(int=7),
        Path("a"),
        decimal.Decimal("1.50"),
        dt.time(1, 2),
        pd.Timestamp("2026-01-31"),
        pd.Interval(0, 1),
        1 + 2j,
    ]
    pd.Series(cells, dtype=object).llm.complete()
    assert sorted(contents(llm)) == sorted(map(str, cells))


def test_a_message_array_with_a_foreign_object_names_it(llm):
    message = ChatCompletionMessage(role="assistant", content="x")
    with pytest.raises(
        llmframe.CompletionError, match="found a list with a ChatCompletionMessage in it that has no role"
    ):
        llmframe.complete([[{"role": "user", "content": "x"}, message]])
    assert llm.ledger.requests == 0


def test_numpy_scalars_and_text_subclasses_are_text(llm):
    df = pd.DataFrame({"x": [np.str_("a"), np.int64(2), np.float32(0.5), True]}, dtype=object)
    df.llm.complete("x", into="y")
    assert sorted(contents(llm)) == ["0.5", "2", "True", "a"]
    assert df["y"][0] == answer("a")
