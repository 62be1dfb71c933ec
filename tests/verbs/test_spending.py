"""`llmframe.spend()`: what was spent, as a table of the journal's answers."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import pytest
from helpers import asked

import llmframe
from llmframe.cli import main

COLUMNS = {
    "day": "datetime64[us]",
    "model": "str",
    "verb": "str",
    "lane": "str",
    "answers": "int64",
    "uncached": "int64",
    "cached": "int64",
    "written": "int64",
    "output": "int64",
    "reasoning": "int64",
    "cost": "float64",
    "unpriced": "int64",
}


def today():
    return pd.Timestamp(datetime.now(UTC).date())


def test_each_day_model_verb_and_lane_has_a_line(llm, swift):
    """Sorted; the columns have their dtypes."""
    before = today()
    llmframe.complete(["x", "y"], model="gpt-5.6-luna", service_tier="flex")
    asked(3).llm.complete("q", mode="batch")
    asked(3).llm.classify("q", ["odd", "even"])
    spent = llmframe.spend()
    assert {name: str(dtype) for name, dtype in spent.dtypes.items()} == COLUMNS
    told = spent[["model", "verb", "lane", "answers", "unpriced"]].to_dict("tight")["data"]
    assert told == [
        ["gpt-5.6-luna", "complete", "flex", 2, 0],
        ["gpt-6-luna", "classify", "live", 3, 0],
        ["gpt-6-luna", "complete", "batch", 3, 0],
    ]
    assert (spent["day"] >= before).all()
    assert (spent["day"] <= today()).all()
    assert spent[["uncached", "cached", "written", "output", "reasoning"]].sum(axis=None) == llm.ledger.tokens


def test_an_empty_journal_has_the_same_columns_and_no_rows(llm, tmp_path):
    llmframe.complete([])
    spent = llmframe.spend(tmp_path / "journal.sqlite")
    assert len(spent) == 0
    assert {name: str(dtype) for name, dtype in spent.dtypes.items()} == COLUMNS


def test_a_journal_that_is_not_there_is_not_made(tmp_path):
    assert llmframe.spend().empty
    assert llmframe.spend(tmp_path / "none.sqlite").empty
    assert list(tmp_path.iterdir()) == []
    llmframe.options.journal = False
    assert {name: str(dtype) for name, dtype in llmframe.spend().dtypes.items()} == COLUMNS


def test_it_reads_the_journal_that_is_named(llm, tmp_path):
    llmframe.complete(["x"], journal=tmp_path / "other.sqlite")
    assert llmframe.spend().empty
    assert llmframe.spend(str(tmp_path / "other.sqlite"))["answers"].tolist() == [1]
    with pytest.raises(ValueError, match="journal must be a file's path"):
        llmframe.spend("mysql://host/db")


def test_answers_of_an_unknown_price_are_counted_and_not_free(llm):
    llmframe.options.prices = {"gpt-6-luna": {"input": 0, "output": 0}}
    llmframe.complete(["x"])
    assert llmframe.spend()["cost"].tolist() == [0.0]
    with llmframe.testing.LocalServer(models=["mystery"]) as server:
        llmframe.complete(["x"], base_url=server.base_url, model="mystery")
    spent = llmframe.spend().set_index("model")
    assert spent.loc["mystery", ["answers", "unpriced"]].tolist() == [1, 1]
    assert pd.isna(spent.loc["mystery", "cost"])


def test_the_command_line_shows_it(llm, capsys):
    assert main(["journal", "--spend"]) == 2
    assert "there is no journal at" in capsys.readouterr().err
    asked(3).llm.complete("q")
    cost = llmframe.last_run().cost
    assert main(["journal", "--spend"]) == 0
    head, line, total = capsys.readouterr().out.splitlines()
    assert head.split() == list(COLUMNS)
    assert line.split()[1:5] == ["gpt-6-luna", "complete", "live", "3"]
    assert total == f"cost: ${cost:,.4f}"


def test_the_command_line_says_that_nothing_was_spent(llm, capsys):
    llmframe.complete([])
    assert main(["journal", "--spend"]) == 0
    assert capsys.readouterr().out == "nothing was spent\n"
