"""What a run did not have to pay: by the journal, duplicates, the provider's cache and batches."""

from __future__ import annotations

import pickle

import pandas as pd
import pytest
from helpers import asked, texts

import llmframe
from llmframe._run import Prices
from llmframe._run.money import Account, dollars
from llmframe._values import Answer, Saved, Usage
from llmframe.testing import LocalServer

ROWS = 10
MILLION = 1_000_000


def account():
    return Account(Prices({}), "gpt-6-luna")


def answer(usage, lane="live"):
    return Answer(b"k" * 16, b"{}", usage, lane, None, "gpt-6-luna")


def ask(frame, **more):
    frame.llm.complete("q", into="a", overwrite=True, **more)
    return llmframe.last_run()


def test_a_first_run_live_saves_nothing(llm):
    run = ask(asked(ROWS))
    assert run.saved == Saved()
    assert run.saved.total == 0
    assert ">saved<" not in run._repr_html_()


def test_the_journal_saves_what_its_answers_had_cost(llm, lane):
    """At the price that was paid then."""
    paid = ask(asked(ROWS)).cost
    run = ask(asked(ROWS))
    assert run.saved.journal == pytest.approx(paid)
    assert run.saved.total == pytest.approx(paid)
    assert f"{ROWS} requests by the journal ($" in run._repr_html_()


def test_duplicates_save_each_copy_its_answer(llm, lane):
    """So that with what was paid, and the journal, it comes to the price of all rows one by one."""
    frame = pd.DataFrame({"q": texts(4) * 3})
    run = ask(frame)
    assert run.saved.duplicates == pytest.approx(2 * run.cost)
    again = ask(frame)
    assert (again.saved.journal, again.saved.duplicates) == pytest.approx((run.cost, 2 * run.cost))
    assert "8 by duplicates ($" in again._repr_html_()


def test_a_batch_saves_half_of_the_live_price(llm, swift):
    run = ask(asked(ROWS), mode="batch")
    assert run.saved.batch == pytest.approx(run.cost)
    assert f"{dollars(run.saved.batch)} by batch<" in run._repr_html_()
    assert ask(asked(ROWS, 2 * ROWS), mode="batch").saved.journal == 0


def test_the_cache_saves_the_reads_less_what_the_writes_cost_more(llm):
    """At 0.10 in, 0.01 cached and 0.125 written, dollars per million tokens."""
    run = account()
    usage = Usage(prompt=10_000, completion=5, cached=6_000, cache_write=2_000)
    run.add_paid(answer(usage), run.price(answer(usage)))
    assert run.saved.cache == pytest.approx((6_000 * 0.09 - 2_000 * 0.025) / MILLION)
    llm.cached = 0.5
    ran = ask(asked(ROWS))
    assert ran.saved.cache == pytest.approx(ran.tokens.cached * 0.09 / MILLION)
    assert " by the prompt cache<" in ran._repr_html_()


def test_writes_that_nobody_reads_are_a_loss_and_are_said(llm):
    run = account()
    usage = Usage(prompt=10_000, completion=5, cache_write=10_000)
    run.add_paid(answer(usage), run.price(answer(usage)))
    assert run.saved.cache == pytest.approx(-10_000 * 0.025 / MILLION)
    assert run.saved.total < 0


def test_no_dollar_is_saved_twice(llm):
    """By batch the cache saves by the batch's own prices, and the batch what the rest would have cost more."""
    usage = Usage(prompt=10_000, completion=100, cached=6_000)
    run = account()
    cost = run.price(answer(usage, "batch"))
    run.add_paid(answer(usage, "batch"), cost, copies=2)
    live = run.price(answer(usage))
    assert run.saved.batch == pytest.approx(live - cost)
    assert run.saved.cache == pytest.approx(6_000 * 0.09 / 2 / MILLION)
    assert run.saved.duplicates == pytest.approx(2 * cost)


def test_what_has_no_price_saves_nothing_that_is_known():
    with LocalServer(models=["mystery"], cached=0.5) as server:
        settings = {"base_url": server.base_url, "api_key": "any", "model": "mystery"}
        for _ in range(2):
            run = ask(pd.DataFrame({"q": ["x", "x"]}), **settings)
            assert run.saved == Saved()


def test_it_survives_a_pickle_and_is_among_the_numbers_that_the_journal_keeps(llm):
    ask(asked(ROWS))
    run = ask(asked(ROWS))
    assert pickle.loads(pickle.dumps(run)).saved == run.saved
    assert pickle.loads(pickle.dumps(run))._repr_html_() == run._repr_html_()


def test_the_card_tells_tokens_by_their_class(llm):
    """Those that are not named are uncached, or the answers' own."""
    llm.cached = 0.5
    run = ask(asked(ROWS))
    tokens = run.tokens
    said = f"{tokens.prompt} in ({tokens.cached} cached), {tokens.completion} out<"
    assert said in run._repr_html_()
    assert tokens.uncached + tokens.cached == tokens.prompt
    assert tokens.uncached + tokens.cached + tokens.written + tokens.output + tokens.reasoning == tokens.total
