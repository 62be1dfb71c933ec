"""Redirects are followed as the SDK follows them."""

from __future__ import annotations

import pytest
from api.wire import BODY, GOOD, Wire, both, http, listening, plain, send

from llmframe._values import FaultKind


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_as_the_sdk_does(wire, status):
    """307 and 308 post again, the others get; the key does not go to another address."""
    with listening(Wire()) as other:
        for target in (f"{wire.url}/b", f"{other.url}/b"):
            wire.reply = lambda request, target=target: (
                http() if b" /b " in request else http(b"", f"{status} Go", f"location: {target}")
            )
            arrived = []
            for way in ("aiohttp", "sdk"):
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
    """A load balancer may send http on to https of the same host."""
    safe, path = secure
    monkeypatch.setenv("SSL_CERT_FILE", path)
    with listening(Wire(http(b"", "308 Go", f"location: {safe.url}/v1/chat/completions"))) as balancer:
        ours, sdks = both(plain(balancer))
    assert ours.raw == sdks.raw == GOOD
    assert safe.headers(0).get("authorization") == safe.headers(1).get("authorization")


def test_redirects_that_never_end_end_the_run(wire):
    """The fault is fatal: no row can succeed."""
    wire.reply = http(b"", "307 Round", "location: /v1/chat/completions")
    for refused in both(plain(wire)):
        assert refused.fault.kind is FaultKind.FATAL
        assert "round and round" in refused.fault.message
