"""Both ways to the API send what the SDK builds, and where it sends it."""

from __future__ import annotations

import openai
import pytest
from api.wire import BODY, GOOD, both, http, plain, send

import llmframe
from llmframe._api import Account


@pytest.mark.parametrize(
    "make",
    [
        lambda url: Account.of(None, "secret", f"{url}/v1"),
        lambda url: Account.of(None, "secret", f"{url}/a%20b/v1/"),
        lambda url: Account.of(
            openai.OpenAI(
                api_key="secret", base_url=url, organization="o", project="p",
                default_headers={"X-Team": "blue"}, default_query={"q": "ä b"},
            ), None, None,
        ),
        lambda url: Account.of(
            openai.AzureOpenAI(api_key="secret", azure_endpoint=url, api_version="2026-01-01"), None, None
        ),
        lambda url: Account.of(
            openai.AzureOpenAI(
                azure_ad_token="token", azure_endpoint=url, api_version="2026-01-01", azure_deployment="d 1"
            ), None, None,
        ),
    ],
    ids=["plain", "odd path", "client", "azure", "azure, one deployment"],
)  # fmt: skip
def test_requests_are_those_of_the_sdk(wire, make):
    """Target, headers and content are the same, whatever the client."""
    both(make(wire.url), headers={"X-Extra": "sent"})
    assert wire.target(0) == wire.target(1)
    ours, sdks = wire.headers(0), wire.headers(1)
    for headers in (ours, sdks):
        for written_by_clients in ("accept-encoding", "connection"):
            headers.pop(written_by_clients, None)
    ours["content-length"] = sdks["content-length"] = ""  # Azure's body goes out in the SDK's own spelling
    assert ours == sdks
    assert wire.seen[0].endswith(BODY)


def test_a_user_in_the_address_is_sent_as_authorization(wire):
    """A name and a password before the host go out as the SDK builds them, in place of the key."""
    address = wire.url.replace("://", "://ann:p%40ss@")
    assert send(Account.of(None, "secret", f"{address}/v1"), "aiohttp").raw == GOOD
    assert wire.headers()["authorization"] == "Basic YW5uOnBAc3M="


def test_a_host_header_of_the_user_is_sent(wire):
    """`extra_headers` may name another host than the address, as some gateways need it."""
    both(plain(wire), headers={"Host": "gateway.internal"})
    assert [wire.headers(number)["host"] for number in (0, 1)] == ["gateway.internal"] * 2


def test_a_header_that_cannot_be_sent_ends_the_run(wire):
    """The fault does not show the key, and nothing is sent."""
    refused = send(plain(wire), "aiohttp", headers={"Authorization": "Bearer a-key-in\n-two-lines"})
    assert refused.fault.code == "client_error"
    assert not refused.fault.uncertain
    assert "a-key-in" not in refused.fault.message
    assert not wire.seen


def test_a_proxy_of_the_environment_is_used_as_the_sdk_does(wire, monkeypatch):
    """Requests go through HTTP_PROXY, unless NO_PROXY names the address."""
    account = Account.of(None, "secret", "http://api.example/v1")
    monkeypatch.setenv("HTTP_PROXY", wire.url)
    monkeypatch.setenv("NO_PROXY", "elsewhere.example")
    assert [type(result).__name__ for result in both(account)] == ["Reply", "Reply"]
    assert wire.target(0) == wire.target(1) == "http://api.example/v1/chat/completions"
    monkeypatch.setenv("NO_PROXY", "localhost")
    send(plain(wire), "aiohttp")
    assert wire.target() == "/v1/chat/completions"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_gets_the_user_and_password_of_its_address(wire, monkeypatch, scheme):
    """The user in a proxy's address goes to the proxy, in the first request or the one for a tunnel."""
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", wire.url.replace("://", "://ann:p%40ss@"))
    monkeypatch.setenv("NO_PROXY", "elsewhere.example")
    wire.reply = lambda request: http(b"", "502 No") if request.startswith(b"CONNECT") else http()
    send(Account.of(None, "secret", f"{scheme}://api.example/v1"), "aiohttp")
    assert wire.headers()["proxy-authorization"] == "Basic YW5uOnBAc3M="
    assert wire.headers().get("authorization") == ("Bearer secret" if scheme == "http" else None)


@pytest.mark.parametrize("host", ["256.1.1.1", "a\x01b"])
def test_an_invalid_address_is_refused_by_name(host):
    with pytest.raises(ValueError, match="base_url"):
        llmframe.complete(["x"], base_url=f"http://{host}/v1", api_key="any", model="m", journal=False)
