"""The fast way to the API agrees with the SDK's: what it sends, whom it trusts, and what it makes of each answer."""

from __future__ import annotations

import asyncio
import gzip
import re
import socket
import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field

import openai
import pandas as pd
import pytest

import llmframe
from llmframe._api import http_client, responses, sdk_client
from llmframe._api.account import Account
from llmframe._values import FaultKind, Request

BODY = b'{"model":"m","messages":[{"role":"user","content":"Hello"}]}'
GOOD = b'{"choices":[{"message":{"content":"Yes."},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}'
LENGTH = re.compile(rb"\ncontent-length: *(\d+)", re.IGNORECASE)

CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgJRagNx5S+aMv+uyU
PQHmPscXK+Q47ht33p46bmf86OyhRANCAAT6FIDCPbaEoJZh3fhSExYNz9Mug88d
Mm9JiceViV7m7I6R8/PdaoAFIu+VSi7yj+XGXec9JHgWEoJLOOo1DsTU
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBozCCAUmgAwIBAgIUOoglHkgFI3GHt9QEzx/K67L5dGMwCgYIKoZIzj0EAwIw
GDEWMBQGA1UEAwwNbGxtZnJhbWUgdGVzdDAgFw0yNjExMjUwNzA2MzJaGA8yMTI2
MTEwMTA3MDYzMlowGDEWMBQGA1UEAwwNbGxtZnJhbWUgdGVzdDBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABPoUgMI9toSglmHd+FITFg3P0y6Dzx0yb0mJx5WJXubs
jpHz891qgAUi75VKLvKP5cZd5z0keBYSgks46jUOxNSjbzBtMB0GA1UdDgQWBBRs
tHWm9+ZY7Jshv6hfTYo9xK1BWTAfBgNVHSMEGDAWgBRstHWm9+ZY7Jshv6hfTYo9
xK1BWTAPBgNVHRMBAf8EBTADAQH/MBoGA1UdEQQTMBGCCWxvY2FsaG9zdIcEfwAA
ATAKBggqhkjOPQQDAgNIADBFAiEAzeI3RPYl4sizc6eg5TWNZj5Z+8z28+tZTOzF
e/A5g1kCID6/2QBJ/zueuCmyJ4iqGTFKdbHVVsbQLl4bzrGFRci8
-----END CERTIFICATE-----
"""
"""For localhost and 127.0.0.1, with its key, made for these tests: good until the year 2126, and trusted by nobody."""

OTHER = """\
-----BEGIN CERTIFICATE-----
MIIBejCCASGgAwIBAgIUJ0PlHsqc64R6OyrR/TGWoc0zU1wwCgYIKoZIzj0EAwIw
EjEQMA4GA1UEAwwHYW5vdGhlcjAgFw0yNjExMjUwODU4MTJaGA8yMTI2MTEwMTA4
NTgxMlowEjEQMA4GA1UEAwwHYW5vdGhlcjBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABEG0oUjsuX7KKH5rx/WiJeI/UJXwkFEPB5+cFoYuJgr4qzSRvf2i+FhD5OQ5
tJmXjG+oGumDYEz+cj/tjPE2djGjUzBRMB0GA1UdDgQWBBQ9rAQwLJfFo6rCgp5J
9ELoTvFHnDAfBgNVHSMEGDAWgBQ9rAQwLJfFo6rCgp5J9ELoTvFHnDAPBgNVHRMB
Af8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCIAN33mh7TOowLSab2+k7BigdMwTA
oqXR64CpyHe+R1ihAiAMm9YnkiCKiqfb8rFntSe8Td6FRmRHe6LGwJibqyQUZg==
-----END CERTIFICATE-----
"""
"""Another that nobody trusts either."""


def http(body: bytes = GOOD, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "content-type: application/json", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class Wire:
    """A server that answers with whatever bytes it is told, and notes what came."""

    reply: object = field(default_factory=http)
    """Bytes, or a function of a request's head that returns them; `None` says nothing, and waits."""
    then: str = "stay"
    """After an answer: "stay", "close", or "reset"."""
    seen: list[bytes] = field(default_factory=list)
    port: int = 0
    secure: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.secure else 'http'}://localhost:{self.port}"

    def serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                wrapped = self.secure.wrap_socket(connection, server_side=True) if self.secure else connection
                with wrapped:
                    while self._answered(wrapped):
                        pass
            except OSError:
                pass

    def _answered(self, connection: socket.socket) -> bool:
        request = b""
        while b"\r\n\r\n" not in request or not _whole(request):
            received = connection.recv(65_536)
            if not received:
                return False
            request += received
        self.seen.append(request)
        reply = self.reply(request) if callable(self.reply) else self.reply
        if reply is None:
            connection.recv(1)
            return False
        connection.sendall(reply)
        if self.then == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            connection.close()
        return self.then == "stay"

    def headers(self, number: int = -1) -> dict[str, str]:
        lines = self.seen[number].partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    def target(self, number: int = -1) -> str:
        return self.seen[number].split(b" ", 2)[1].decode()


