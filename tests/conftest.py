"""What every test stands on: a local server, a journal of its own, and no settings from outside."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from helpers import tune
from hypothesis import HealthCheck, settings
from postgres import running_server

import llmframe
from llmframe.testing import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from postgres import Database, PostgresServer

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background, as by `pytest &`: the programs that tests start would inherit it, and wait for ever for
    # the Ctrl-C that they are sent.
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("no times", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no times")


def _forget_options() -> None:
    for name in [*dir(llmframe.options), "_tuning"]:
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
def swift() -> None:
    """Look after batches every few milliseconds, and not every few seconds."""
    tune(first_poll_seconds=0.01, longest_poll_seconds=0.05, first_resubmit_seconds=0.02)


@pytest.fixture(params=["live", "batch"])
def lane(request: pytest.FixtureRequest, swift: None) -> str:
    """Run a test in both lanes: what a verb promises does not depend on the way that its requests take."""
    llmframe.options.mode = request.param
    return str(request.param)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Give a running PostgreSQL, one for all tests of a process."""
    with running_server() as running:
        yield running


@pytest.fixture(scope="session")
def _kept_database(postgres: PostgresServer) -> Database:
    return postgres.new_database()


@pytest.fixture
def database(_kept_database: Database) -> Database:
    """Give a database without a journal; making one for each test would take longer than most tests."""
    _kept_database.empty()
    return _kept_database
