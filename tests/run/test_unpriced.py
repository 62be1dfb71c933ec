"""Paid answers whose cost is unknown or odd: every row is kept, and totals say "at least"."""

from __future__ import annotations

import contextlib
import json
import math
import re
import sqlite3

import genai_prices
import pytest
from helpers import about, asked

import llmframe
from llmframe._run import Prices
from llmframe._run.money import dollars
from llmframe.cli import main
from llmframe.testing import Fault, Reply

ROWS = 12
ODD = (2, 5, 6)
"""The rows whose answers are odd."""


def uses(usage, *rows, **changes):
    """Answer these rows (none named: all) with a usage of their own."""
    return Fault(Reply(completion={"usage": usage, **changes}), when=about(*rows) if rows else None)


def journal(path, select):
    with contextlib.closing(sqlite3.connect(path / "journal.sqlite")) as connection:
        return connection.execute(select).fetchall()


def ask(**more):
    frame = asked(ROWS).llm.complete("q", into="a", **more)
    return frame, llmframe.last_run()


@pytest.fixture
def unstated(llm, lane):
    """Give a server that states no usage for some rows, in both lanes."""
    llm.faults = [uses(None, *ODD)]
    return llm


def test_answers_without_usage_are_counted_and_the_others_are_summed(unstated, tmp_path):
    """The journal keeps their cost as unknown, not as 0, and keeps the count with the run."""
    frame, run = ask()
    assert frame["a"].notna().all()
    assert run.unpriced == len(ODD)
    costs = [cost for (cost,) in journal(tmp_path, "SELECT cost FROM answer")]
    assert costs.count(None) == len(ODD)
    assert run.cost == pytest.approx(sum(filter(None, costs)))
    assert run.cost > 0
    ((counts,),) = journal(tmp_path, "SELECT counts FROM run")
    (record,) = frame.attrs["llmframe_calls"].values()
    assert json.loads(counts)["unpriced"] == record["unpriced"] == len(ODD)


def test_totals_say_at_least(unstated, capsys):
    """In the closing line and the bar, on the card, and in the journal's summary."""
    _, run = ask(progress=True)
    said = re.findall(r"at least \$[0-9.]+", capsys.readouterr().err)
    assert len(said) >= 2
    assert dollars(run.cost, unpriced=1) == said[-1]
    assert said[-1] in repr(run)
    assert f"<br>{said[-1]}</span>" in run._repr_html_()
    assert main(["journal"]) == 0
    shown = capsys.readouterr().out
    assert f"cost: at least ${run.cost:.4f}" in shown
    assert f"unpriced: {len(ODD)}" in shown


def test_a_sum_of_all_says_no_at_least(llm, lane, capsys):
    _, run = ask(progress=True)
    assert run.unpriced == 0
    main(["journal"])
    told = capsys.readouterr()
    assert "at least" not in told.err + told.out + run._repr_html_()
    assert f"cost: ${run.cost:.4f}" in told.out


def test_a_run_whose_answers_all_lack_usage_has_no_cost(llm, lane, capsys):
    """The model's price is known, so setting prices is not the advice."""
    llm.faults = [uses(None)]
    _, run = ask(progress=True)
    assert (run.cost, run.unpriced, run.tokens.total) == (None, ROWS, 0)
    said = capsys.readouterr().err
    assert "the answers do not state their tokens" in said
    assert "price" not in said
    assert "at an unknown cost" in run._repr_html_()
    main(["journal"])
    assert "cost: unknown" in capsys.readouterr().out


def test_a_run_that_paid_nothing_costs_nothing(llm, lane):
    llm.faults = [Fault("context_length_exceeded")]
    with pytest.warns(llmframe.CompletionWarning):
        _, run = ask(errors="coerce")
    assert (run.cost, run.unpriced) == (0.0, 0)
    llm.faults = []
    ask()
    _, run = ask()
    assert (run.from_journal, run.cost, run.unpriced) == (ROWS, 0.0, 0)