def _whole(request: bytes) -> bool:
    head, _, body = request.partition(b"\r\n\r\n")
    length = LENGTH.search(head)
    return length is None or len(body) >= int(length[1])


@contextmanager
def listening(wire: Wire):
    with socket.create_server(("127.0.0.1", 0)) as server:
        wire.port = server.getsockname()[1]

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=wire.serve, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield wire
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def wire():
    with listening(Wire()) as running:
        yield running


def send(account: Account, way: str, *, before=(None,), timeout: float = 20.0, headers=None):
    """Send a request the fast way or the SDK's, after each of these has been done, and return what came last."""
    return sent(account, way, before, timeout, headers)[-1]


def sent(account: Account, way: str, before, timeout: float = 20.0, headers=None):
    async def all_sent():
        client, owned = sdk_client.connect(account, timeout=timeout, shared_loop=False)
        transport = sdk_client.SdkTransport(client, owned=owned, timeout=timeout, headers=headers or {})
        if way == "fast":
            transport = http_client.HttpTransport(transport, timeout=timeout)
        results = []
        try:
            for prepare in before:
                if prepare is not None:
                    prepare()
                results.append(await transport.send(Request(b"", 0, BODY)))
        finally:
            await transport.close()
        return results

    return asyncio.run(all_sent())


def both(account: Account, **settings):
    return [send(account, way, **settings) for way in ("fast", "slow")]


def plain(wire: Wire, key: str = "a-key-to-be-kept-secret") -> Account:
    return Account.of(None, key, f"{wire.url}/v1")


# --- what goes out --------------------------------------------------------------------------------


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
    """Target, headers and content are the same, whoever the account is."""
    both(make(wire.url), headers={"X-Extra": "sent"})
    assert wire.target(0) == wire.target(1)
    fast, slow = wire.headers(0), wire.headers(1)
    for headers in (fast, slow):
        for written_by_clients in ("accept-encoding", "connection"):
            headers.pop(written_by_clients, None)
    fast["content-length"] = slow["content-length"] = ""  # Azure's body goes out in the SDK's own spelling
    assert fast == slow
    assert wire.seen[0].endswith(BODY)


def test_a_user_in_the_address_is_told_to_the_server(wire):
    """A name and a password before the host go out as the SDK builds them, in place of the key."""
    address = wire.url.replace("://", "://ann:p%40ss@")
    assert send(Account.of(None, "secret", f"{address}/v1"), "fast").raw == GOOD
    assert wire.headers()["authorization"] == "Basic YW5uOnBAc3M="


