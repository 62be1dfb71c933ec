"""What is made of each response: the same as the SDK makes of it."""

from __future__ import annotations

import gzip

import pytest
from api.wire import GOOD, both, http, plain, send, send_all

from llmframe._api import Refused
from llmframe._values import FaultKind


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
        (b"<html><h1>Gateway</h1></html>", ()),
    ],
)  # fmt: skip
def test_refusals_mean_what_they_mean_to_the_sdk(wire, body, headers):
    """Every status with every kind of body becomes the same fault in both ways."""
    media = "text/html" if body.startswith(b"<") else "application/json"

    def replying(status):
        reply = http(body, f"{status} Whatever", *headers, media=media)
        return lambda: setattr(wire, "reply", reply)

    statuses = (201, 400, 401, 402, 403, 404, 407, 408, 409, 410, 413, 422, 425, 429, 500, 503, 504, 529)
    ours, sdks = (
        send_all(plain(wire), way, [replying(status) for status in statuses]) for way in ("aiohttp", "sdk")
    )
    assert ours == sdks
    assert all(isinstance(result, Refused) for result in ours)


@pytest.mark.slow
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
        (http(gzip.compress(GOOD, mtime=0)[:-30], "200 OK", "content-encoding: gzip"), "stay"),
        (http(b"hello", "200 OK", "content-encoding: gzip"), "stay"),
        (b"\0\1\2 this is not HTTP\r\n\r\n", "close"),
        (http(b"{"), "stay"),
        (http(b"[" * 200_000), "stay"),
        (http(b"[1]"), "stay"),
        (http(b'{"ok": true}'), "stay"),
        (http(b'{"error": {"message": "Slow down", "code": 503}}'), "stay"),
        (http(b'{"error": {"message": "Slow down", "code": 503}, "choices": null}'), "stay"),
        (http(b'{"error": {"message": "odd", "code": 1}}'), "stay"),
        (http(b'{"error": {"message": "No such key", "code": "401"}}'), "stay"),
        (http(b'{"error": {"message": "odd", "code": true}}'), "stay"),
        (http(b'{"error": "the model is being loaded", "choices": []}'), "stay"),
        (http(b"", "307 Round", "location: /v1/chat/completions"), "stay"),
    ],
)  # fmt: skip
def test_a_broken_answer_means_what_it_means_to_the_sdk(wire, reply, then):
    """Kind and code of the fault are the same in both ways, and whether the answer may have been billed."""
    wire.reply, wire.then = reply, then
    ours, sdks = (result.fault for result in both(plain(wire)))
    assert (ours.kind, ours.code, ours.uncertain) == (sdks.kind, sdks.code, sdks.uncertain)


@pytest.mark.parametrize("reply", [None, http()[:-20]], ids=["hangs", "stops half-way"])
def test_silence_is_cut_by_the_timeout(wire, reply):
    """A hang is a passing fault that may have been billed."""
    wire.reply = reply
    ours, sdks = (result.fault for result in both(plain(wire), timeout=1.0))
    assert (ours.kind, ours.code, ours.uncertain) == (sdks.kind, sdks.code, sdks.uncertain)
    assert ours.code == "timeout"


@pytest.mark.parametrize(
    ("reply", "then"),
    [
        (http(), "close"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + GOOD, "close"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + http(), "stay"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD), "stay"),
        (http(gzip.compress(GOOD, mtime=0), "200 OK", "content-encoding: gzip"), "stay"),
        (http(GOOD, "201 Created"), "stay"),
        (http(GOOD).replace(b"application/json", b"text/plain"), "stay"),
        (http(GOOD, "200 OK", f"content-security-policy: {'a' * 50_000}"), "stay"),
    ],
    ids=["closing", "HTTP/1.0", "1xx", "chunked", "gzip", "201", "text", "a long header"],
)  # fmt: skip
def test_answers_are_read_however_they_are_wrapped(wire, reply, then):
    """What HTTP allows is read, three times over one pool."""
    wire.reply, wire.then = reply, then
    assert send(plain(wire), "aiohttp", before=[None] * 3).raw == GOOD


def test_of_answers_that_come_together_the_limits_of_one_are_read(wire):
    """Limits are read again after `same_limits_seconds`, and wherever nothing is left of one."""
    wire.reply = http(GOOD, "200 OK", "x-ratelimit-limit-requests: 60")
    many = send_all(plain(wire), "aiohttp", [None] * 3, same_limits_seconds=3_600)
    each = send_all(plain(wire), "aiohttp", [None] * 3, same_limits_seconds=0)
    wire.reply = http(GOOD, "200 OK", "x-ratelimit-limit-tokens: 9", "x-ratelimit-remaining-tokens: 0")
    last = send_all(plain(wire), "aiohttp", [None] * 3, same_limits_seconds=3_600)
    assert [reply.headers and reply.headers.remaining_tokens for reply in last] == [0, 0, 0]
    assert [reply.headers and reply.headers.limit_requests for reply in many] == [60, None, None]
    assert [reply.headers and reply.headers.limit_requests for reply in each] == [60, 60, 60]


def test_a_prompt_that_is_flagged_with_a_403_costs_its_row_only(wire):
    """Some gateways answer so when their content filter refuses a prompt."""
    wire.reply = http(b'{"error": {"message": "flagged", "code": "content_policy_violation"}}', "403 No")
    for refused in both(plain(wire)):
        assert refused.fault.kind is FaultKind.ROW
