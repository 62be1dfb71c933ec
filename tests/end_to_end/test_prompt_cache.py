"""The prompt cache on OpenAI's own address: what is asked for, what it costs, and which request leaves first."""

from __future__ import annotations

import pandas as pd
import pytest
from helpers import at_openais_address, tune
from openapi import validator

import llmframe
from llmframe.testing import Fault, LocalServer

GUIDE = "Read this guide, and answer by it. " * 140
GUIDE_TOKENS = len(GUIDE) // 4
EXPLICIT = {"mode": "explicit"}
LABELS = ["praise", "complaint"]


@pytest.fixture
def openais():
    """Give a local server behind OpenAI's own address, which caches as OpenAI does and takes its time."""
    with LocalServer(prompt_cache=True, latency=0.1) as running:
        llmframe.options.client = at_openais_address(running)
        llmframe.options.model = "gpt-6-luna"
        tune(first_poll_seconds=0.01, longest_poll_seconds=0.05)
        yield running


def frame(rows=30):
    return pd.DataFrame({"review": [f"Review {number}" for number in range(rows)]})


def marks(server):
    """Return the breakpoints of each request, which fits the published document, by the texts that they end."""
    bodies = server.ledger.bodies
    for body in bodies:
        validator("CreateChatCompletionRequest").validate(body)
    return [
        [part["text"] for part in parts(body) if part.get("prompt_cache_breakpoint") == EXPLICIT]
        for body in bodies
    ]


def parts(body):
    contents = [message["content"] for message in body["messages"]]
    return [part for content in contents if isinstance(content, list) for part in content]


def modes(server):
    return {(body.get("prompt_cache_options") or {}).get("mode") for body in server.ledger.bodies}


def test_one_request_writes_what_all_others_read(openais):
    df = frame().llm.complete("review", system=GUIDE, into="a")
    run = llmframe.last_run()
    assert df["a"].notna().all()
    assert marks(openais) == [[GUIDE]] * 30
    assert modes(openais) == {"explicit"}
    assert (run.tokens.cache_write, run.tokens.cached) == (GUIDE_TOKENS, 29 * GUIDE_TOKENS)
    own = run.tokens.prompt - 30 * GUIDE_TOKENS
    units = 1.25 * GUIDE_TOKENS + 0.1 * 29 * GUIDE_TOKENS + own + 5 * run.tokens.completion
    assert run.cost == pytest.approx(units * 0.10 / 1e6)


def test_the_static_text_before_a_row_becomes_a_part_of_its_own(openais):
    frame().llm.complete("review", GUIDE, into="a")
    assert marks(openais) == [[f"{GUIDE}\n\n"]] * 30
    texts = [parts(body)[1]["text"] for body in openais.ledger.bodies]
    assert sorted(texts) == sorted(frame()["review"])
    assert llmframe.last_run().tokens.cache_write == (len(GUIDE) + 2 + 3) // 4


def test_without_a_prefix_worth_keeping_nothing_is_written(openais):
    """Long rows neither: nobody reads them again."""
    df = pd.DataFrame({"review": [f"Review {number} " + "of it all " * 600 for number in range(5)]})
    df.llm.complete("review", "Short.", into="a")
    assert marks(openais) == [[]] * 5
    assert modes(openais) == {"explicit"}
    assert llmframe.last_run().tokens.cache_write == 0


def test_schema_and_examples_are_a_part_of_the_prefix(openais):
    examples = frame(40).assign(
        review=lambda df: df["review"] + " was good, on the whole.", topic="goods", why="It says so."
    )
    frame().llm.extract("review", {"topic": str, "why": f"{GUIDE[:2_000]}?"}, examples=examples)
    assert marks(openais) == [['{"topic":"goods","why":"It says so."}']] * 30
    tokens = llmframe.last_run().tokens
    assert tokens.cached == 29 * tokens.cache_write > 0


def test_by_batch_nothing_is_marked(openais):
    frame().llm.complete("review", GUIDE, into="a", mode="batch")
    assert marks(openais) == [[]] * 30
    assert modes(openais) == {"explicit"}
    assert llmframe.last_run().tokens.cache_write == llmframe.last_run().tokens.cached == 0


@pytest.mark.parametrize("mode", ["live", "batch"])
def test_what_the_user_says_of_the_cache_stands(openais, mode):
    said = {"mode": "implicit", "ttl": "30m"}
    frame(2).llm.complete("review", GUIDE, into="a", mode=mode, prompt_cache_options=said)
    frame(2).llm.complete(
        "review", GUIDE, into="a", mode=mode, extra_body={"prompt_cache_options": said}, fresh=True
    )
    assert marks(openais) == [[]] * 4
    assert [body["prompt_cache_options"] for body in openais.ledger.bodies] == [said] * 4


def test_so_do_the_users_own_breakpoints(openais):
    own = [
        {"type": "text", "text": "Mine.", "prompt_cache_breakpoint": EXPLICIT},
        {"type": "text", "text": "Rest"},
    ]
    chats = [[{"role": "system", "content": GUIDE}, {"role": "user", "content": own}]] * 2
    llmframe.complete(chats, dedupe=False)
    assert marks(openais) == [["Mine."]] * 2
    assert modes(openais) == {None}