@pytest.mark.parametrize("kind", ["function", "async function", "azure"])
def test_a_key_that_is_refused_is_asked_for_again(wire, kind):
    """Whoever gives the key is asked once for all requests, and once more when the server says 401."""
    given = []

    def provide() -> str:
        given.append("key")
        return f"key-number-{len(given)}"

    async def provide_later() -> str:
        return provide()

    def reply(request: bytes) -> bytes:
        expired = b"key-number-1\r\n" in request and len(wire.seen) > 3
        return http(b'{"error": {"message": "expired"}}', "401 Unauthorized") if expired else http()

    wire.reply = reply
    client = {} if kind != "azure" else {
        "client": openai.AzureOpenAI(azure_endpoint=wire.url, api_version="v", azure_ad_token_provider=provide)
    }  # fmt: skip
    key = {"base_url": f"{wire.url}/v1", "api_key": provide if kind == "function" else provide_later}
    settings = {"journal": False, "model": "m", "max_concurrency": 1, **(client or key)}
    assert llmframe.complete([f"{n}" for n in range(6)], **settings) == ["Yes."] * 6
    keys = [wire.headers(number)["authorization"] for number in range(len(wire.seen))]
    assert keys == ["Bearer key-number-1"] * 4 + ["Bearer key-number-2"] * 3
    assert len(given) == 2


def test_a_key_that_stays_refused_ends_the_run(wire):
    """A 401 that another key does not help stops the run, and says it without the key."""
    keys = iter(f"secret-key-number-{number}" for number in range(100))
    wire.reply = lambda request: http(
        b'{"error": {"message": "No: ' + re.search(rb"secret-key-number-\d+", request)[0] + b'"}}', "401 No"
    )
    with pytest.raises(llmframe.StoppedError) as caught:
        llmframe.complete(
            ["a", "b", "c"], base_url=f"{wire.url}/v1", api_key=lambda: next(keys), model="m", journal=False
        )
    assert "No: ***" in str(caught.value)
    assert "secret-key" not in repr(llmframe.last_run().failures)


def test_a_proxy_of_the_environment_is_used_as_the_sdk_does(wire, monkeypatch):
    """Requests go through HTTP_PROXY, unless NO_PROXY names the address."""
    account = Account.of(None, "secret", "http://api.example/v1")
    monkeypatch.setenv("HTTP_PROXY", wire.url)
    monkeypatch.setenv("NO_PROXY", "elsewhere.example")
    assert [type(result).__name__ for result in both(account)] == ["Reply", "Reply"]
    assert wire.target(0) == wire.target(1) == "http://api.example/v1/chat/completions"
    monkeypatch.setenv("NO_PROXY", "localhost")
    send(plain(wire), "fast")
    assert wire.target() == "/v1/chat/completions"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_is_told_who_asks(wire, monkeypatch, scheme):
    """The user in a proxy's address goes to the proxy, in the first request or the one for a tunnel."""
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", wire.url.replace("://", "://ann:p%40ss@"))
    monkeypatch.setenv("NO_PROXY", "elsewhere.example")
    wire.reply = lambda request: http(b"", "502 No") if request.startswith(b"CONNECT") else http()
    send(Account.of(None, "secret", f"{scheme}://api.example/v1"), "fast")
    assert wire.headers()["proxy-authorization"] == "Basic YW5uOnBAc3M="
    assert wire.headers().get("authorization") == ("Bearer secret" if scheme == "http" else None)


# --- whom it trusts -------------------------------------------------------------------------------


