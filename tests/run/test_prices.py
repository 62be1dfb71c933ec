"""What answers cost: known sums, own prices, unknown models."""

from __future__ import annotations

import contextlib
import logging
import math
import sqlite3
from datetime import datetime

import genai_prices
import pandas as pd
import pytest
from genai_prices import calc_price
from hypothesis import given
from hypothesis import strategies as st

import llmframe
from llmframe._run.money import Prices
from llmframe._values import Answer, Usage
from llmframe.testing import Batches, LocalServer

MILLION = 1_000_000


LUNA = {"input": 0.10, "cached": 0.01, "written": 0.125, "output": 0.50}  # US dollars per million tokens
SOL = {"input": 2.0, "cached": 0.10, "written": 2.5, "output": 10.0}
FACTORS = [
    ("live", None, 1.0),
    ("live", "default", 1.0),
    ("live", "flex", 0.5),
    ("batch", None, 0.5),
    ("live", "priority", 2.0),
    ("live", "a tier that nobody knows", 1.0),
]


def answer(usage, *, lane="live", tier=None, answered="gpt-6-luna-2026-09-01"):
    return Answer(b"k" * 16, b"{}", usage, lane, tier, answered)


def cost(usage, *, own=None, asked="gpt-6-luna", **more):
    return Prices(own or {}).cost(answer(usage, **more), asked)


@pytest.mark.parametrize(("lane", "tier", "factor"), FACTORS)
@pytest.mark.parametrize(("model", "rates"), [("gpt-6-luna", LUNA), ("gpt-6.1-sol", SOL)])
def test_known_sums(model, rates, lane, tier, factor):
    """Each token is in one class: cached ones cost less, those written into the cache a quarter more."""
    short = Usage(prompt=20_000, completion=10_000, cached=5_000, reasoning=9_000, cache_write=3_000)
    expected = 12_000 * rates["input"] + 5_000 * rates["cached"] + 3_000 * rates["written"]
    expected += 10_000 * rates["output"]
    spent = cost(short, lane=lane, tier=tier, answered=model, asked=model)
    assert spent == pytest.approx(expected / MILLION * factor)


@pytest.mark.parametrize(("lane", "tier", "factor"), FACTORS)
def test_long_requests_have_their_own_price(lane, tier, factor):
    """Above 272,000 prompt tokens the whole prompt costs twice as much, cached and written tokens too."""
    for prompt, times in ((272_000, 1), (272_001, 2)):
        usage = Usage(prompt, 0, cached=100_000, cache_write=50_000)
        expected = (prompt - 150_000) * LUNA["input"] + 100_000 * LUNA["cached"] + 50_000 * LUNA["written"]
        spent = cost(usage, lane=lane, tier=tier)
        assert spent == pytest.approx(times * expected / MILLION * factor)
    assert cost(Usage(272_001, 1000)) > cost(Usage(272_001)) + 1000 * LUNA["output"] / MILLION


@given(
    st.lists(st.integers(0, 40_000), min_size=5, max_size=5), st.sampled_from(["gpt-6-luna", "gpt-4o-mini"])
)
def test_the_rates_are_the_tables(tokens, model):
    """The sum by rates, which is fast, is the one of genai-prices, for every division of the prompt."""
    uncached, cached, written, completion, _ = tokens
    usage = Usage(1 + uncached + cached + written, completion, cached, 0, written)
    table = calc_price(
        genai_prices.Usage(
            input_tokens=usage.prompt,
            cache_read_tokens=cached,
            cache_write_tokens=written,
            output_tokens=completion,
        ),
        model,
    )
    assert cost(usage, answered=model) == pytest.approx(float(table.total_price))


def test_own_prices_win_and_those_left_out_are_the_inputs():
    """`options.prices` speaks of the model that was asked for."""
    usage = Usage(3 * MILLION, MILLION, MILLION, 0, MILLION)
    own = {"local": {"input": 1.0, "output": 2.0}}
    assert cost(usage, own=own, asked="local") == pytest.approx(5.0)
    own["local"]["cached_input"] = 0.25
    assert cost(usage, own=own, asked="local") == pytest.approx(4.25)
    own["local"]["cache_write"] = 1.5
    assert cost(usage, own=own, asked="local") == pytest.approx(4.75)


def at(day, hour=12):
    return datetime.fromisoformat(f"{day}T{hour:02}:00:00+00:00").timestamp()


