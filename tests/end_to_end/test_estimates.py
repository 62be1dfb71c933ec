"""`dry_run`: what a call would ask and cost, against what it then asks and is billed."""

from __future__ import annotations

import asyncio
import math
import pickle
import random
import sys

import pandas as pd
import pytest
from helpers import asked, texts
from run.texts import KINDS, rows_of

import llmframe
from llmframe.testing import Batches, Fault, Limits, LocalServer, Reply

QUESTION = "Summarise this in one sentence:"


def last_text(body):
    return body["messages"][-1]["content"]


def bills(tokens, *, seed=0):
    """Return faults by which a server counts these tokens in these texts, and answers of 20 to 60 tokens."""
    chance = random.Random(seed)
    for text, prompt in tokens.items():
        completion = chance.randint(20, 60)
        usage = {
            "prompt_tokens": prompt + 16,  # the question, and what the format adds
            "completion_tokens": completion,
            "total_tokens": prompt + 16 + completion,
        }
        yield Fault(
            Reply(completion={"usage": usage}),
            when=lambda body, text=text: last_text(body) == f"{QUESTION}\n\n{text}",
        )


def frame_of(*kinds):
    rows = [row for kind in kinds for row in zip(*rows_of(kind), strict=True)]
    random.Random(3).shuffle(rows)
    tokens = dict(rows)
    return pd.DataFrame({"q": list(tokens)}), tokens


@pytest.fixture
def billed(llm):
    """Give the frame of some kinds of text, whose tokens the server counts as o200k does."""

    def make(*kinds):
        frame, tokens = frame_of(*kinds)
        llm.faults = list(bills(tokens))
        return frame

    return make


def ask(frame, **more):
    return frame.llm.complete("q", QUESTION, into="a", max_completion_tokens=200, **more)


MIXED = (*[(kind,) for kind in KINDS], tuple(KINDS))


@pytest.mark.parametrize("kinds", MIXED, ids="-".join)
def test_after_a_sample_the_rest_is_billed_as_expected(billed, kinds):
    frame = billed(*kinds)
    estimate = ask(frame, dry_run=20)
    assert estimate.to_ask == len(frame) - 20
    ask(frame)
    cost, tokens = llmframe.last_run().cost, llmframe.last_run().tokens
    assert estimate.input_tokens == pytest.approx(tokens.prompt, rel=0.10)
    assert estimate.output_tokens.expected == pytest.approx(tokens.completion, rel=0.25)
    assert estimate.expected == pytest.approx(cost, rel=0.20)
    assert cost <= estimate.high < estimate.ceiling


@pytest.mark.parametrize("kind", KINDS)
def test_answers_to_other_rows_of_the_recipe_tell_too(billed, kind):
    """They are in the journal of another frame's call; the prompts come within 15 % of what is billed."""
    frame = billed(kind)
    ask(frame.head(30).copy())
    rest = frame.iloc[30:].reset_index(drop=True)
    estimate = ask(rest, dry_run=True)
    assert estimate.from_journal == 0
    assert "30 answers" in estimate.counted_by
    ask(rest)
    assert estimate.input_tokens == pytest.approx(llmframe.last_run().tokens.prompt, rel=0.15)


@pytest.mark.parametrize("kind", KINDS)
def test_without_history_a_tokenizer_counts_the_prompts(billed, kind):
    frame = billed(kind)
    estimate = ask(frame, dry_run=True)
    ask(frame)
    assert estimate.input_tokens == pytest.approx(llmframe.last_run().tokens.prompt, rel=0.05)
    assert "o200k, assumed" in estimate.counted_by
    assert llmframe.last_run().cost <= estimate.high <= estimate.ceiling < math.inf


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_tokenizer_characters_do_and_err_high(billed, kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "toktok", None)
    frame = billed(kind)
    estimate = ask(frame, dry_run=True)
    ask(frame)
    tokens = llmframe.last_run().tokens.prompt
    assert tokens < estimate.input_tokens < 1.4 * tokens
    assert "characters" in estimate.counted_by
    assert "dry_run=20" in estimate.counted_by
    assert llmframe.last_run().cost <= estimate.high <= estimate.ceiling < math.inf