@pytest.fixture
def secure(tmp_path):
    path = tmp_path / "certificate.pem"
    path.write_text(CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    with listening(Wire(secure=context)) as running:
        yield running, str(path)


def test_a_certificate_is_trusted_where_the_sdk_trusts_it(secure, monkeypatch):
    """An unknown certificate ends the run; `SSL_CERT_FILE` makes it known, also one that is its own authority."""
    wire, path = secure
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    fast, slow = both(plain(wire))
    assert fast.fault.code == slow.fault.code == "certificate"
    monkeypatch.setenv("SSL_CERT_FILE", path)
    fast, slow = both(plain(wire))
    assert fast.raw == slow.raw == GOOD


# --- what comes back ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"error": {"message": "Said.", "code": "a_code", "param": "model"}}', ()),
        (b'{"error": {"message": "Out of money", "code": "insufficient_quota"}}', ("retry-after: 7",)),
        (b'{"error": "Only words"}', ("retry-after-ms: 250", "x-ratelimit-limit-requests: 60")),
        (b'{"detail": [{"msg": "Not as the schema says"}]}', ()),
        (b'"text"', ()),
        (b"[]", ()),
        (b"oops", ()),
        (b"\xff\xfe", ()),
        (b"", ()),
        (b"<html><h1>Gateway</h1></html>", ("content-type: text/html",)),
    ],
)  # fmt: skip
def test_refusals_mean_what_they_mean_to_the_sdk(wire, body, headers):
    """Every status with every kind of body becomes the same fault on both ways."""

    def replying(status):
        reply = http(body, f"{status} Whatever", *headers)
        reply = reply.replace(b"content-type: application/json\r\n", b"", b"content-type: text/html" in reply)
        return lambda: setattr(wire, "reply", reply)

    statuses = (201, 400, 401, 402, 403, 404, 407, 408, 409, 410, 413, 422, 425, 429, 500, 503, 504, 529)
    fast, slow = (
        sent(plain(wire), way, [replying(status) for status in statuses]) for way in ("fast", "slow")
    )
    assert fast == slow
    assert all(isinstance(result, responses.Refused) for result in fast)


@pytest.mark.parametrize(
    ("reply", "then"),
    [
        (b"", "close"),
        (b"", "reset"),
        (http()[:-20], "close"),
        (http()[:-20], "reset"),
        (http()[:30], "close"),
        (b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{"cho\r\n', "close"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nnot hexadecimal", "close"),
        (http(gzip.compress(GOOD)[:-30], "200 OK", "content-encoding: gzip"), "stay"),
        (http(b"hello", "200 OK", "content-encoding: gzip"), "stay"),
        (b"\0\1\2 this is not HTTP\r\n\r\n", "close"),
        (http(b"{"), "stay"),
        (http(b"[" * 200_000), "stay"),
        (http(b"[1]"), "stay"),
        (http(b'{"ok": true}'), "stay"),
        (http(b'{"error": {"message": "Slow down", "code": 503}}'), "stay"),
        (http(b'{"error": {"message": "Slow down", "code": 503}, "choices": null}'), "stay"),
        (http(b'{"error": {"message": "odd", "code": 1}}'), "stay"),
        (http(b'{"error": {"message": "odd", "code": true}}'), "stay"),
        (http(b'{"error": "the model is being loaded", "choices": []}'), "stay"),
        (http(b"", "307 Round", "location: /v1/chat/completions"), "stay"),
    ],
)  # fmt: skip
def test_a_broken_answer_means_what_it_means_to_the_sdk(wire, reply, then):
    """On a bad wire both ways say the same trouble, and whether it may have been billed."""
    wire.reply, wire.then = reply, then
    fast, slow = (result.fault for result in both(plain(wire)))
    assert (fast.trouble, fast.code, fast.uncertain) == (slow.trouble, slow.code, slow.uncertain)


@pytest.mark.parametrize("reply", [None, http()[:-20]], ids=["hangs", "stops half-way"])
def test_silence_is_cut_by_the_timeout(wire, reply):
    """A hang is a passing fault that may have been billed."""
    wire.reply = reply
    fast, slow = (result.fault for result in both(plain(wire), timeout=1.0))
    assert (fast.trouble, fast.code, fast.uncertain) == (slow.trouble, slow.code, slow.uncertain)
    assert fast.code == "timeout"


def test_of_answers_that_come_together_one_is_listened_to(wire, monkeypatch):
    """Limits are read again as soon as the last reading is 5 ms old, and wherever nothing is left of one."""
    wire.reply = http(GOOD, "200 OK", "x-ratelimit-limit-requests: 60")
    monkeypatch.setattr(http_client, "_SAME_SECONDS", 3600)
    many = sent(plain(wire), "fast", [None] * 3)
    monkeypatch.setattr(http_client, "_SAME_SECONDS", 0)
    each = sent(plain(wire), "fast", [None] * 3)
    monkeypatch.setattr(http_client, "_SAME_SECONDS", 3600)
    wire.reply = http(GOOD, "200 OK", "x-ratelimit-limit-tokens: 9", "x-ratelimit-remaining-tokens: 0")
    last = sent(plain(wire), "fast", [None] * 3)
    assert [reply.headers and reply.headers.remaining_tokens for reply in last] == [0, 0, 0]
    assert [reply.headers and reply.headers.limit_requests for reply in many] == [60, None, None]
    assert [reply.headers and reply.headers.limit_requests for reply in each] == [60, 60, 60]


@pytest.mark.parametrize(
    ("reply", "then"),
    [
        (http(), "close"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + GOOD, "close"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + http(), "stay"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD), "stay"),
        (http(gzip.compress(GOOD), "200 OK", "content-encoding: gzip"), "stay"),
        (http(GOOD, "201 Created"), "stay"),
        (http(GOOD).replace(b"application/json", b"text/plain"), "stay"),
        (http(GOOD, "200 OK", f"content-security-policy: {'a' * 50_000}"), "stay"),
    ],
    ids=["closing", "HTTP/1.0", "1xx", "chunked", "gzip", "201", "text", "a long header"],
)  # fmt: skip
def test_answers_are_read_however_they_are_wrapped(wire, reply, then):
    """What HTTP allows is understood, three times over one pool."""
    wire.reply, wire.then = reply, then
    assert send(plain(wire), "fast", before=[None] * 3).raw == GOOD


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_as_the_sdk_does(wire, status):
    """307 and 308 post again, the others get; the key does not go to another address."""
    with listening(Wire()) as other:
        for target in (f"{wire.url}/b", f"{other.url}/b"):
            wire.reply = lambda request, target=target: (
                http() if b" /b " in request else http(b"", f"{status} Go", f"location: {target}")
            )
            arrived = []
            for way in ("fast", "slow"):
                assert send(plain(wire), way).raw == GOOD
                at = wire if target.startswith(wire.url) else other
                arrived.append(
                    (
                        at.seen[-1].split(b" ")[:2],
                        at.seen[-1].endswith(BODY),
                        at.headers().get("authorization"),
                    )
                )
            assert arrived[0] == arrived[1]


