"""What the ledger counts."""

import asyncio

import aiohttp
import pytest
from testing.client import ask, call, get

from llmframe.testing import LocalServer, made_up_answer, request_digest


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