def test_a_sample_counts_more_than_the_recipes_answers_to_other_texts(llm):
    """Those were long."""
    llm.answer = lambda body: "word " * (400 if "old" in last_text(body) else 20)
    old = pd.DataFrame({"q": [f"old {number}" for number in range(40)]})
    new = pd.DataFrame({"q": [f"new {number}" for number in range(60)]})
    old.llm.complete("q")
    estimate = new.llm.complete("q", dry_run=20)
    new.llm.complete("q")
    assert estimate.output_tokens.expected == pytest.approx(llmframe.last_run().tokens.completion, rel=0.05)


def test_rows_are_expected_to_have_answers_as_long_as_their_texts(llm):
    """A translation of long rows costs more than the short ones that were tried."""
    llm.answer = last_text
    chance = random.Random(4)
    frame = pd.DataFrame({"q": [f"{text} {'so it is ' * chance.randint(1, 99)}" for text in texts(200)]})
    order = frame["q"].str.len().sort_values().index
    short = frame.loc[order[:100]]
    short.llm.complete("q", max_completion_tokens=1_000, into="a")
    estimate = frame.llm.complete("q", max_completion_tokens=1_000, into="a", dry_run=True)
    frame.llm.complete("q", max_completion_tokens=1_000, into="a")
    assert estimate.to_ask == 100
    assert estimate.expected == pytest.approx(llmframe.last_run().cost, rel=0.15)


@pytest.mark.filterwarnings("ignore::llmframe.CompletionWarning")
def test_answers_that_were_cut_off_are_expected_to_go_on(llm):
    """The others, which ended before the bound, say nothing of them."""
    llm.answer = lambda body: "word " * (40 if last_text(body).endswith("1.") else 3)
    frame = asked(100)
    ask(frame)
    cut = pd.DataFrame({"q": texts(101, 301)})
    cut.llm.complete("q", QUESTION, into="b", max_completion_tokens=20)
    estimate = cut.llm.complete("q", QUESTION, into="b", max_completion_tokens=200, dry_run=True)
    cut.llm.complete("q", QUESTION, into="b", max_completion_tokens=200)
    assert estimate.to_ask == 20
    assert estimate.expected == pytest.approx(llmframe.last_run().cost, rel=0.15)
    assert llmframe.last_run().cost <= estimate.high <= estimate.ceiling


def test_what_the_providers_cache_gave_is_expected_again(llm):
    llm.cached = 0.5
    frame = asked(40)
    frame.head(20).copy().llm.complete("q")
    estimate = frame.llm.complete("q", dry_run=True)
    frame.llm.complete("q")
    run = llmframe.last_run()
    assert run.tokens.cached > 0.4 * run.tokens.prompt
    assert estimate.expected == pytest.approx(run.cost, rel=0.1)
    assert estimate.lanes["batch"].expected > estimate.expected / 2


def test_a_sample_has_its_closing_line_and_an_estimate_no_line(llm, capfd):
    llmframe.options.progress = True
    frame = asked(10)
    frame.llm.complete("q", dry_run=True)
    assert capfd.readouterr().err == ""
    frame.llm.complete("q", dry_run=4)
    assert "llmframe: 4 rows answered" in capfd.readouterr().err


def test_nothing_is_sent_written_or_shown_and_no_key_is_needed(server, capfd):
    frame = pd.DataFrame({"q": [*texts(5), None]})
    before = llmframe.last_run()
    estimate = frame.llm.complete(
        "q", base_url=server.base_url, model="gpt-6-luna", progress=True, dry_run=True
    )
    assert (estimate.rows, estimate.to_ask, estimate.skipped) == (6, 5, {"q": 1})
    assert server.ledger.requests == 0
    assert list(frame.columns) == ["q"]
    assert frame.attrs == {}
    assert capfd.readouterr() == ("", "")
    assert llmframe.last_run() is before


