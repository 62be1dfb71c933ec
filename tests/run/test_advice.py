"""What a run advises about rows without an answer: by cause, by label, and nothing that the call does already."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from helpers import about, asked

import llmframe
from llmframe._errors import row_name
from llmframe.testing import Fault, Reply

PAID = "To mend: rephrase the prompt for these rows."


def failed(frame, *arguments, **settings):
    """Return the lines of what a call raises, or warns with `errors="coerce"`."""
    if settings.get("errors") == "coerce":
        with pytest.warns(llmframe.CompletionWarning) as warned:
            frame.llm.complete(*arguments, **settings)
        return str(warned[0].message).splitlines()
    with pytest.raises(llmframe.CompletionError) as error:
        frame.llm.complete(*arguments, **settings)
    return str(error.value).splitlines()


def refusing(code, message, *rows):
    return Fault(Reply(400, {"error": {"message": message, "code": code}}), when=about(*rows))


def test_each_cause_has_its_count_its_first_row_by_label_and_its_words(llm, lane):
    """The most frequent one comes first; what is mended alike is told once, and for which codes."""
    llm.faults = [
        Fault("refusal", when=about(0)),
        Fault("context_length_exceeded", when=about(2, 5, 6)),
        Fault("content_filter", when=about(3, 4)),
    ]
    frame = asked(8).set_index(pd.Index(range(51, 59)))
    lines = failed(frame, "q")
    assert lines[0] == "6 of 8 rows failed; the others are written"
    assert lines[1].startswith("  3 × context_length_exceeded (first label 53): This model's maximum")  # noqa: RUF001
    assert lines[2].startswith("  2 × content_filter (first label 54): the provider's")  # noqa: RUF001
    assert lines[3].startswith("  1 × refusal (label 51): the model refused: ")  # noqa: RUF001
    assert (
        lines[6]
        == "To mend context_length_exceeded: shorten these rows, for example with {q:.8000} in prompt=."
    )
    assert lines[7] == "To mend content_filter, refusal: rephrase the prompt for these rows."
    assert lines[5].startswith("The answers of content_filter, refusal were paid: ")
    assert len(lines) == 8


class Unshowable:
    """Its representation fails."""

    def __repr__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("labels", "position", "shown"),
    [
        ([7, 53, 9], 1, "label 53"),
        ([7, 1, 9], 1, "row 1"),
        ([True, False], 0, "label True"),
        ([7, 7, 9], 2, "row 2"),
        (["p", "q"], 1, "label 'q'"),
        ([float("nan"), 1.5], 0, "label nan"),
        ([0.5, 1.5], 1, "label 1.5"),
        (pd.DatetimeIndex(["2026-01-31 00:00", "2026-02-01 12:30"]), 1, "label 2026-02-01 12:30:00"),
        (pd.period_range("2026-01", periods=2, freq="M"), 1, "label 2026-02"),
        (pd.MultiIndex.from_product([["a"], [53, 54]]), 1, "label ('a', 54)"),
        ([(1, (np.int64(2), np.str_("x"))), (3,)], 0, "label (1, (2, 'x'))"),
        ([b"x", b"y"], 1, r"label b'y'"),
        (["a\nb", "c"], 0, r"label 'a\nb'"),
        (["x" * 1000, "c"], 0, f"label '{'x' * 78}…"),
        ([{"a": 1}, {}], 0, "row 0"),
        ([Unshowable(), "c"], 0, "label <Unshowable>"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else "",
)
def test_a_row_is_named_by_its_label_as_one_writes_it(labels, position, shown):
    """Or by its position, where the label is that or does not tell the row from others."""
    if isinstance(labels, list):
        labels = pd.Index(
            pd.Series(labels, dtype=object) if not isinstance(labels[0], int | float) else labels,
            tupleize_cols=False,
        )
    assert row_name(labels, position) == shown


def test_many_causes_are_counted_and_the_first_are_told(llm):
    """A code of the server's is one short line, whatever it is made of."""
    llm.faults = [refusing(f"<b>kind {row:02}</b>\n\x1b[31m{'x' * 500}", "No.", row) for row in range(30)]
    lines = failed(asked(40), "q")
    assert sum(" × " in line for line in lines) == 4  # noqa: RUF001
    assert lines[1].startswith("  1 × <b>kind 00</b> �[31mxxx")  # noqa: RUF001
    assert lines[5] == "  and 26 more kinds (26 rows): see run.failures"
    assert len("\n".join(lines)) < 1500
    assert lines[-1] == "To mend: change these rows, or what is asked of them, as their messages say."