@pytest.mark.parametrize(
    ("asked", "rates"),
    [
        (at("2026-07-29", 23), (1.0, 6.0)),
        (at("2026-07-30", 1), (0.2, 1.2)),
        (None, (0.2, 1.2)),
    ],
)
def test_an_answer_costs_what_it_cost_on_its_day(asked, rates):
    """The table's price of this model fell on 2026-07-30; an answer without a date is of now."""
    dated = answer(Usage(MILLION // 10, MILLION // 10), answered="gpt-5.6-luna")._replace(asked=asked)
    prices = Prices({})
    assert prices.cost(dated, "gpt-5.6-luna") == pytest.approx(sum(rates) / 10)
    later = dated._replace(asked=at("2026-08-01"))
    assert prices.cost(later, "gpt-5.6-luna") == pytest.approx(1.4 / 10), "each day has its own"
    own = Prices({"gpt-5.6-luna": {"input": 1.0, "output": 2.0}})
    assert own.cost(dated, "gpt-5.6-luna") == pytest.approx(0.3), "own prices have no day"


def test_batches_and_tiers_of_before_the_table_knew_them_cost_their_share_of_the_price_of_then():
    """The table has those of this model since 2026-10-14, and its price fell on 2026-07-30."""
    usage = Usage(MILLION // 10, MILLION // 10)
    for lane, tier in (("batch", None), ("live", "flex")):
        dated = answer(usage, lane=lane, tier=tier, answered="gpt-5.6-luna")
        costs = [
            Prices({}).cost(dated._replace(asked=at(day)), "gpt-5.6-luna")
            for day in ("2026-07-01", "2026-08-01", "2026-11-01")
        ]
        assert costs == pytest.approx([0.35, 0.07, 0.07])


def test_some_prices_go_by_the_time_of_day():
    """At night this model costs half."""
    dated = answer(Usage(MILLION // 10), answered="deepseek-chat")
    prices = Prices({})
    night, noon = (
        prices.cost(dated._replace(asked=at("2026-10-01", hour)), "deepseek-chat") for hour in (20, 12)
    )
    assert noon == pytest.approx(2 * night)


@pytest.mark.parametrize("answered", [None, "", "a-name-that-nobody-knows", "x" * 100_000, "\ufffd"])
def test_a_model_that_no_table_knows_costs_what_the_requested_one_costs(answered):
    assert cost(Usage(MILLION), answered=answered, tier="flex", lane="live") == cost(
        Usage(MILLION), tier="flex"
    )


@pytest.mark.parametrize("usage", [Usage(), Usage(0, 7)])
def test_unknown_tokens_cost_none(usage):
    """An unknown cost is not a cost of 0."""
    assert cost(usage) is None


BROKEN = [
    ValueError("cache_read_tokens (11) cannot exceed input_tokens (10)"),
    LookupError("no such model"),
    NotImplementedError(),
    OSError("the network is down"),
    RecursionError(),
    ImportError("genai_prices"),
    Warning("a table of next year"),
]


@pytest.mark.parametrize("error", BROKEN, ids=repr)
def test_whatever_a_price_table_raises_makes_a_cost_unknown(error, monkeypatch, caplog):
    """It is asked once for each model, and each error is logged once."""
    calls = []

    def broken(*arguments, **more):
        calls.append(arguments)
        raise error

    monkeypatch.setattr(genai_prices, "calc_price", broken)
    prices = Prices({})
    assert [prices.cost(answer(Usage(10, 5)), "gpt-6-luna") for _ in range(3)] == [None] * 3
    assert len(calls) == 2
    assert len(caplog.records) == (0 if isinstance(error, LookupError) else 2)


def test_a_usage_that_the_table_refuses_costs_no_other_its_price(monkeypatch, caplog):
    """Long requests are priced one by one."""

    def fussy(tokens, *arguments, **more):
        if tokens.input_tokens == 300_001:
            raise ValueError("not this one")
        return calc_price(tokens, *arguments, **more)

    monkeypatch.setattr(genai_prices, "calc_price", fussy)
    prices = Prices({})
    spent = [prices.cost(answer(Usage(n)), "gpt-6-luna") for n in (300_000, 300_001, 300_001, 300_002)]
    assert [dollars is None for dollars in spent] == [False, True, True, False]
    (record,) = caplog.records
    assert "not this one" in record.getMessage()


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf, "free", None])
def test_a_price_that_is_none_makes_a_cost_unknown(wrong):
    """The options refuse such prices, but their dictionary can still be changed."""
    assert cost(Usage(10, 5), own={"m": {"input": wrong, "output": 1.0}}, asked="m") is None
    assert cost(Usage(10, 5), own={"m": {"output": 1.0}}, asked="m") is None


def test_a_log_that_cannot_be_written_costs_nothing(monkeypatch):
    def closed(*values):
        raise ValueError("I/O operation on closed file")

    monkeypatch.setattr(logging.getLogger("llmframe"), "warning", closed)
    odd = answer(Usage(10, 5))._replace(impossible_usage={"prompt_tokens": 10})
    assert Prices({}).cost(odd, "gpt-6-luna") == cost(Usage(10, 5))


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
    (record,) = frame.attrs["llmframe_calls"].values()
    assert record["cost"] == pytest.approx(expected)
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


def test_a_batch_that_is_collected_later_costs_what_its_day_cost(llm, swift, tmp_path):
    """The day is that of its submission, wherever it is collected: by the same call, or by `collect`."""
    llm.batches = Batches(write_batch=lambda shown, _: shown | {"created_at": int(at("2026-07-01"))})
    settings = {"model": "gpt-5.6-luna", "mode": "batch"}
    llmframe.complete(["one"], **settings)
    run = llmframe.last_run()
    assert run.cost == pytest.approx((run.tokens.prompt * 0.2 + run.tokens.completion * 1.2) / MILLION / 2)
    (tmp_path / "journal.sqlite").rename(tmp_path / "lost.sqlite")
    llmframe.complete(["one"], **settings)
    found = llmframe.last_run()
    assert found.tokens == run.tokens
    expected = (run.tokens.prompt * 1.0 + run.tokens.completion * 6.0) / MILLION / 2
    assert found.cost == pytest.approx(expected)
    (tmp_path / "journal.sqlite").rename(tmp_path / "lost again.sqlite")
    llmframe.collect()
    (spent,) = llmframe.spend().to_dict("records")
    assert spent["cost"] == pytest.approx(expected)
    assert str(spent["day"].date()) == "2026-07-01"
