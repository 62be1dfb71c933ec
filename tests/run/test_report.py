"""What a run says of itself: numbers, table, plot, and lines on the terminal."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.figure import Figure

import llmframe
from llmframe._run import starting
from llmframe.testing import Fault


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


@pytest.mark.parametrize("prompts", [["x", "y"], []])
def test_a_run_draws_itself(prompts, llm, lane):
    mpl.use("Agg")
    llmframe.complete(prompts)
    assert isinstance(llmframe.last_run().plot(), Figure)


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
