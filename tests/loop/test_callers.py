"""Where verbs are called from: coroutines, threads, web handlers and callbacks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading

import openai
import pandas as pd
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from columns.plans import contents
from helpers import MODEL, answer
from loop.calls import PATIENCE, reviews, wait_until_silent

import llmframe
from llmframe.testing import Fault, LocalServer


def test_calls_from_many_threads_get_their_own_answers(llm, lane):
    results = {}

    def call(number):
        df = pd.DataFrame({"a": [f"{number}-{row}" for row in range(5)]})
        results[number] = df.llm.complete("a", "Say {a}")["a_completion"].tolist()

    settings = llmframe.options
    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert settings.model == MODEL
    assert results == {number: [answer(f"Say {number}-{row}") for row in range(5)] for number in range(4)}


@pytest.mark.asyncio
async def test_a_coroutine_may_await_and_may_wait(llm: LocalServer) -> None:
    """Both ways of calling work in one coroutine."""
    frame = reviews()
    await frame.llm.acomplete("review", into="awaited")
    frame.llm.complete("review", "Shout:", into="plain")
    assert frame.notna().all(axis=None)
    assert llm.ledger.billed == 40


def test_a_plain_call_works_after_other_loops_were_closed(llm: LocalServer) -> None:
    """The private loop goes on when other loops have been closed."""
    for turn in range(3):
        asyncio.run(reviews().llm.acomplete("review", f"{turn}:", into="awaited"))
        assert reviews().llm.complete("review", f"plain {turn}:", into="plain")["plain"].notna().all()
    assert llm.ledger.billed == 120


@pytest.mark.asyncio
async def test_a_web_service_answers_many_at_once(llm: LocalServer) -> None:
    """Async handlers await, and sync ones call from a thread pool, all at the same time."""

    async def awaiting(request: web.Request) -> web.Response:
        answers = await llmframe.acomplete([f"{request.query['n']} {row}" for row in range(5)])
        return web.json_response(answers)

    def plain(number: str) -> list[str | None]:
        return list(pd.Series([f"{number} {row}" for row in range(5)]).llm.complete())

    async def threaded(request: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(plain, request.query["n"]))

    app = web.Application()
    app.add_routes([web.get("/awaiting", awaiting), web.get("/threaded", threaded)])
    async with TestClient(TestServer(app)) as client:

        async def ask(path: str, number: int) -> list[str]:
            async with client.get(path, params={"n": str(number)}) as response:
                return list(await response.json())

        asked = [(path, number) for number in range(15) for path in ("/awaiting", "/threaded")]
        answered = await asyncio.gather(*[ask(path, number) for path, number in asked])
    assert all(len(answers) == 5 and all(answers) for answers in answered)
    assert answered[0::2] == answered[1::2]
    assert llm.ledger.billed == 75


def test_many_threads_call_at_once_each_with_its_own_options(llm: LocalServer) -> None:
    """Sixteen threads share one loop; each has its frame, its model and its rows."""
    models = [MODEL, "gpt-5-mini", "gpt-5-nano", "gpt-5.6-luna"]

    def ask(number: int) -> pd.DataFrame:
        frame = pd.DataFrame({"review": [f"{number} {row}" for row in range(20)]})
        with llmframe.option_context(model=models[number % 4]):
            return frame.llm.complete("review", "Say: {review}", into="answer")

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        frames = list(pool.map(ask, range(16)))
    assert all(frame["answer"].notna().all() for frame in frames)
    assert llm.ledger.billed == 320
    asked = {(body["messages"][-1]["content"].split()[1], body["model"]) for body in llm.ledger.bodies}
    assert asked == {(str(number), models[number % 4]) for number in range(16)}


def test_a_verb_that_waits_on_the_private_loop_is_refused_before_it_sends(llm: LocalServer) -> None:
    """A key function that calls a verb would wait for itself: the verb raises, and the outer run ends."""
    caught = []

    async def key() -> str:
        try:
            llmframe.complete(["inner"])
        except RuntimeError as error:
            caught.append(str(error))
        return "any"

    assert llmframe.complete(["outer"], api_key=key)[0]
    assert "await" in caught[0]
    assert contents(llm) == ["outer"]


def test_a_callback_that_exits_ends_its_run_and_not_the_loop(llm: LocalServer) -> None:
    """`SystemExit` out of a key function reaches the caller; the next call works."""

    def key() -> str:
        sys.exit(7)

    with pytest.raises(SystemExit):
        llmframe.complete(["one"], wait=False, api_key=key).result(timeout=PATIENCE)
    assert llmframe.complete(["two"], wait=False).result(timeout=PATIENCE)[0]


@pytest.mark.parametrize("own", [False, True], ids=["private loop", "own client"])
@pytest.mark.asyncio
async def test_a_cancelled_caller_leaves_nothing_in_flight(llm: LocalServer, *, own: bool) -> None:
    """`asyncio.wait_for` around an awaited verb unwinds it, with what came in the column."""
    llm.faults = [Fault("hang", after=10)]
    frame = reviews(60)
    async with openai.AsyncOpenAI(base_url=llm.base_url, api_key="any") as client:
        settings = {"client": client} if own else {}
        asking = asyncio.create_task(
            frame.llm.acomplete("review", into="answer", max_concurrency=50, **settings)
        )
        await asyncio.to_thread(wait_until_silent, llm, 10, 40)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asking, 0.05)
    assert llm.ledger.wait_for(lambda ledger: ledger.in_flight == 0)
    assert frame["answer"].notna().sum() == 10
    assert llmframe.last_run().status == "interrupted"
    llm.faults = []
    await frame.llm.acomplete("review", into="answer")
    assert frame["answer"].notna().all()
    assert llm.ledger.billed == 60