def test_a_redirect_to_https_keeps_the_key_as_the_sdk_does(secure, monkeypatch):
    """A balancer that sends http on to https of the same host costs nobody the key."""
    safe, path = secure
    monkeypatch.setenv("SSL_CERT_FILE", path)
    with listening(Wire(http(b"", "308 Go", f"location: {safe.url}/v1/chat/completions"))) as balancer:
        fast, slow = both(plain(balancer))
    assert fast.raw == slow.raw == GOOD
    assert safe.headers(0).get("authorization") == safe.headers(1).get("authorization")


def test_a_host_that_the_user_names_is_told_to_the_server(wire):
    """A gateway may be known to the network by another name than to itself."""
    both(plain(wire), headers={"Host": "gateway.internal"})
    assert [wire.headers(number)["host"] for number in (0, 1)] == ["gateway.internal"] * 2


def test_redirects_that_never_end_end_the_run(wire):
    """No row can succeed, so it is not tried again for each."""
    wire.reply = http(b"", "307 Round", "location: /v1/chat/completions")
    for refused in both(plain(wire)):
        assert refused.fault.trouble is FaultKind.FATAL
        assert "round and round" in refused.fault.message


@pytest.mark.parametrize("host", ["256.1.1.1", "a\x01b"])
def test_an_address_that_is_none_is_said_to_be(host):
    with pytest.raises(ValueError, match="base_url"):
        llmframe.complete(["x"], base_url=f"http://{host}/v1", api_key="any", model="m", journal=False)


def test_a_prompt_that_is_flagged_with_a_403_costs_its_row_only(wire):
    """Some gateways have their content filters speak so."""
    wire.reply = http(b'{"error": {"message": "flagged", "code": "content_policy_violation"}}', "403 No")
    for refused in both(plain(wire)):
        assert refused.fault.trouble is FaultKind.ROW