@pytest.mark.parametrize(
    ("code", "said", "shown"),
    [
        ("too_odd", "too_odd: It is odd.", "(row 1): It is odd."),
        ("too_odd", "Too odd: It is odd.", "(row 1): It is odd."),
        ("too_odd", "too_odd", "(row 1)"),
        ("too_odd", "Too oddly put.", "(row 1): Too oddly put."),
    ],
)
def test_a_message_does_not_say_its_code_again(llm, code, said, shown):
    llm.faults = [refusing(code, said, 1)]
    assert failed(asked(5), "q")[1].endswith(shown)


@pytest.mark.parametrize("settings", [{}, {"errors": "coerce"}])
def test_coerce_is_named_where_it_is_not_in_use(llm, settings):
    llm.faults = [Fault("refusal", when=about(1))]
    assert any("errors=" in line for line in failed(asked(3), "q", **settings)) == (not settings)


@pytest.mark.parametrize(
    ("settings", "told"),
    [({}, True), ({"retry_failed": True}, False), ({"fresh": True}, False), ({"journal": False}, False)],
)
def test_retrying_what_failed_is_named_where_it_changes_something(llm, settings, told):
    """Not where the call does so, and not where no answer was kept."""
    llm.faults = [Fault("refusal", when=about(1))]
    text = "\n".join(failed(asked(3), "q", **settings))
    assert ("retry_failed=True" in text) == ("were paid" in text) == told
    assert PAID in text


def test_offline_what_failed_is_asked_again_live(llm):
    llm.faults = [Fault("refusal", when=about(1))]
    failed(asked(3), "q")
    text = "\n".join(failed(asked(3), "q", mode="offline"))
    assert "mode='live' with retry_failed=True asks again" in text


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({}, "run the same call again: what is answered is not asked again"),
        ({"fresh": True}, "run the call again without fresh=True: what is answered is not asked again"),
        (
            {"journal": False},
            "ask for these rows again (with journal=False, the same call asks for all rows)",
        ),
    ],
)
def test_how_rows_are_asked_again_is_true_of_the_call(llm, settings, remedy):
    llm.faults = [Fault("500", when=about(1))]
    assert failed(asked(3), "q", max_retries=1, **settings)[-1] == f"To mend: {remedy}."


def test_the_other_lane_is_named_by_batch_alone(llm, lane):
    llm.faults = [Fault("500", when=about(1))]
    text = "\n".join(failed(asked(3), "q", max_retries=1))
    assert ("mode='live'" in text) == (lane == "batch")


@pytest.mark.parametrize(
    ("params", "remedy"),
    [
        ({}, "set max_completion_tokens= above the server's own limit, or lower reasoning_effort"),
        ({"max_completion_tokens": 1500}, "raise max_completion_tokens (1,500 now) to 6,000, for example, or lower reasoning_effort"),
        ({"max_tokens": 50, "reasoning_effort": "high"}, "raise max_tokens (50 now) to 200, for example, or lower reasoning_effort ('high' now)"),
        ({"extra_body": {"max_tokens": 50}, "reasoning_effort": "none"}, "raise max_tokens (50 now) to 200, for example"),
    ],
)  # fmt: skip
def test_more_tokens_are_named_by_what_the_call_allows_now(llm, params, remedy):
    """In the error, in the warning about cut-off answers, and where the run stops."""
    llm.faults = [Fault("length_empty", when=about(1)), Fault("length_text", when=about(2))]
    with pytest.warns(llmframe.CompletionWarning, match=f"for whole ones, {re.escape(remedy)}$"):
        lines = failed(asked(3), "q", **params)
    assert f"To mend: {remedy}." in lines
    assert "\n".join(lines).count("max_") == remedy.count("max_")
    llm.faults = [Fault("length_empty")]
    lines = failed(asked(20, 60), "q", **params)
    assert lines[-1] == f"To go on: {remedy}; then run the call again with retry_failed=True."
    assert (
        failed(asked(20, 60), "q", retry_failed=True, **params)[-1]
        == f"To go on: {remedy}; then run the call again."
    )


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("q",), "{q:.8000} in prompt="),
        (("q", "Sum up:"), "{q:.8000} in prompt="),
        ((None, "{short}: {q}"), "{q:.8000} in prompt="),
        ((None, "{short:.10}: {q:.8000}"), "{q:.4000} in prompt="),
    ],
)
def test_rows_that_are_too_long_are_shortened_in_the_column_that_is(llm, arguments, field):
    """By less than the template keeps already."""
    llm.faults = [Fault("context_length_exceeded", when="number 1")]
    frame = asked(3).assign(short="x")
    assert (
        failed(frame, *arguments, into="a")[-1] == f"To mend: shorten these rows, for example with {field}."
    )


