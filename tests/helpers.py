"""What tests of several rooms ask, and what they expect."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import pandas as pd
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

import llmframe
from llmframe._addresses import OPENAI_URL
from llmframe.testing import made_up_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmframe.testing import LocalServer

MODEL = "gpt-6-luna"


def tune(**values: float) -> None:
    """Choose other times and sizes than llmframe's own, until the test ends."""
    llmframe.options._tuning = llmframe.options._tuning._replace(**values)


def body(text: str, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}


def answer(text: str) -> str:
    """Return what the local server answers to a prompt."""
    return made_up_answer(body(text))


def texts(*numbers: int) -> list[str]:
    """Return a prompt for each number of `range(*numbers)`."""
    return [f"Tell me about the number {number}." for number in range(*numbers)]


def asked(*numbers: int) -> pd.DataFrame:
    """Return a frame whose column `q` holds these prompts."""
    return pd.DataFrame({"q": texts(*numbers)})


def about(*numbers: int) -> Callable[[dict[str, Any]], bool]:
    """Return a condition for faults: the request is one of these rows'."""
    chosen = {f"Tell me about the number {number}." for number in numbers}
    return lambda request: request.get("messages", [{}])[-1].get("content") in chosen


def at_openais_address(server: LocalServer) -> AsyncOpenAI:
    """Return a client of OpenAI's own address whose requests reach a local server; its account is its own."""

    async def to_local_server(request: Any) -> None:
        request.headers["connection"] = "close"
        request.url = request.url.copy_with(
            scheme="http", host="127.0.0.1", port=urlsplit(server.base_url).port
        )

    http_client = DefaultAsyncHttpxClient(event_hooks={"request": [to_local_server]})
    return AsyncOpenAI(api_key=f"sk-{uuid4().hex}", base_url=OPENAI_URL, http_client=http_client)


def paid_again(server: LocalServer) -> int:
    """Count how many answers were billed beyond the first for each request."""
    return server.ledger.billed - len(server.ledger.billed_by_request)


def wait_until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for something that sets no event."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)