def test_what_the_journal_has_is_not_asked(llm):
    frame = asked(10)
    frame.head(4).copy().llm.complete("q")
    estimate = frame.llm.complete("q", dry_run=True)
    assert (estimate.distinct, estimate.from_journal, estimate.to_ask) == (10, 4, 6)
    frame.llm.complete("q")
    done = frame.llm.complete("q", dry_run=True)
    assert (done.to_ask, done.expected, done.high, done.ceiling) == (0, 0, 0, 0)


def test_offline_nothing_would_be_asked(llm):
    frame = asked(10)
    frame.head(4).copy().llm.complete("q")
    estimate = frame.llm.complete("q", mode="offline", dry_run=True)
    assert (estimate.from_journal, estimate.to_ask, estimate.expected) == (4, 0, 0)


def test_equal_rows_are_one_request_and_votes_are_several(llm):
    frame = pd.DataFrame({"q": ["one", "one", "two"]})
    assert frame.llm.complete("q", dry_run=True).to_ask == 2
    assert frame.llm.complete("q", dedupe=False, dry_run=True).to_ask == 3
    assert frame.llm.classify("q", ["a", "b"], votes=3, temperature=1, dry_run=True).to_ask == 6


def test_failed_rows_count_as_the_call_would_have_it(llm):
    llm.faults = [Fault("refusal", first=2)]
    frame = asked(5)
    with pytest.warns(llmframe.CompletionWarning):
        frame.llm.complete("q", errors="coerce", max_concurrency=1)
    assert frame.llm.complete("q", dry_run=True).to_ask == 0
    assert frame.llm.complete("q", retry_failed=True, dry_run=True).to_ask == 2