def test_no_template_is_named_where_there_is_none(llm):
    llm.faults = [Fault("context_length_exceeded")]
    with pytest.raises(llmframe.CompletionError, match=r"To mend: shorten these rows\.$"):
        llmframe.complete(["x", "y"])
    assert failed(asked(2), None, lambda row: row["q"], into="a")[-1] == "To mend: shorten these rows."


@pytest.mark.parametrize(("rows", "stops"), [(40, True), (2, False)])
def test_json_without_the_word_is_mended_by_the_word(llm, rows, stops):
    """Every row would be refused alike, so that the run stops, although the refusal names the messages."""
    lines = failed(asked(rows), "q", response_format={"type": "json_object"})
    assert (
        lines[-1].removeprefix("To go on: ").removeprefix("To mend: ")
        == "write the word JSON into prompt= or system=."
    )
    assert lines[-1].startswith("To go on: ") == stops
    assert llm.ledger.requests <= 30
    frame = asked(rows)
    frame.llm.complete("q", "As JSON:", response_format={"type": "json_object"}, into="a")
    assert frame["a"].notna().all()


def test_a_stop_promises_what_the_journal_keeps(llm):
    llm.faults = [Fault("insufficient_quota")]
    promise = ": what is answered is not asked again."
    assert failed(asked(3), "q")[-1].endswith(f"run the same call again{promise}")
    assert failed(asked(3), "q", journal=False)[-1].endswith("run the same call again.")


TITLES = pd.DataFrame(
    {
        "title": [f"Title {number}" for number in range(10)],
        "subtitle": ["x"] * 6 + [None] * 4,
        "price": [1.5] * 7 + [float("nan")] * 3,
        "kind": pd.Categorical(["k"] * 8 + [None] * 2),
        "note": ["x"] * 9 + [None],
    }
)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((None, "{title}: {subtitle}"), "4 rows of which only subtitle is missing, fill it first: df['subtitle'] = df['subtitle'].fillna('')"),
        ((None, "{title}: {price}"), "3 rows of which only price is missing, fill it first: df['price'] = df['price'].astype('str').fillna('')"),
        ((None, "{title}: {kind}"), "2 rows of which only kind is missing, fill it first: df['kind'] = df['kind'].astype('str').fillna('')"),
        ((None, "{title}: {price:.2f}"), "3 rows of which only price is missing, fill it first, with a value that suits its format"),
        (("title", "{title}: {subtitle}"), "4 rows of which only subtitle is missing"),
        ((None, "{title}: {note}"), None),
        ((None, "{subtitle}: {price}"), None),
        (("subtitle", "Sum up:"), None),
        ((None, "{subtitle}"), None),
    ],
)  # fmt: skip
def test_a_column_with_many_missing_cells_is_told_with_its_remedy(llm, capsys, arguments, told):
    """Where it alone keeps a fifth of the rows from being sent, and the prompt has other columns; and the remedy works."""
    frame = TITLES.copy()
    frame.llm.complete(*arguments, into="a", progress=True)
    said = capsys.readouterr().err
    assert ("llmframe: to send also the" in said) == (told is not None)
    if told is None:
        return
    assert said.count(told) == 1
    if "fillna" in told:
        exec(told.partition("fill it first: ")[2], {"df": frame})
        frame.llm.complete(*arguments, into="b", progress=True)
        assert frame["b"].notna().all()
        assert "to send also" not in capsys.readouterr().err


def test_missing_cells_are_not_told_without_progress(llm, capsys):
    TITLES.copy().llm.complete(prompt="{title}: {subtitle}", into="a", progress=False)
    assert "missing" not in capsys.readouterr().err


def test_a_filter_that_refused_a_request_was_not_paid(llm):
    """It has the same code as one that held a paid answer back, and is asked again by a re-run."""
    llm.faults = [refusing("content_filter", "No.", 1)]
    lines = failed(asked(3), "q")
    assert lines[-1] == "To mend: rephrase these rows."
    assert not any("were paid" in line for line in lines)


def test_json_without_the_word_is_mended_by_the_word_in_batches_too(llm, swift):
    lines = failed(asked(8), "q", response_format={"type": "json_object"}, mode="batch")
    assert lines[-1].endswith("write the word JSON into prompt= or system=.")
    assert llm.ledger.batches_created == 1


def test_rows_whose_cells_bring_the_word_are_answered_and_the_others_fail_alone(llm):
    """However often the call is repeated."""
    frame = asked(40)
    frame.loc[20:, "q"] += " As JSON."
    for _ in range(2):
        lines = failed(frame, "q", response_format={"type": "json_object"}, overwrite=True)
        assert lines[0] == "20 of 40 rows failed; the others are written"
        assert lines[-1] == "To mend: write the word JSON into prompt= or system=."
