"""The user's own clients: what they carry arrives."""

from __future__ import annotations

import itertools

import openai
import pytest
from helpers import asked, texts

AZURE = {"api_version": "2026-01-01", "api_key": "azure-secret-key"}


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (
            lambda url: openai.AsyncAzureOpenAI(azure_endpoint=url, **AZURE),
            "/openai/deployments/mine/chat/completions",
        ),
        (
            lambda url: openai.AzureOpenAI(azure_endpoint=url, **AZURE),
            "/openai/deployments/mine/chat/completions",
        ),
        (
            lambda url: openai.AzureOpenAI(azure_endpoint=url, azure_deployment="fixed", **AZURE),
            "/openai/deployments/fixed/chat/completions",
        ),
        (
            lambda url: openai.AsyncAzureOpenAI(base_url=f"{url}/gateway/openai", **AZURE),
            "/gateway/openai/deployments/mine/chat/completions",
        ),
    ],
    ids=["async", "sync", "sync, one deployment", "async, gateway"],
)
def test_azure_keeps_its_deployment_and_version(wire, make, path):
    """Path, api-version and key arrive as the client has them."""
    frame = asked(2)
    frame.llm.complete("q", into="a", client=make(wire.url), model="mine", extra_headers={"X-Team": "blue"})
    assert frame["a"].tolist() == ["Yes.", "Yes."]
    requests = range(len(wire.seen))
    assert {wire.target(number) for number in requests} == {f"{path}?api-version=2026-01-01"}
    for number in requests:
        assert wire.headers(number)["api-key"] == "azure-secret-key"
        assert wire.headers(number)["x-team"] == "blue"
        assert wire.body(number)["model"] == "mine"
    assert sorted(wire.body(number)["messages"][0]["content"] for number in requests) == texts(2)


def test_a_token_provider_of_an_async_azure_client_is_asked_for_each_request(wire):
    """The user's own async client goes through the SDK, which asks each time."""
    numbers = itertools.count(1)

    def provide():
        return f"token-{next(numbers)}"

    client = openai.AsyncAzureOpenAI(
        azure_endpoint=wire.url, api_version="v", azure_ad_token_provider=provide
    )
    asked(2).llm.complete("q", client=client, model="mine", max_concurrency=1)
    given = [wire.headers(number)["authorization"] for number in range(len(wire.seen))]
    assert given == ["Bearer token-1", "Bearer token-2"]


@pytest.mark.parametrize("kind", ["OpenAI", "AsyncOpenAI"])
def test_a_clients_own_headers_are_kept(wire, kind):
    """Organisation, project, default headers and query arrive, from a sync client and from an async one."""
    client = getattr(openai, kind)(
        base_url=f"{wire.url}/v1",
        api_key="client-key",
        organization="org-mine",
        project="proj-mine",
        default_headers={"X-Default": "kept"},
        default_query={"tenant": "t1"},
    )
    asked(1).llm.complete("q", client=client, model="m", extra_headers={"X-Extra": "sent"})
    assert len(wire.seen) == 1
    headers = wire.headers()
    assert wire.target() == "/v1/chat/completions?tenant=t1"
    assert headers["authorization"] == "Bearer client-key"
    assert headers["openai-organization"] == "org-mine"
    assert headers["openai-project"] == "proj-mine"
    assert (headers["x-default"], headers["x-extra"]) == ("kept", "sent")


def test_a_sync_client_may_have_a_function_for_a_key(wire):
    """The async client that llmframe makes of it asks the same function."""
    client = openai.OpenAI(base_url=f"{wire.url}/v1", api_key=lambda: "from-function")
    asked(1).llm.complete("q", client=client, model="m")
    assert wire.headers(0)["authorization"] == "Bearer from-function"