def test_a_sample_is_paid_once_and_its_rows_are_spread(llm):
    frame = pd.DataFrame({"q": [f"{number}: {'long ' * number}" for number in range(100)]})
    estimate = frame.llm.complete("q", dry_run=20)
    assert (estimate.to_ask, estimate.from_journal, llm.ledger.billed) == (80, 20, 20)
    assert estimate.sample_cost == pytest.approx(llmframe.last_run().cost)
    assert list(frame.columns) == ["q"]
    numbers = sorted(int(last_text(body).partition(":")[0]) // 5 for body in llm.ledger.bodies)
    assert numbers == list(range(20))
    again = frame.llm.complete("q", dry_run=20)
    assert (again.to_ask, llm.ledger.billed) == (60, 40)
    frame.llm.complete("q")
    assert llm.ledger.billed == 100
    assert frame.llm.complete("q", dry_run=20).sample_cost == 0


def test_a_sample_holds_to_the_mask_and_to_what_is_there(llm):
    frame = asked(30)
    estimate = frame.llm.complete("q", where=frame.index < 5, dry_run=20)
    assert (estimate.rows, estimate.to_ask, llm.ledger.billed) == (5, 0, 5)


@pytest.mark.parametrize("draws", [{"dedupe": False}, {}])
def test_duplicates_of_a_sample_are_not_paid_again(llm, draws):
    frame = pd.DataFrame({"q": [*texts(10), *texts(10)]})
    frame.llm.complete("q", dry_run=6, **draws)
    frame.llm.complete("q", **draws)
    assert llm.ledger.billed == (20 if draws else 10)


def test_prompts_that_a_function_makes_are_sampled_as_they_were_made(llm):
    frame = asked(10)
    call = {"column": None, "prompt": lambda row: f"Tell me: {row['q']}", "into": "a"}
    frame.llm.complete(**call, dry_run=4)
    frame.llm.complete(**call)
    assert llm.ledger.billed == 10


def test_a_sample_of_a_fresh_call_counts_for_it(llm):
    frame = asked(10)
    frame.llm.complete("q")
    assert frame.llm.complete("q", fresh=True, dry_run=True).to_ask == 10
    assert frame.llm.complete("q", fresh=True, dry_run=4).to_ask == 6
    assert frame.llm.complete("q", fresh=True, dry_run=True).to_ask == 6
    frame.llm.complete("q", fresh=True)
    assert llm.ledger.billed == 20
    frame.llm.complete("q", fresh=True)
    assert llm.ledger.billed == 30


def test_a_dry_run_before_a_fresh_call_changes_nothing(llm):
    """What other calls answer between the two does not count as fresh."""
    frame = asked(4)
    frame.llm.complete("q", fresh=True, dry_run=True)
    frame.llm.complete("q")
    frame.llm.complete("q", fresh=True)
    assert llm.ledger.billed == 8


def test_a_row_that_fails_in_a_sample_is_information_and_a_stop_is_an_error(llm):
    llm.faults = [Fault("context_length_exceeded", first=1)]
    estimate = asked(10).llm.complete("q", dry_run=5, max_concurrency=1)
    assert estimate.to_ask == 6
    llm.api_key = "another"
    with pytest.raises(llmframe.StoppedError) as stopped:
        asked(10, 20).llm.complete("q", dry_run=5)
    assert stopped.value.code == "invalid_api_key"


def test_a_sample_of_a_batch_is_asked_live(llm, swift):
    frame = asked(20)
    estimate = frame.llm.complete("q", mode="batch", max_completion_tokens=100, dry_run=5)
    assert (estimate.lane, estimate.to_ask, llm.ledger.batches_created) == ("batch", 15, 0)
    assert estimate.expected == pytest.approx(estimate.lanes["live"].expected / 2)
    frame.llm.complete("q", mode="batch", max_completion_tokens=100)
    assert llm.ledger.billed == 20
    assert llmframe.last_run().cost <= estimate.ceiling


def test_what_an_open_batch_holds_is_not_to_be_asked(llm, swift):
    llm.batches = Batches(seconds=3_600)
    frame = asked(6)
    run = frame.head(4).copy().llm.complete("q", mode="batch", wait=False)
    assert llm.ledger.wait_for(lambda ledger: ledger.batches_created, 60)
    estimate = frame.llm.complete("q", mode="batch", dry_run=True)
    assert (estimate.in_batches, estimate.from_journal, estimate.to_ask) == (4, 0, 2)
    assert "4 in open batches" in repr(estimate)
    run.cancel()


def test_batch_answers_tell_of_the_rest_by_their_rows(llm, swift):
    """The size of their requests is not in the journal, and is rendered."""
    frame = asked(20)
    frame.head(10).copy().llm.complete("q", mode="batch")
    estimate = frame.llm.complete("q", mode="batch", dry_run=True)
    frame.llm.complete("q", mode="batch")
    assert "10 answers" in estimate.counted_by
    assert estimate.input_tokens == pytest.approx(llmframe.last_run().tokens.prompt, rel=0.05)


def test_answers_asked_again_are_part_of_what_is_expected(llm):
    """And of the ceiling, as often as each may be."""
    frame = pd.DataFrame({"q": [f"The price was {number} euros." for number in range(60)]})
    call = {"column": "q", "schema": {"price": float}, "max_completion_tokens": 100}
    never = frame.llm.extract(**call, reask=0, dry_run=True)
    once = frame.llm.extract(**call, reask=1, dry_run=True)
    assert once.ceiling > 2 * never.ceiling
    llm.faults = [Fault("not_json", rate=0.4, when=lambda body: len(body["messages"]) == 2)]
    frame.head(30).copy().llm.extract(**call)
    reasked = llmframe.last_run()._results.rows_reasked
    assert reasked > 5
    estimate = frame.llm.extract(**call, dry_run=True)
    frame.llm.extract(**call)
    assert estimate.to_ask == 30
    assert estimate.expected == pytest.approx(llmframe.last_run().cost, rel=0.3)
    assert llmframe.last_run().cost <= estimate.ceiling


def test_decisions_go_live_alone_and_have_a_ceiling_without_a_bound(llm):
    frame = asked(5)
    call = {"column": "q", "labels": ["a", "b"], "engine": "decisions"}
    estimate = frame.llm.classify(**call, dry_run=True)
    assert list(estimate.lanes) == ["live"]
    frame.llm.classify(**call)
    assert 0 < llmframe.last_run().cost <= estimate.ceiling < math.inf


def test_without_a_bound_on_the_answers_there_is_no_ceiling(llm):
    estimate = asked(5).llm.complete("q", dry_run=True)
    assert estimate.expected < estimate.high < estimate.ceiling == math.inf
    assert "max_completion_tokens" in repr(estimate)
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]
    assert llmframe.complete([image], max_completion_tokens=5, dry_run=True).ceiling == math.inf


