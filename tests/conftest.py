"""What every test stands on: a local server, a journal of its own, and no settings from outside."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import llmframe
from llmframe._batch import enqueued_limit
from llmframe._batch import lane as batch_lane
from llmframe.testing import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _forget_options() -> None:
    for name in dir(llmframe.options):
        setattr(llmframe.options, name, None)


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test its own journal, a silent terminal and a clean environment."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "AZURE_OPENAI_", "LLMFRAME_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LLMFRAME_JOURNAL", str(tmp_path / "journal.sqlite"))
    _forget_options()
    llmframe.options.progress = False
    yield
    _forget_options()


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """Give a running local server, a new one for each test."""
    with LocalServer() as running:
        yield running


@pytest.fixture
def llm(server: LocalServer) -> LocalServer:
    """Give a running local server to which the options already point, with a key and a model."""
    llmframe.options.base_url = server.base_url
    llmframe.options.api_key = "any"
    llmframe.options.model = "gpt-6-luna"
    return server


@pytest.fixture
def swift(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look after batches every few milliseconds, and not every few seconds."""
    monkeypatch.setattr(batch_lane, "FIRST_POLL_SECONDS", 0.01)
    monkeypatch.setattr(batch_lane, "LONGEST_POLL_SECONDS", 0.05)
    monkeypatch.setattr(enqueued_limit, "FIRST_WAIT_SECONDS", 0.02)


@pytest.fixture(params=["live", "batch"])
def lane(request: pytest.FixtureRequest, swift: None) -> str:
    """Run a test in both lanes: what a verb promises does not depend on the way that its requests take."""
    llmframe.options.mode = request.param
    return str(request.param)
