"""What answers cost: known sums, own prices, unknown models."""

from __future__ import annotations

import contextlib
import sqlite3

import pandas as pd
import pytest

import llmframe
from llmframe._run.prices import Prices
from llmframe._values import Usage
from llmframe.testing import LocalServer

MILLION = 1_000_000


LUNA = {"input": 0.10, "cached": 0.01, "output": 0.50}  # US dollars per million tokens


def cost(usage, *, lane="live", tier=None, own=None, answered="gpt-6-luna-2026-09-01", asked="gpt-6-luna"):
    return Prices(own or {}).cost(answered, asked, usage, lane, tier)


@pytest.mark.parametrize(
    ("lane", "tier", "factor"),
    [
        ("live", None, 1.0),
        ("live", "default", 1.0),
        ("live", "flex", 0.5),
        ("batch", None, 0.5),
        ("live", "priority", 2.0),
    ],
)
def test_known_sums(lane, tier, factor):
    """Flex and batch cost half, priority double, cached tokens a tenth: the wrong key would give the full price."""
    short = Usage(prompt=20_000, completion=10_000, cached=5_000)
    expected = (15_000 * LUNA["input"] + 5_000 * LUNA["cached"] + 10_000 * LUNA["output"]) / MILLION
    assert cost(short, lane=lane, tier=tier) == pytest.approx(expected * factor)


def test_long_requests_have_their_own_price():
    """Above a length that the table names, input and output cost more than a short request's."""
    dear = cost(Usage(prompt=MILLION))
    assert dear > 1.5 * MILLION * LUNA["input"] / MILLION


def test_own_prices_win_and_cached_tokens_default_to_the_full_price():
    """`options.prices` speaks of the model that was asked for."""
    own = {"local": {"input": 1.0, "output": 2.0}}
    assert cost(Usage(MILLION, MILLION, MILLION), own=own, asked="local") == pytest.approx(3.0)
    own["local"]["cached_input"] = 0.25
    assert cost(Usage(MILLION, MILLION, MILLION), own=own, asked="local") == pytest.approx(2.25)


def test_a_model_without_a_price_costs_none():
    """An unknown cost is not a cost of 0."""
    assert cost(Usage(1, 1), answered="mystery", asked="mystery") is None


def test_a_run_knows_its_dollars_and_so_do_its_record_and_the_journal(llm, tmp_path):
    """The same sum stands in the `Run`, in `df.attrs`, beside each answer and in the journal's runs."""
    frame = pd.DataFrame({"q": ["one", "two", "two", None]})
    frame.llm.complete("q", into="a", service_tier="flex")
    run = llmframe.last_run()
    tokens = run.tokens
    expected = (tokens.prompt * LUNA["input"] + tokens.completion * LUNA["output"]) / MILLION / 2
    assert run.cost == pytest.approx(expected)
    assert frame.attrs["llmframe"]["a"]["cost"] == pytest.approx(expected)
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.sqlite")) as journal:
        assert journal.execute("SELECT sum(cost), min(tier) FROM answer").fetchone() == (
            pytest.approx(expected),
            "flex",
        )
        assert journal.execute("SELECT json_extract(counts, '$.cost') FROM run").fetchone()[
            0
        ] == pytest.approx(expected)
    frame.llm.complete("q", into="a", service_tier="flex")
    assert llmframe.last_run().cost == 0


def test_an_unknown_price_is_said_once(capsys):
    """The run goes on without a sum, and the next one does not repeat it."""
    with LocalServer(models=["a-model-without-a-price"]) as server:
        settings = {
            "base_url": server.base_url,
            "api_key": "any",
            "model": "a-model-without-a-price",
            "progress": True,
        }
        llmframe.complete(["Hello"], **settings)
        llmframe.complete(["Goodbye"], **settings)
        assert llmframe.last_run().cost is None
        assert capsys.readouterr().err.count("no price is known for a-model-without-a-price") == 1
        with llmframe.option_context(prices={"a-model-without-a-price": {"input": 1, "output": 1}}):
            llmframe.complete(["Again"], **settings)
        assert llmframe.last_run().cost > 0