def test_the_ways_that_a_call_could_go_and_their_prices():
    """On OpenAI's own address batch and flex are half the price; nothing is sent there."""
    frame = asked(5)
    estimate = frame.llm.complete("q", max_completion_tokens=100, dry_run=True)
    live, batch, flex = (estimate.lanes[name] for name in ("live", "batch", "flex"))
    assert estimate.lane == "live"
    assert list(batch) == list(flex) == pytest.approx([cost / 2 for cost in live])
    own = frame.llm.complete("q", max_completion_tokens=100, service_tier="flex", dry_run=True)
    assert own.lane == "flex"
    assert list(own.lanes["live"]) == pytest.approx(list(live), rel=0.05)
    assert (own.expected, own.high, own.ceiling) == tuple(own.lanes["flex"])


def test_another_server_has_no_flex_and_azure_no_batch_of_ours():
    from openai import AzureOpenAI

    assert list(
        asked(2).llm.complete("q", base_url="http://localhost:1/v1", model="gpt-6-luna", dry_run=True).lanes
    ) == ["live", "batch"]
    client = AzureOpenAI(azure_endpoint="https://x.openai.azure.com", api_key="k", api_version="2026-01-01")
    assert list(asked(2).llm.complete("q", client=client, model="gpt-6-luna", dry_run=True).lanes) == ["live"]


def test_an_unknown_price_is_said_and_set_by_options(llm):
    estimate = asked(2).llm.complete("q", model="our-model", dry_run=True)
    assert math.isnan(estimate.expected)
    assert math.isnan(estimate.ceiling)
    assert "llmframe.options.prices" in estimate.counted_by
    assert "unknown" in repr(estimate)
    free = {"our-model": {"input": 0, "output": 0}}
    with llmframe.option_context(prices=free):
        estimate = asked(2).llm.complete("q", model="our-model", dry_run=True)
    assert (estimate.expected, estimate.high, estimate.ceiling) == (0, 0, 0)


def test_the_time_is_what_the_limits_allow(llm):
    frame = asked(90)
    assert frame.llm.complete("q", dry_run=True).seconds is None
    assert frame.llm.complete("q", requests_per_minute=30, dry_run=True).seconds == pytest.approx(180)
    slow = frame.llm.complete("q", requests_per_minute=30, tokens_per_minute=100, dry_run=True)
    assert slow.seconds == pytest.approx((slow.input_tokens + slow.output_tokens.expected) / 100 * 60)
    llm.limits = Limits(requests_per_minute=6_000)
    frame.head(20).copy().llm.complete("q")
    assert frame.llm.complete("q", dry_run=True).seconds == pytest.approx(70 / 100, rel=0.1)


def test_series_lists_and_twins_estimate_alike(llm):
    frame = asked(6)
    estimates = [
        frame.llm.complete("q", dry_run=True),
        frame["q"].llm.complete(dry_run=True),
        llmframe.complete(texts(6), dry_run=True),
        asyncio.run(frame.llm.acomplete("q", dry_run=True)),
        asyncio.run(llmframe.acomplete(texts(6), dry_run=True)),
    ]
    assert all(isinstance(each, llmframe.Estimate) for each in estimates)
    assert len({(each.to_ask, each.expected) for each in estimates}) == 1
    sampled = asyncio.run(frame.llm.acomplete("q", dry_run=2))
    assert (sampled.to_ask, llm.ledger.billed) == (4, 2)


