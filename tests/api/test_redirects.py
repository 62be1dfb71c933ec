"""Redirects are followed as the SDK follows them, within the server's own origin."""

from __future__ import annotations

import pytest
from api.wire import BODY, GOOD, WAYS, Wire, both, http, listening, plain, send
from helpers import asked

import llmframe
from llmframe._values import FaultKind


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_within_the_origin_are_followed_as_the_sdk_does(wire, status):
    """307 and 308 post again, the others get; the key goes with them."""
    wire.reply = lambda request: (
        http() if b" /b " in request else http(b"", f"{status} Go", f"location: {wire.url}/b")
    )
    arrived = []
    for way in WAYS:
        assert send(plain(wire), way).raw == GOOD
        arrived.append(
            (
                wire.seen[-1].split(b" ")[:2],
                wire.seen[-1].endswith(BODY),
                wire.headers().get("authorization"),
            )
        )
    assert arrived[0] == arrived[1]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_origin_is_named_and_nothing_is_sent_there(wire, status):
    """The key would not go there, and a post may become a get; the query may hold a token and is not shown."""
    with listening(Wire()) as other:
        wire.reply = http(b"", f"{status} Go", f"location: {other.url}/v2?token=secret")
        for refused in both(plain(wire)):
            assert (refused.fault.kind, refused.fault.code) == (FaultKind.ELSEWHERE, "invalid_base_url")
            assert refused.fault.message == f"the server redirects to {other.url}/v2; set base_url"
        assert not other.seen


@pytest.mark.parametrize("location", ["https://localhost/v1", "//elsewhere.example/", "http://host:port/"])
def test_another_scheme_host_or_port_is_another_origin(wire, location):
    """So is an address that cannot be read."""
    wire.reply = http(b"", "308 Go", f"location: {location}")
    for refused in both(plain(wire)):
        assert "set base_url" in refused.fault.message
    assert len(wire.seen) == 2


def test_a_batch_names_a_redirect_to_another_origin(wire, swift):
    """The SDK follows it and is refused there for want of a key."""
    del swift
    with listening(Wire(http(b"{}", "401 No key"))) as other:
        wire.reply = http(b"", "302 Go", f"location: {other.url}/v1/batches")
        with pytest.raises(llmframe.StoppedError, match=f"redirects to {other.url}/v1/batches; set base_url"):
            asked(1).llm.complete("q", base_url=f"{wire.url}/v1", api_key="any", model="m", mode="batch")


def test_redirects_that_never_end_end_the_run(wire):
    """The fault is fatal: no row can succeed."""
    wire.reply = http(b"", "307 Round", "location: /v1/chat/completions")
    for refused in both(plain(wire)):
        assert refused.fault.kind is FaultKind.FATAL
        assert "round and round" in refused.fault.message
