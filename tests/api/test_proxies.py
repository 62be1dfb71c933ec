"""Proxies: what they refuse is theirs, and a SOCKS proxy never sees a key."""

from __future__ import annotations

import importlib.metadata
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import openai
import pytest
from api.wire import GOOD, WAYS, Wire, both, http, listening, plain, send
from helpers import asked, texts

import llmframe
from llmframe._api import Account
from llmframe._values import FaultKind

pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")
"""The SDK's aiohttp client gives a proxy's password in a deprecated way."""

PAGE = b"<html><h1>Access denied</h1></html>"


@pytest.fixture
def proxy(wire, monkeypatch):
    """Give a server that is the environment's proxy for every address."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, wire.url.replace("://", "://ann:secret-word@"))
    monkeypatch.setenv("NO_PROXY", "elsewhere.example")
    return wire


def account(scheme):
    return Account.of(None, "a-key-to-be-kept", f"{scheme}://api.example/v1")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("status", "code"),
    [("407 Proxy Authentication Required", "http_407"), ("401 No", "proxy"), ("403 Forbidden", "proxy")],
)
def test_what_a_proxy_refuses_names_the_proxy(proxy, scheme, status, code):
    """So does the answer to `CONNECT`; the password is not shown."""
    proxy.reply = http(PAGE, status, media="text/html")
    for refused in both(account(scheme)):
        assert (refused.fault.kind, refused.fault.code) == (FaultKind.ELSEWHERE, code)
        assert f"the proxy {proxy.url}" in refused.fault.message
        assert "secret-word" not in refused.fault.message


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_cannot_reach_the_server_is_named(proxy, scheme):
    """The fault passes, and the request was not billed."""
    proxy.reply = http(PAGE, "502 Bad Gateway", media="text/html")
    for refused in both(account(scheme)):
        assert refused.fault.kind in {FaultKind.PASSING, FaultKind.UNREACHABLE}
        assert refused.fault.code == "proxy"
        assert f"the proxy {proxy.url}" in refused.fault.message
        assert not refused.fault.uncertain


def test_a_proxy_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    for refused in both(account("http")):
        assert (refused.fault.kind, refused.fault.code) == (FaultKind.UNREACHABLE, "proxy")
        assert "the proxy http://127.0.0.1:9" in refused.fault.message


def test_the_servers_own_refusal_through_a_proxy_is_the_servers(proxy):
    """JSON is the API's, whatever it passes."""
    proxy.reply = http(b'{"error": {"code": "invalid_api_key", "message": "No."}}', "401 Unauthorized")
    for refused in both(account("http")):
        assert (refused.fault.code, refused.fault.message) == ("invalid_api_key", "No.")


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_a_web_page_that_refuses_is_not_the_apis(wire, status):
    """Without a proxy in the environment, something before the server wrote it."""
    wire.reply = http(PAGE, status, media="text/html")
    for refused in both(plain(wire)):
        assert refused.fault.code == "proxy"
        assert refused.fault.message.startswith("a proxy or gateway before the server")


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "SOCKS5", "socks4"])
@pytest.mark.parametrize("variable", ["ALL_PROXY", "http_proxy"])
@pytest.mark.parametrize("mode", ["live", "batch"])
def test_a_socks_proxy_without_what_it_needs_is_refused_before_anything_is_sent(
    wire, monkeypatch, scheme, variable, mode
):
    """The line names the package, where there is one that helps; aiohttp would send the key in plain HTTP."""
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv(variable, f"{scheme}://ann:secret-word@127.0.0.1:{wire.port}")
    expected = "pip install socksio" if scheme != "socks4" else "socks5 can"
    with pytest.raises(ValueError, match=expected) as refused:
        asked(2).llm.complete("q", base_url="http://api.example/v1", api_key="k", model="m", mode=mode)
    assert "secret-word" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not wire.seen


