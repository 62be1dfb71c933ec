"""What the ledger counts."""

import asyncio

import aiohttp
import pytest
from testing.client import ask, call, get

from llmframe.testing import Fault, LocalServer, Reply, made_up_answer, request_digest


def test_the_ledger_counts_what_was_billed_by_request(server):
    """Equal bodies are one entry, whatever the order of their keys."""
    call(server, ask("a"))
    call(server, dict(reversed(ask("a").items())))
    call(server, ask("b"))
    ledger = server.ledger
    assert ledger.billed_by_request == {request_digest(ask("a")): 2, request_digest(ask("b")): 1}
    assert ledger.bodies == [ask("a"), ask("a"), ask("b")]
    assert (ledger.requests, ledger.answered, ledger.billed, ledger.in_flight) == (3, 3, 3, 0)
    assert list(ledger.arrivals) == sorted(ledger.arrivals)
    assert ledger.headers["authorization"] == "Bearer k"
    server.reset()
    assert (ledger.requests, ledger.tokens, ledger.bodies) == (0, 0, [])
    assert not ledger.billed_by_request


def test_the_ledger_can_be_asked_over_http(server):
    """Another process reads the counts as JSON, without a key, and details when it wants them."""
    call(server, ask())
    _, counts, _ = get(server, "llmframe/ledger")
    assert (counts["requests"], counts["billed"], counts["statuses"]) == (1, 1, {"200": 1})
    assert "arrivals" not in counts
    _, counts, _ = get(server, "llmframe/ledger?full=1")
    assert counts["billed_by_request"] == {request_digest(ask()): 1}
    assert len(counts["arrivals"]) == 1


def test_the_ledger_sees_how_many_are_in_flight():
    """Requests at the same time are counted, now and at most."""
    with LocalServer(latency=lambda random: 0.2 + random.random() / 100, keep_bodies=False) as server:

        async def main():
            async with aiohttp.ClientSession(headers={"authorization": "Bearer k"}) as session:

                async def one(i):
                    async with session.post(
                        f"{server.base_url}/chat/completions", json=ask(str(i))
                    ) as answer:
                        return (await answer.json())["choices"][0]["message"]["content"]

                return await asyncio.gather(*(one(i) for i in range(50)))

        assert asyncio.run(main()) == [made_up_answer(ask(str(i))) for i in range(50)]
        assert (server.ledger.max_in_flight, server.ledger.in_flight, server.ledger.bodies) == (50, 0, [])


def test_a_client_that_leaves_early_is_not_billed():
    """Leaving during the latency is counted as abandoned, nothing else."""
    with LocalServer(latency=30) as server:
        with pytest.raises(TimeoutError):
            call(server, ask(), timeout=0.1)
        assert server.ledger.wait_for(lambda ledger: ledger.abandoned == 1)
        assert (server.ledger.billed, server.ledger.in_flight) == (0, 0)


def stated(server, **more):
    """Return the usage of an answer."""
    _, answer, _ = call(server, ask(**more))
    return answer["usage"]


def test_the_ledger_bills_each_token_in_one_class():
    """By model, lane and tier; reads from the cache and reasoning are known from what the answer states."""
    with LocalServer(cached=0.5, faults=[Fault("length_empty", when="long")]) as server:
        plain, long = stated(server, text="x y z " * 20), stated(server, text="long", service_tier="flex")
        kinds = server.ledger.billed_tokens
        assert list(kinds) == [("gpt-6-luna", "live", "default"), ("gpt-6-luna", "live", "flex")]
        first, second = kinds.values()
        cached = plain["prompt_tokens_details"]["cached_tokens"]
        assert (first.cached, first.uncached) == (cached, plain["prompt_tokens"] - cached)
        assert (first.output, first.reasoning) == (plain["completion_tokens"], 0)
        assert (second.output, second.reasoning) == (0, long["completion_tokens"])
        assert sum(map(sum, kinds.values())) == server.ledger.tokens
        price = {"input": 1.0, "cached_input": 0.5, "output": 2.0}
        dollars = first.uncached + cached / 2 + 2 * first.output
        dollars += (second.uncached + second.cached / 2 + 2 * second.reasoning) / 2
        assert server.ledger.dollars({"gpt-6-luna": price}) == pytest.approx(dollars / 1e6)
        server.reset()
        assert server.ledger.billed_tokens == {}


def test_a_usage_that_a_reply_states_is_billed_as_it_states(server):
    """One that is none leaves the server's own."""
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 3},
    }
    for odd, expected in ((usage, (5, 2, 3, 4, 0)), (None, None), ({"prompt_tokens": "many"}, None)):
        server.reset()
        server.faults = [Fault(Reply(completion={"usage": odd}))]
        call(server, ask())
        ((billed),) = server.ledger.billed_tokens.values()
        assert billed == expected if expected else sum(billed) == server.ledger.tokens