NONSENSE = {
    "more cached than prompt": {
        "prompt_tokens": 40_000,
        "completion_tokens": 5,
        "total_tokens": 40_005,
        "prompt_tokens_details": {"cached_tokens": 41_000},
    },
    "negative": {"prompt_tokens": -40, "completion_tokens": -5, "total_tokens": -45},
    "text": {"prompt_tokens": "many", "completion_tokens": "few"},
    "no numbers": {"prompt_tokens": math.nan, "completion_tokens": math.inf, "total_tokens": 1e400},
    "huge": {"prompt_tokens": 10**30, "completion_tokens": 2**63, "total_tokens": 2**64},
    "a list": [{"prompt_tokens": 4}],
    "a word": "unknown",
    "odd details": {
        "prompt_tokens": 40,
        "completion_tokens": 5,
        "total_tokens": 45,
        "prompt_tokens_details": [1],
        "completion_tokens_details": {"reasoning_tokens": -1},
    },
}


@pytest.mark.parametrize("usage", NONSENSE.values(), ids=NONSENSE)
def test_a_usage_that_cannot_be_right_costs_no_row_and_is_logged_once(usage, llm, lane, caplog, tmp_path):
    """The answers are in the journal with possible numbers, and are not asked again."""
    llm.faults = [uses(usage, *ODD)]
    frame, run = ask()
    assert frame["a"].notna().all()
    assert run.status == "done"
    assert run.cost > 0
    assert [record.name for record in caplog.records] == ["llmframe"]
    assert "cannot be right" in caplog.text
    tokens = "prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, cache_write_tokens"
    rows = journal(tmp_path, f"SELECT cost, {tokens} FROM answer")
    assert len(rows) == ROWS
    for cost, prompt, completion, cached, reasoning, written in rows:
        assert cost is None or cost >= 0
        assert 0 <= cached + written <= prompt
        assert 0 <= reasoning <= completion
    billed = llm.ledger.billed
    assert ask()[1].from_journal == ROWS
    assert llm.ledger.billed == billed


@pytest.mark.parametrize("error", [ValueError("cached"), NotImplementedError(), RecursionError(), OSError()])
def test_a_price_table_that_raises_costs_no_row(error, llm, lane, caplog, monkeypatch, tmp_path):
    """The run is one without prices, and says so once."""

    def broken(*arguments, **more):
        raise error

    monkeypatch.setattr(genai_prices, "calc_price", broken)
    frame, run = ask()
    assert frame["a"].notna().all()
    assert (run.cost, run.unpriced) == (None, ROWS)
    assert run.tokens.total == llm.ledger.tokens
    assert "the price of gpt-6-luna is unknown" in repr(run)
    assert journal(tmp_path, "SELECT count(*), count(cost) FROM answer") == [(ROWS, 0)]
    assert len(caplog.records) == 1


def test_an_answer_is_kept_whatever_its_pricing_raises(llm, lane, monkeypatch, tmp_path):
    """A bug of ours ends the run, but not before the answer is in the journal."""

    def broken(*arguments):
        raise ZeroDivisionError

    monkeypatch.setattr(Prices, "cost", broken)
    with pytest.raises(ZeroDivisionError):
        ask()
    ((kept, priced),) = journal(tmp_path, "SELECT count(*), count(cost) FROM answer")
    assert kept > 0
    assert priced == 0


@pytest.mark.parametrize("model", [5, "", None, [], "\ud83d", "x" * 5_000, {"id": "m"}])
def test_an_odd_name_of_the_answering_model_leaves_the_price(model, llm, lane):
    """The requested model's price counts."""
    llm.faults = [
        uses({"prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100}, model=model)
    ]
    _, run = ask()
    factor = 0.5 if llmframe.options.mode == "batch" else 1.0
    assert run.cost == pytest.approx(ROWS * (1_000 * 0.10 + 100 * 0.50) / 1e6 * factor)


def test_reasoning_on_top_is_billed(llm, lane):
    details = {"reasoning_tokens": 400}
    usage = {"prompt_tokens": 1_000, "completion_tokens": 100, "completion_tokens_details": details}
    llm.faults = [uses({**usage, "total_tokens": 1_500})]
    _, run = ask()
    factor = 0.5 if llmframe.options.mode == "batch" else 1.0
    assert run.tokens == (ROWS * 1_000, ROWS * 500, 0, ROWS * 400, 0)
    assert run.cost == pytest.approx(ROWS * (1_000 * 0.10 + 500 * 0.50) / 1e6 * factor)
