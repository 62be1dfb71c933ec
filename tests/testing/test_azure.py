"""Azure's path and key at the local server."""

from __future__ import annotations

import openai
import pytest
from helpers import answer, asked
from testing.client import ask, send

from llmframe.testing import Fault, LocalServer, Reply, made_up_answer

AZURE = {"api_key": "azure-key", "api_version": "2026-01-01", "max_retries": 0}


@pytest.mark.parametrize(
    "settings",
    [
        lambda server: {"azure_endpoint": server.azure_endpoint},
        lambda server: {"azure_endpoint": server.azure_endpoint, "azure_deployment": "mine"},
        lambda server: {"base_url": server.base_url},
    ],
    ids=["endpoint", "deployment", "base_url"],
)
def test_azures_client_is_answered(settings):
    """Its path, its `api-version` and its `api-key` are understood, and the ledger counts it."""
    with (
        LocalServer(api_key="azure-key") as server,
        openai.AzureOpenAI(**settings(server), **AZURE) as client,
    ):
        answer = client.chat.completions.create(**ask())
        assert answer.choices[0].message.content == made_up_answer(ask())
        assert (server.ledger.billed, server.ledger.headers["api-key"]) == (1, "azure-key")


def test_azures_refusals_are_its_own():
    """A wrong key, an unknown deployment and a path without `api-version` have Azure's words and codes."""
    with (
        LocalServer(api_key="azure-key") as server,
        openai.AzureOpenAI(azure_endpoint=server.azure_endpoint, **AZURE) as client,
    ):
        with pytest.raises(openai.AuthenticationError, match="invalid subscription key"):
            client.with_options(api_key="other").chat.completions.create(**ask())
        with pytest.raises(openai.NotFoundError, match="deployment for this resource does not exist"):
            client.chat.completions.create(**ask() | {"model": "none"})
        path = "openai/deployments/gpt-6-luna/chat/completions"
        assert send(server, path, ask(), method="POST", key="azure-key")[0] == 404


def test_faults_hit_azures_requests_too(server):
    with openai.AzureOpenAI(azure_endpoint=server.azure_endpoint, **AZURE) as client:
        server.faults = [Fault(Reply(403, {"error": {"message": "Your input was flagged."}}))]
        with pytest.raises(openai.PermissionDeniedError, match="flagged"):
            client.chat.completions.create(**ask())


@pytest.mark.parametrize("kind", [openai.AzureOpenAI, openai.AsyncAzureOpenAI])
def test_a_verb_asks_it_by_azures_clients(server, kind):
    frame = asked(3)
    frame.llm.complete(
        "q", into="a", model="gpt-6-luna", client=kind(azure_endpoint=server.azure_endpoint, **AZURE)
    )
    assert frame["a"].tolist() == [answer(text) for text in frame["q"]]
    assert server.ledger.billed == 3