def test_every_verb_estimates(llm):
    frame = asked(3)
    for estimate in (
        frame.llm.extract("q", ["price"], dry_run=True),
        frame.llm.classify("q", ["a", "b"], dry_run=True),
        frame.llm.ask("q", {"late": "Is it late?"}, dry_run=True),
        frame["q"].llm.extract(["price"], dry_run=True),
        frame["q"].llm.classify(["a", "b"], dry_run=True),
    ):
        assert estimate.to_ask == 3
        assert 0 < estimate.expected <= estimate.high
    assert llm.ledger.requests == 0


@pytest.mark.parametrize("wrong", [0, -3, 2.5, "yes", None])
def test_a_dry_run_of_nothing_is_refused(llm, wrong):
    with pytest.raises((TypeError, ValueError), match="dry_run"):
        asked(2).llm.complete("q", dry_run=wrong)
    assert llm.ledger.requests == 0


def test_what_contradicts_a_dry_run_is_named(llm):
    frame = asked(2)
    with pytest.raises(ValueError, match=r"wait: .* write dry_run=True"):
        frame.llm.complete("q", dry_run=True, wait=False)
    with pytest.raises(ValueError, match=r"mode='offline'.*dry_run=True"):
        frame.llm.complete("q", dry_run=5, mode="offline")
    with pytest.raises(ValueError, match="journal=False"):
        frame.llm.complete("q", dry_run=5, journal=False)
    assert frame.llm.complete("q", dry_run=True, journal=False).to_ask == 2
    assert llm.ledger.requests == 0


def test_an_estimate_is_text_a_card_and_pickles(llm):
    frame = pd.DataFrame({"q": [*texts(5), None]})
    estimate = frame.llm.complete("q", into="<a>", max_completion_tokens=50, dry_run=True)
    assert pickle.loads(pickle.dumps(estimate)) == estimate
    lines = repr(estimate).splitlines()
    assert (
        lines[0]
        == "Estimate of q → <a> · gpt-6-luna: 5 requests to ask for 6 rows, 1 row not sent (q missing or blank)"
    )
    assert [line.split()[0] for line in lines[2:4]] == ["live", "batch"]
    assert "← this call" in lines[2]
    card = estimate._repr_html_()
    assert "&lt;a&gt;" in card
    assert "<a>" not in card
    assert "5 requests to ask" in card
    assert "live (this call)" in card


@pytest.mark.parametrize("rows", [3, 40])
def test_the_ceiling_holds_on_a_server_that_has_to_be_asked_in_other_ways(rows):
    """Where schemas are taken and not held to, the first answers by each way are paid in vain."""
    with LocalServer(response_format="ignored", answer=lambda _: "No. " * 50) as server:
        options = {"base_url": server.base_url, "api_key": "any", "model": "gpt-6-luna", "errors": "coerce"}
        call = {"column": "q", "schema": ["price"], "max_completion_tokens": 60, **options}
        estimate = asked(rows).llm.extract(**call, dry_run=True)
        with pytest.warns(llmframe.CompletionWarning):
            asked(rows).llm.extract(**call)
        run = llmframe.last_run()
        assert server.ledger.billed > rows
        assert run.cost <= estimate.ceiling
        assert run.tokens.completion <= estimate.output_tokens.ceiling


def test_rows_answered_in_another_way_to_ask_are_found():
    """A server that does not hold to schemas answers by words in the prompt: that is in the journal."""
    with LocalServer(response_format="text") as server:
        options = {"base_url": server.base_url, "api_key": "any", "model": "gpt-6-luna"}
        frame = asked(10)
        frame.head(6).copy().llm.extract("q", ["price"], **options)
        billed = server.ledger.billed
        estimate = frame.llm.extract("q", ["price"], **options, dry_run=True)
        assert (estimate.from_journal, estimate.to_ask, server.ledger.billed) == (6, 4, billed)
