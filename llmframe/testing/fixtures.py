"""A pytest fixture: `pytest_plugins = ["llmframe.testing.fixtures"]` in a conftest.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from llmframe.testing import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def llm_server() -> Iterator[LocalServer]:
    """Yield a running local server, a new one for each test."""
    with LocalServer() as server:
        yield server