def test_certificates_that_are_not_there_are_named(wire, monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "typo.pem"))
    with pytest.raises(ValueError, match="SSL_CERT_FILE"):
        send(plain(wire), "fast")
    assert not wire.seen


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_function_that_gives_no_key_is_said_to(wire, nothing):
    for refused in both(Account.of(None, lambda: nothing, f"{wire.url}/v1")):
        assert refused.fault.trouble is FaultKind.FATAL
        assert "api_key" in refused.fault.message
    assert not wire.seen


def test_a_key_is_taken_without_the_blanks_around_it(wire):
    """A key that was read from a file has a line break at its end."""
    assert send(plain(wire, "a-key-from-a-file\n"), "fast").raw == GOOD
    assert wire.headers()["authorization"] == "Bearer a-key-from-a-file"


def test_a_header_that_cannot_be_sent_ends_the_run(wire):
    """What no request can carry is said at once, without the key, and nothing leaves."""
    refused = send(plain(wire), "fast", headers={"Authorization": "Bearer a-key-in\n-two-lines"})
    assert refused.fault.code == "client_error"
    assert not refused.fault.uncertain
    assert "a-key-in" not in refused.fault.message
    assert not wire.seen


def test_whoever_gives_the_key_may_not_take_for_ever(wire):
    """`timeout` is for the key too; nothing was billed meanwhile."""

    async def never() -> str:
        await asyncio.sleep(3600)
        return ""

    refused = send(Account.of(None, never, f"{wire.url}/v1"), "fast", timeout=0.3)
    assert (refused.fault.code, refused.fault.uncertain) == ("timeout", False)


def test_a_key_that_is_still_the_refused_one_is_not_asked_for_again(wire):
    """Rows in flight that meet the same 401 do not each ask for the same key."""
    given = []
    wire.reply = http(b'{"error": {"message": "no"}}', "401 No")

    def provide() -> str:
        given.append(1)
        return "the-same-key"

    sent(Account.of(None, provide, f"{wire.url}/v1"), "fast", [None] * 20)
    assert len(given) == 2


def test_a_certificate_that_came_meanwhile_is_trusted_by_the_next_run(secure, monkeypatch, tmp_path):
    """After the file is mended, the same call works in the same process."""
    wire, _ = secure
    mended = tmp_path / "mended.pem"
    mended.write_text(OTHER)
    monkeypatch.setenv("SSL_CERT_FILE", str(mended))
    assert send(plain(wire), "fast").fault.code == "certificate"
    mended.write_text(CERTIFICATE)
    assert send(plain(wire), "fast").raw == GOOD


def test_connections_are_used_again(wire):
    """Requests one after another share a connection."""
    with listening(Wire()) as counted:
        served = []
        serve = counted.serve
        counted.serve = lambda connection: (served.append(1), serve(connection))
        frame = pd.DataFrame({"q": [f"{number}" for number in range(20)]})
        frame.llm.complete("q", base_url=f"{counted.url}/v1", api_key="any", model="m", max_concurrency=1)
    assert len(counted.seen) == 20
    assert len(served) == 1


def test_a_cancelled_request_is_hung_up(wire):
    """Nothing stays on the wire of what is taken back."""
    gone = threading.Event()
    serve = wire.serve
    wire.serve = lambda connection: (serve(connection), gone.set())
    wire.reply = None
    run = pd.DataFrame({"q": ["a"]}).llm.complete(
        "q", base_url=f"{wire.url}/v1", api_key="any", model="m", wait=False
    )
    while not wire.seen:
        threading.Event().wait(0.01)
    run.cancel()
    assert gone.wait(20)


def test_the_sdk_sends_where_its_http_library_does_not_say_how_it_connects(wire, monkeypatch):
    """Without its certificates and its proxy nothing is guessed."""
    monkeypatch.setattr(sdk_client.SdkTransport, "_route", lambda *_: None)
    assert send(plain(wire), "fast").raw == GOOD
    assert len(wire.seen) == 1