@pytest.mark.parametrize("scheme", ["socks5", "socks4"])
@pytest.mark.parametrize(
    "environment",
    [{"ALL_PROXY": "", "NO_PROXY": "127.0.0.1"}, {"ALL_PROXY": "", "no_proxy": "*"}, {"HTTPS_PROXY": ""}],
    ids=["NO_PROXY", "all hosts", "of another scheme"],
)
def test_a_socks_proxy_that_does_not_concern_the_host_changes_nothing(
    llm, lane, monkeypatch, scheme, environment
):
    """Nothing is missing then, in either lane."""
    del llm, lane
    monkeypatch.setitem(sys.modules, "socksio", None)
    for name, value in environment.items():
        monkeypatch.setenv(name, value or f"{scheme}://127.0.0.1:9")
    assert None not in llmframe.complete(texts(3))


def test_an_http_proxy_is_used_although_another_is_of_an_unknown_kind(wire, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "socks4://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", wire.url)
    assert send(account("http"), "aiohttp").raw == GOOD
    assert wire.target() == "http://api.example/v1/chat/completions"


def test_a_users_aiohttp_client_never_sends_a_key_to_a_socks_proxy(wire):
    """The SDK's aiohttp client takes the address, and would speak HTTP to it."""
    http_client = openai.DefaultAioHttpClient(proxy=f"socks5://127.0.0.1:{wire.port}")
    client = openai.AsyncOpenAI(api_key="k", base_url="http://api.example/v1", http_client=http_client)
    with pytest.raises(ValueError, match="socksio"):
        asked(1).llm.complete("q", client=client, model="m")
    assert not wire.seen


class SocksProxy(Wire):
    """A SOCKS5 proxy that connects every request to one server."""

    def serve(self, connection: socket.socket) -> None:
        with connection, socket.create_connection(("127.0.0.1", self.target_port)) as server:
            connection.recv(3)
            connection.sendall(b"\5\0")
            self.seen.append(connection.recv(300))
            connection.sendall(b"\5\0\0\1\0\0\0\0\0\0")
            back = threading.Thread(target=relay, args=(server, connection))
            back.start()
            relay(connection, server)
            back.join()


def relay(source, target):
    try:
        while received := source.recv(65_536):
            target.sendall(received)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.fixture
def socks(wire):
    """Give a running SOCKS5 proxy before `wire`."""
    proxy = SocksProxy()
    proxy.target_port = wire.port
    with listening(proxy):
        yield proxy


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_carries_both_ways_where_its_package_is_installed(wire, socks, monkeypatch, scheme):
    """The SDK's other HTTP client sends then; the name of the host is the proxy's to resolve."""
    assert importlib.metadata.version("socksio")
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:{socks.port}")
    for way in WAYS:
        assert send(account("http"), way).raw == GOOD
    assert all(b"api.example" in request for request in socks.seen)
    assert wire.headers()["authorization"] == "Bearer a-key-to-be-kept"


class OddProxy(Wire):
    """A port at which no SOCKS5 is spoken."""

    def serve(self, connection: socket.socket) -> None:
        with connection:
            connection.recv(3)
            connection.sendall(self.reply)


REFUSED = """
from api.test_proxies import account
from api.wire import both

for refused in both(account("http")):
    fault = refused.fault
    print(fault.kind.name, fault.code, fault.uncertain, fault.message)
"""


@pytest.mark.slow
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\5\xff"])
def test_a_socks_proxy_that_breaks_is_named(said):
    """It is the proxy's fault, whatever its package raises, and nothing was billed.

    In a process of its own: httpcore does not close the socket then.
    """
    tests = Path(__file__).parents[1]
    with listening(OddProxy(reply=said)) as odd:
        proxy = f"socks5://127.0.0.1:{odd.port}"
        code = [sys.executable, "-W", "ignore::ResourceWarning", "-c", REFUSED]
        environment = os.environ | {"ALL_PROXY": proxy, "PYTHONPATH": os.fspath(tests)}
        done = subprocess.run(
            code, env=environment, cwd=tests.parent, capture_output=True, text=True, check=True
        )
    first, second = done.stdout.splitlines()
    for line in (first, second):
        assert line.startswith("UNREACHABLE proxy False ")
        assert f"the proxy {proxy}" in line
