"""The user's own clients: what they carry arrives."""

from __future__ import annotations

import itertools
import ssl
import subprocess
import sys

import openai
import pytest
from api.wire import plain, send
from helpers import asked, texts

import llmframe
from llmframe._api import Account

library = sys.modules[openai.Timeout.__init__.__module__.partition(".")[0]]
"""The SDK's HTTP library."""

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


@pytest.mark.parametrize("how", ["no check", "an authority"])
def test_a_sync_clients_own_certificates_count_for_it_alone(secure, how):
    """A check that one client leaves out is not left out for the next call without it."""
    wire, path = secure
    verify = False if how == "no check" else ssl.create_default_context(cafile=path)
    own = openai.DefaultHttpxClient(verify=verify)
    client = openai.OpenAI(base_url=f"{wire.url}/v1", api_key="any", http_client=own)
    frame = asked(1)
    frame.llm.complete("q", into="a", client=client, model="m")
    assert frame["a"].tolist() == ["Yes."]
    assert send(plain(wire), "aiohttp").fault.code == "certificate"


def test_a_sync_clients_own_proxy_headers_query_and_cookies_are_kept(wire):
    """The proxy's password and headers go to the proxy."""
    proxy = library.Proxy(wire.url.replace("://", "://ann:word@"), headers={"X-For-Proxy": "yes"})
    own = library.Client(proxy=proxy, headers={"X-Own": "kept"}, params={"tenant": "t1"}, cookies={"c": "1"})
    client = openai.OpenAI(base_url="http://api.example/v1", api_key="any", http_client=own)
    asked(1).llm.complete("q", client=client, model="m")
    assert wire.target() == "http://api.example/v1/chat/completions?tenant=t1"
    headers = wire.headers()
    assert headers["proxy-authorization"] == "Basic YW5uOndvcmQ="
    assert (headers["x-for-proxy"], headers["x-own"], headers["cookie"]) == ("yes", "kept", "c=1")


@pytest.mark.parametrize(
    "own", [{"trust_env": False}, {"mounts": {"http://localhost": None}}], ids=["trust_env", "mounts"]
)
def test_a_sync_client_that_avoids_the_environments_proxy_still_does(wire, monkeypatch, own):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    client = openai.OpenAI(base_url=f"{wire.url}/v1", api_key="any", http_client=library.Client(**own))
    asked(1).llm.complete("q", client=client, model="m")
    assert wire.target() == "/v1/chat/completions"


class _OwnClient(library.Client):
    """A client whose methods might do anything."""


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: library.Client(transport=library.MockTransport(None)), "the transport MockTransport"),
        (lambda: library.Client(mounts={"all://": library.MockTransport(None)}), "the transport MockTransport"),
        (lambda: library.Client(event_hooks={"request": [print]}), "event_hooks"),
        (lambda: library.Client(auth=("ann", "word")), "auth"),
        (lambda: library.Client(transport=library.HTTPTransport(uds="/run/api")), "a Unix socket"),
        (_OwnClient, "its class _OwnClient"),
    ],
)  # fmt: skip
def test_what_a_sync_client_has_and_an_async_one_cannot_take_over_is_named(wire, make, named):
    """Nothing is sent without it."""
    client = openai.OpenAI(base_url=f"{wire.url}/v1", api_key="any", http_client=make())
    with pytest.raises(ValueError, match=f"client: .*{named}.*AsyncOpenAI"):
        asked(1).llm.complete("q", client=client, model="m")
    assert not wire.seen


def test_an_azure_clients_own_hooks_are_no_obstacle(wire):
    """The SDK adds one to every HTTP client of Azure."""
    client = openai.AzureOpenAI(azure_endpoint=wire.url, http_client=library.Client(), **AZURE)
    asked(1).llm.complete("q", client=client, model="mine")
    assert wire.headers()["api-key"] == "azure-secret-key"


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({"timeout": 7}, 7.0),
        ({"timeout": openai.Timeout(8, connect=2)}, 8.0),
        ({"http_client": library.Client(timeout=9)}, 9.0),
        ({}, None),
        ({"timeout": None}, None),
    ],
)
def test_a_clients_timeout_is_read(given, seconds):
    """One that is the SDK's own, or none, leaves llmframe's."""
    client = openai.OpenAI(base_url="http://api.example/v1", api_key="any", **given)
    assert Account.of(client, None, None).timeout == seconds


