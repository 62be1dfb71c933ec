"""Failed rows: the error, the warning and the table of failures, in both lanes."""

from __future__ import annotations

import asyncio

import pandas as pd
import pytest
from helpers import answer

import llmframe
from llmframe.testing import Fault


@pytest.fixture
def bad(llm, lane):
    """Give a server whose API refuses rows with "bad" in them, and whose model fails those with the other words."""
    llm.faults = [
        Fault("context_length_exceeded", when=lambda body: "bad" in str(body["messages"])),
        Fault("refusal", when=lambda body: "mute" in str(body["messages"])),
        Fault("length_text", when=lambda body: "cut" in str(body["messages"])),
        Fault("length_empty", when=lambda body: "spent" in str(body["messages"])),
        Fault("content_filter", when=lambda body: "filtered" in str(body["messages"])),
    ]
    return llm


def test_errors_raise_writes_what_succeeded_and_carries_the_run(bad):
    df = pd.DataFrame({"a": ["x", "bad 1", "mute", "bad 2", "y"]})
    with pytest.raises(llmframe.CompletionError) as error:
        df.llm.complete("a")
    assert df["a_completion"].notna().tolist() == [True, False, False, False, True]
    assert error.value.result is df
    assert error.value.run is llmframe.last_run()
    lines = str(error.value).splitlines()
    assert lines[0] == "3 of 5 rows failed; the others are written"
    assert lines[1].startswith("  2 × context_length_exceeded (first row 1): This model's maximum")  # noqa: RUF001
    assert lines[2].startswith("  1 × refusal (row 2): the model refused")  # noqa: RUF001
    assert lines[3].startswith("run.failures lists all")
    assert lines[5].startswith("To mend context_length_exceeded: shorten these rows")
    assert lines[6] == "To mend refusal: rephrase the prompt for these rows."
    assert lines[4].startswith("The answers of refusal were paid: ")
    assert len(lines) == 7


def test_an_error_carries_what_the_call_would_have_returned(bad):
    with pytest.raises(llmframe.CompletionError) as error:
        pd.Series(["x", "bad"], index=["p", "q"], name="a").llm.complete()
    assert error.value.result.fillna("").to_dict() == {"p": answer("x"), "q": ""}
    with pytest.raises(llmframe.CompletionError) as error:
        llmframe.complete(["x", "bad"])
    assert error.value.result == [answer("x"), None]
    with pytest.raises(llmframe.CompletionError) as error:
        pd.DataFrame({"a": ["x", "bad"]}).head(5).llm.complete("a")
    assert error.value.result["a_completion"].notna().tolist() == [True, False]

    async def awaited():
        return await llmframe.acomplete(["x", "bad"])

    with pytest.raises(llmframe.CompletionError) as error:
        asyncio.run(awaited())
    assert error.value.result == [answer("x"), None]


def test_errors_coerce_warns_once_at_the_callers_line(bad):
    df = pd.DataFrame({"a": ["x", "bad 1", "bad 2"]})
    with pytest.warns(llmframe.CompletionWarning) as warned:
        df.llm.complete("a", errors="coerce")
    (warning,) = warned
    assert "2 of 3 rows failed" in str(warning.message)
    assert "2 × context_length_exceeded" in str(warning.message)  # noqa: RUF001
    assert warning.filename == __file__
    assert df["a_completion"].isna().tolist() == [False, True, True]


def test_the_warning_of_every_verb_is_at_the_callers_line(bad):
    llmframe.options.errors = "coerce"

    async def await_all():
        await llmframe.acomplete(["bad"])
        await pd.Series(["bad"]).llm.acomplete()

    def call_all():
        llmframe.complete(["bad"])
        pd.Series(["bad"]).llm.complete()
        pd.DataFrame({"a": ["bad"]}).llm.complete("a", wait=False).result()
        asyncio.run(await_all())

    with pytest.warns(llmframe.CompletionWarning) as warned:
        call_all()
    assert [warning.filename for warning in warned] == [__file__] * 5


def test_answers_that_were_cut_off_are_kept_counted_and_warned_of(bad):
    df = pd.DataFrame({"a": ["cut 1", "x", "cut 2"]})
    with pytest.warns(llmframe.CompletionWarning, match="2 answers were cut off") as warned:
        df.llm.complete("a")
    assert len(warned) == 1
    assert df["a_completion"].notna().all()
    assert llmframe.last_run().truncated == 2
    with pytest.warns(llmframe.CompletionWarning, match="2 answers were cut off"):
        df.llm.complete("a")
    assert bad.ledger.billed == 3


@pytest.mark.parametrize(
    ("text", "code"), [("mute", "refusal"), ("filtered", "content_filter"), ("spent", "length")]
)
def test_a_200_without_an_answer_is_a_failure_that_a_rerun_does_not_pay_again(text, code, bad):
    df = pd.DataFrame({"a": ["x", text]})
    for _ in range(2):
        with pytest.raises(llmframe.CompletionError, match=code):
            df.llm.complete("a")
        assert bad.ledger.billed == 2
    assert llmframe.last_run().failures["code"].tolist() == [code]
    bad.faults = []
    df.llm.complete("a", retry_failed=True)
    assert df["a_completion"].tolist() == [answer("x"), answer(text)]
    assert bad.ledger.billed == 3


def test_failures_name_position_label_code_message_and_attempts(bad):
    df = pd.DataFrame({"a": ["bad", b"x", "fine", "bad"]}, index=["p", "q", "r", "p"])
    with pytest.raises(llmframe.CompletionError) as error:
        df.llm.complete("a")
    failures = error.value.run.failures
    assert list(failures) == ["position", "label", "code", "message", "attempts"]
    assert failures[["position", "label", "code", "attempts"]].to_numpy().tolist() == [
        [0, "p", "context_length_exceeded", 1],
        [1, "q", "invalid_prompt", 0],
        [3, "p", "context_length_exceeded", 1],
    ]
    assert failures["message"].str.len().gt(0).all()


def test_a_long_label_is_shortened_in_the_text_and_whole_in_the_table(bad):
    """Dask replaces an exception by a plain one when its text is longer than 10,000 characters."""
    label = "a review as label " * 1_000
    with pytest.raises(llmframe.CompletionError, match=r"\(label 'a review as label a") as error:
        pd.Series(["bad"], index=[label]).llm.complete()
    assert len(str(error.value)) < 1_000
    assert error.value.failures["label"].tolist() == [label]


def test_a_run_without_failures_has_an_empty_table(llm, lane):
    llmframe.complete(["x"])
    assert list(llmframe.last_run().failures) == ["position", "label", "code", "message", "attempts"]
    assert llmframe.last_run().failures.empty
