"""A server that the tests of a module share, and the SDK's client of one that a test has for itself."""

from __future__ import annotations

import openai
import pytest
import pytest_asyncio

from llmframe.testing import LocalServer


@pytest.fixture(scope="module")
def shared():
    with LocalServer() as running:
        yield running


@pytest_asyncio.fixture
async def api(server):
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as client:
        yield client
