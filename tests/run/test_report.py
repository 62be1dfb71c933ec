"""What a run says of itself: numbers, table, plot, and lines on the terminal."""

from __future__ import annotations

import pickle
import re
import sys

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.figure import Figure

import llmframe
from llmframe._run import card, starting
from llmframe._run.card import duration
from llmframe._run.money import dollars
from llmframe.testing import Fault, Reply


@pytest.fixture
def bad(llm, lane):
    """Give a server that refuses rows with "bad" in them, and cuts answers to rows with "cut" in them."""
    llm.faults = [
        Fault("context_length_exceeded", when=lambda body: "bad" in str(body["messages"])),
        Fault("length_text", when=lambda body: "cut" in str(body["messages"])),
    ]
    return llm


def test_a_run_tells_its_numbers(bad):
    df = pd.DataFrame({"a": ["x", "x", "bad", None, "y", "cut"]})
    with pytest.warns(llmframe.CompletionWarning):
        df.llm.complete("a", errors="coerce")
    run = llmframe.last_run()
    assert run.status == "done"
    assert run.done()
    assert (run.rows, run.skipped, run.distinct, run.from_journal) == (6, {"a": 1}, 4, 0)
    assert (run.sent, run.answered, run.failed, run.truncated, run.uncertain) == (4, 4, 1, 1, 0)
    assert run.tokens.total == bad.ledger.tokens
    assert run.cost > 0
    assert run.seconds > 0
    assert set(run.latency) == {"p50", "p90", "p99"}
    bad.faults = []
    with pytest.warns(llmframe.CompletionWarning, match="1 answer was cut off"):
        df.llm.complete("a", overwrite=True)
    again = llmframe.last_run()
    assert (again.from_journal, again.sent, again.answered, again.failed) == (3, 1, 5, 0)


def test_a_run_shows_itself(bad):
    with pytest.warns(llmframe.CompletionWarning):
        pd.DataFrame({"<a>": ["x", "bad", None]}).llm.complete("<a>", errors="coerce", into="b")
    run = llmframe.last_run()
    assert repr(run).startswith("<Run done: 1 row answered, 1 not sent (<a> missing), 1 failed · ")
    page = run._repr_html_()
    assert "gpt-6-luna" in page
    assert "<a>" not in page, "names are escaped"
    assert "1 not sent (&lt;a&gt; missing)" in page


def closing(frame, **settings):
    frame.llm.complete("a", errors="coerce", into="b", overwrite=True, **settings)
    return re.sub(r" · \$[\d.]+| · [\d.]+ s>$", "", repr(llmframe.last_run())).removeprefix("<Run done: ")


def test_the_closing_line_counts_rows_as_rows_and_requests_as_requests(llm, lane):
    """What is nothing is left out."""
    few, more = pd.DataFrame({"a": ["x", "y"]}), pd.DataFrame({"a": ["x", "y", "z", "z", "z", None]})
    assert closing(few.head(1)) == "1 row answered"
    assert closing(few.head(1)) == "1 row answered, from the journal"
    assert closing(few) == "2 rows answered: 1 asked now, 1 from the journal"
    assert closing(more) == (
        "5 rows answered, 1 not sent (a missing): 3 asked now in 1 request, 2 from the journal"
    )
    assert closing(more) == "5 rows answered, all from the journal, 1 not sent (a missing)"
    assert closing(more, fresh=True) == "5 rows answered in 3 requests, 1 not sent (a missing)"
    llm.faults = [Fault("context_length_exceeded", when=lambda body: "bad" in str(body["messages"]))]
    with pytest.warns(llmframe.CompletionWarning):
        assert (
            closing(pd.DataFrame({"a": ["bad", " ", "w"]}))
            == "1 row answered, 1 not sent (a blank), 1 failed"
        )


def test_a_function_that_returns_none_gives_no_prompt(llm):
    pd.DataFrame({"a": ["x", "y"]}).llm.complete("a", lambda row: row["a"] if row["a"] == "x" else None)
    assert "1 row answered, 1 not sent (no prompt) · " in repr(llmframe.last_run())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.004, "0.01 s"),
        (0.042, "0.04 s"),
        (0.72, "0.7 s"),
        (99, "99.0 s"),
        (125, "2 min 5 s"),
        (21_600, "6 h 0 min"),
    ],
)
def test_a_duration_has_the_unit_that_suits_it(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("amount", "text"), [(0.0, "$0"), (0.000021, "$0.000021"), (0.25, "$0.2500"), (1234.5, "$1,234.50")]
)
def test_small_amounts_have_more_digits(amount, text):
    assert dollars(amount) == text
    assert dollars(amount, unpriced=1) == f"at least {text}"


