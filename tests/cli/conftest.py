"""A folder, a server and an account for each command, as a user's environment names them."""

from __future__ import annotations

import pytest


@pytest.fixture
def account(server, monkeypatch, tmp_path):
    """Let the environment name the server, the key and the model, and work in a folder of its own."""
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("LLMFRAME_MODEL", "gpt-6-luna")
    monkeypatch.chdir(tmp_path)
    return server