@pytest.mark.parametrize("kind", ["OpenAI", "AsyncOpenAI"])
def test_a_calls_timeout_goes_before_the_clients_and_that_before_the_options(wire, kind):
    """The SDK states the timeout in a header."""
    make = getattr(openai, kind)
    client = make(base_url=f"{wire.url}/v1", api_key="any", timeout=70)
    other = make(base_url=f"{wire.url}/v1", api_key="any")
    llmframe.options.timeout = 90
    for arguments in ({"client": client, "timeout": 50}, {"client": client}, {"client": other}):
        asked(1).llm.complete("q", model="m", journal=False, **arguments)
    stated = [wire.headers(number)["x-stainless-read-timeout"] for number in range(3)]
    assert [float(seconds) for seconds in stated] == [50, 70, 90]


SCRIPT = """
import asyncio, os, openai, llmframe
settings = {"model": "gpt-6-luna", "journal": False, "progress": False}

async def awaited(client): return await llmframe.acomplete(["Hello"], client=client, **settings)
async def nested(client): return llmframe.complete(["Hello"], client=client, **settings)
ways = {
    "plain": lambda client: llmframe.complete(["Hello"], client=client, **settings),
    "background": lambda client: llmframe.complete(["Hello"], client=client, wait=False, **settings).result(),
    "await": lambda client: asyncio.run(awaited(client)),
    "nested": lambda client: asyncio.run(nested(client)),
}

async def use(client):
    await client.models.list()
    if CLOSE: await client.close()

for name, way in ways.items():
    pool = {"http_client": getattr(openai, POOL)()} if POOL else {}
    client = openai.AsyncOpenAI(base_url=URL, api_key="any", **pool)
    asyncio.run(use(client))
    try: print(name, "answered", len(way(client)[0]) > 0, llmframe.last_run().uncertain)
    except llmframe.StoppedError as error: print(name, str(error).splitlines()[0])
os._exit(0)
"""


def used_before(url, pool=None, *, close=False):
    """Return what each way to call makes of an async client that `asyncio.run` used before, in a process of its own."""
    script = f"URL, POOL, CLOSE = {url!r}, {pool!r}, {close}\n{SCRIPT}"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    return dict(line.split(" ", 1) for line in run.stdout.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("close", [False, True], ids=["loop", "client"])
def test_an_async_client_whose_loop_or_pool_is_closed_gets_a_new_pool(server, close):
    """`asyncio.run` closes the loop to which its connections belong."""
    outcomes = used_before(server.base_url, close=close)
    assert outcomes == dict.fromkeys(["plain", "background", "await", "nested"], "answered True 0")


@pytest.mark.slow
@pytest.mark.parametrize("close", [False, True], ids=["loop", "client"])
@pytest.mark.parametrize("pool", ["DefaultAsyncHttpxClient", "DefaultAioHttpClient"])
def test_an_async_client_with_a_closed_pool_of_its_own_is_refused_in_one_line(server, pool, close):
    """llmframe makes no other pool for it; a new loop of the same thread may still use the connections."""
    outcomes = used_before(server.base_url, pool, close=close)
    refusal = (
        "client: its http_client was closed, or belongs to an event loop that has ended; "
        "make the client anew, or leave its http_client out"
    )
    assert outcomes["plain"] == outcomes["background"] == refusal
    allowed = {refusal} if close else {refusal, "answered True 0"}
    assert {outcomes["await"], outcomes["nested"]} <= allowed


@pytest.mark.parametrize(
    ("arguments", "source"),
    [
        ({"api_key": "given"}, "api_key="),
        ({"client": openai.OpenAI(api_key="any")}, "client="),
        ({}, "llmframe.options.api_key"),
    ],
)
def test_an_account_knows_where_its_key_comes_from(arguments, source):
    llmframe.options.api_key = "from-options"
    run = llmframe.complete([], model="m", wait=False, **arguments)
    run.result()
    assert run._settings.account.key_source == source


def test_a_key_of_the_environment_names_its_variable(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
    run = llmframe.complete([], model="m", wait=False)
    run.result()
    assert run._settings.account.key_source == "OPENAI_API_KEY"