def test_a_card_tells_at_a_glance_whether_it_went_well(bad, lane):
    """The rows by outcome in colour, what it took, and each cause with its first row and its remedy."""
    texts = [f"good {number}" for number in range(1_200)]
    pd.DataFrame({"a": texts[:900]}).llm.complete("a")
    good = llmframe.last_run()._repr_html_()
    assert f'<b style="color:{card.GREEN}">✓ done</b>' in good
    assert (" by batch<" in good) == (lane == "batch")
    for absent in (
        card.RED,
        card.AMBER,
        card.GREY,
        card.BLUE,
        "retries",
        "waited",
        "cut off",
        "journal",
        "duplicates",
        ">0 ",
    ):
        assert absent not in good
    frame = pd.DataFrame({"a": [*texts, "bad 1", "<bad> 2", None, "good 1", "cut"]}, index=range(10, 1_215))
    with pytest.warns(llmframe.CompletionWarning):
        frame.llm.complete("a", errors="coerce")
    run = llmframe.last_run()
    page = run._repr_html_()
    for shown in (
        f'<b style="color:{card.RED}">✗ done, 2 rows failed</b>', "301 rows answered now", "901 from the journal",
        "2 failed", "1 not sent (a missing)", "900 requests by the journal ($0.00", "), 1 by duplicates ($0.00", "rows/s", "p99",
        "<b>2 × context_length_exceeded</b>", "first label 1210: ", "→ shorten these rows", "1 answer",  # noqa: RUF001
    ):  # fmt: skip
        assert shown in page
    assert "script" not in page
    assert "http" not in page
    assert "np.int64" not in page
    assert pickle.loads(pickle.dumps(run))._repr_html_() == page


def test_a_card_of_a_run_that_was_stopped_says_what_is_not_done(llm):
    llm.faults = [Fault("invalid_api_key")]
    with pytest.raises(llmframe.StoppedError):
        llmframe.complete(["x"] * 3)
    page = llmframe.last_run()._repr_html_()
    assert f'<b style="color:{card.RED}">✗ stopped</b>' in page
    assert "3 not done" in page
    assert "<b>invalid_api_key</b>" in page
    assert "→ set llmframe.options.api_key" in page
    llmframe.complete([])
    assert "✓ done" in llmframe.last_run()._repr_html_()


def test_a_plot_names_the_extra_that_it_needs(llm, monkeypatch):
    llmframe.complete(["x"])
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(
        ImportError, match=r"pip install matplotlib \(llmframe's extras 'plot' and 'notebook'"
    ):
        llmframe.last_run().plot()


@pytest.mark.parametrize("prompts", [["x", "y"], []])
def test_a_run_draws_itself(prompts, llm, lane):
    mpl.use("Agg")
    llmframe.complete(prompts)
    assert isinstance(llmframe.last_run().plot(), Figure)


def test_a_run_draws_what_it_has_spent_by_when(bad, lane):
    """From nothing to its cost, also with answers that broke off, and also of a run that was sent elsewhere."""
    mpl.use("Agg")
    half = Fault(Reply(choice={"finish_reason": "error"}), times_per_request=1, when="x")
    bad.faults = [half, *bad.faults]
    llmframe.complete(["x", "y", "z"])
    run = llmframe.last_run()
    for drawn in (run, pickle.loads(pickle.dumps(run))):
        (line,) = drawn.plot().axes[2].lines
        seconds, spent = line.get_xdata(), line.get_ydata()
        assert list(seconds) == sorted(seconds)
        assert list(spent) == sorted(spent)
        assert (spent[0], spent[-1]) == (0.0, run.cost)
        assert spent[-2] == pytest.approx(run.cost)
        assert len(spent) == 5


def test_last_run_is_the_newest_calls(llm, lane):
    llmframe.complete(["x"])
    first = llmframe.last_run()
    llmframe.complete(["x", "y"])
    assert llmframe.last_run() is not first
    assert llmframe.last_run().rows == 2


@pytest.mark.parametrize("variable", ["COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE", "BINDER_SERVICE_HOST"])
def test_a_machine_that_forgets_is_said_once_with_the_line_that_moves_the_journal(
    llm, monkeypatch, capsys, variable, tmp_path
):
    """Nothing is said where the user has moved the journal."""
    monkeypatch.setenv(variable, "x")
    monkeypatch.setattr(starting, "_warned_of_forgetting", [])
    llmframe.complete(["Hello"], progress=True, journal=tmp_path / "mine.sqlite")
    assert "forgets" not in capsys.readouterr().err
    monkeypatch.delenv("LLMFRAME_JOURNAL")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    llmframe.complete(["Hello"], progress=True)
    llmframe.complete(["Goodbye"], progress=True)
    said = capsys.readouterr().err
    assert said.count("forgets") == 1
    assert "llmframe.options.journal = " in said