@pytest.mark.parametrize("mode", ["live", "batch"])
def test_older_models_and_other_servers_are_told_nothing(openais, server, mode):
    frame(2).llm.complete("review", GUIDE, into="a", mode=mode, model="gpt-5-mini")
    with llmframe.option_context(client=None):
        frame(2).llm.complete("review", GUIDE, into="a", mode=mode, base_url=server.base_url, api_key="any")
    for asked in (openais, server):
        assert marks(asked) == [[]] * 2
        assert modes(asked) == {None}


@pytest.mark.parametrize("first", ["live", "batch"])
@pytest.mark.parametrize("then", ["live", "batch", "offline"])
def test_answers_are_found_again_however_the_cache_was_used(openais, first, then):
    """With and without the breakpoint it is the same request."""
    plain = {"prompt_cache_options": {"mode": "implicit"}}
    for number, (before, after) in enumerate((({}, plain), (plain, {}), ({}, {}))):
        prompt = f"{GUIDE}\nVersion {number}"
        df = frame(3).llm.complete("review", prompt, into="a", mode=first, **before)
        billed = openais.ledger.billed
        again = frame(3).llm.complete("review", prompt, into="a", mode=then, **after)
        assert openais.ledger.billed == billed
        assert again["a"].tolist() == df["a"].tolist()


@pytest.mark.slow
def test_a_prefix_that_is_in_the_cache_is_not_warmed_again(openais):
    """A call with another one warms that: all but one wait for the first answer."""
    openais.latency = 1.0
    for system, at_once in ((GUIDE, 9), (GUIDE, 10), (f"Another. {GUIDE}", 9)):
        openais.ledger.clear()
        frame(10).llm.complete("review", system=system, into="a", fresh=True, max_concurrency=10)
        assert openais.ledger.max_in_flight == at_once


def test_when_the_first_row_fails_the_next_one_warms(openais):
    openais.faults = [Fault("context_length_exceeded", when="Review 0")]
    with pytest.warns(llmframe.CompletionWarning, match="1 of 30 rows failed"):
        df = frame().llm.complete("review", system=GUIDE, into="a", errors="coerce")
    assert df["a"].notna().sum() == 29
    assert llmframe.last_run().tokens.cache_write == GUIDE_TOKENS


def test_while_the_first_row_waits_for_its_retry_the_next_one_warms(openais):
    openais.faults = [Fault("500", when="Review 0", times_per_request=3)]
    df = frame().llm.complete("review", system=GUIDE, into="a")
    assert df["a"].notna().all()
    assert llmframe.last_run().tokens.cache_write == GUIDE_TOKENS


def test_an_answer_that_hangs_holds_the_others_up_for_a_time_only(openais):
    tune(warming_seconds=0.3)
    openais.faults = [Fault("hang", when="Review 0", times_per_request=1)]
    run = frame().llm.complete("review", system=GUIDE, into="a", wait=False)
    assert openais.ledger.wait_for(lambda ledger: ledger.billed == 29, timeout=30)
    assert run.sent == 30
    run.cancel()


def test_what_is_asked_again_reads_the_cache_too(openais):
    openais.faults = [
        Fault("wrong_type", when=lambda body: len(body["messages"]) == 2 and "Review 3'" in str(body))
    ]
    frame().llm.extract("review", {"stars": int}, GUIDE)
    run = llmframe.last_run()
    assert len(run.reasked) == 1
    assert len(marks(openais)) == 31
    assert all(marks(openais))
    assert run.tokens.cached == 30 * run.tokens.cache_write


@pytest.mark.parametrize("fault", ["invalid_api_key", "insufficient_quota", "unsupported_parameter"])
def test_what_no_row_can_survive_stops_the_run_as_fast(openais, fault):
    """Within no more requests than where nothing is warmed, but the first."""
    sent = []
    for prompt in ("Short.", GUIDE):
        openais.ledger.clear()
        openais.faults = [Fault(fault)]
        with pytest.raises(llmframe.StoppedError):
            frame(200).llm.complete("review", prompt, into="a", max_concurrency=20)
        sent.append(openais.ledger.requests)
    assert sent[1] <= sent[0] + 1


def test_each_draw_of_a_vote_warms_its_own_prefix(openais):
    """The labels stand in another order in each."""
    frame().llm.classify("review", LABELS, GUIDE, votes=3)
    tokens = llmframe.last_run().tokens
    prefixes = {str(body["response_format"]) for body in openais.ledger.bodies}
    assert all(marks(openais))
    assert tokens.cached == (90 - len(prefixes)) * tokens.cache_write // len(prefixes)


def test_decisions_are_asked_as_ever(openais):
    frame(2).llm.classify("review", LABELS, GUIDE)
    assert llmframe.last_run()._settings.engine == "decisions"
    assert modes(openais) == {None}
