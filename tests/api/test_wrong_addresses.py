"""A base_url that leads elsewhere than to the API ends the run, and is named."""

from __future__ import annotations

import itertools
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from api.wire import GOOD, Wire, both, http, listening, plain
from helpers import asked

import llmframe
from llmframe._api import Account
from llmframe._values import FaultKind

PAGE = b"<!doctype html>\n<title>Welcome</title>"
ELSEWHERE = {
    "a web page": http(PAGE, media="text/html"),
    "a web page as JSON": http(PAGE),
    "an empty object": http(b"{}"),
    "a list": http(b"[]"),
    "null": http(b"null"),
    "nothing": http(b""),
    "text": http(b"It works!", media="text/plain"),
    "a message": http(b'{"message": "no Route matched with those values"}'),
    "a detail": http(b'{"detail": "Not Found"}'),
    "an error of the path": http(
        b'{"error": "Unexpected endpoint or method. (POST /chat/completions). Returning 200 anyway"}'
    ),
    "an error of the path in an object": http(b'{"error": {"message": "Unknown route /chat/completions"}}'),
    "another API": http(b'{"response": "Yes.", "done": true}'),
}


@pytest.mark.parametrize("reply", ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_200_of_another_server_or_path_ends_the_run_at_once(wire, reply):
    """The fault is the same in both ways, and its words name base_url and /v1."""
    wire.reply = reply
    ours, sdks = (result.fault for result in both(plain(wire)))
    assert ours == sdks
    assert (ours.kind, ours.code) == (FaultKind.ELSEWHERE, "unexpected_endpoint")
    with pytest.raises(llmframe.StoppedError, match=r"base_url .*/v1"):
        asked(100).llm.complete("q", base_url=f"{wire.url}/v1", api_key="any", model="m")
    assert len(wire.seen) < 60


@pytest.mark.parametrize("name", sorted(ELSEWHERE.keys() - {"a list"}))
def test_such_a_200_ends_a_run_by_batch_at_once(wire, swift, name):
    """An empty list of batches may be one."""
    del swift
    wire.reply = ELSEWHERE[name]
    with pytest.raises(llmframe.StoppedError, match=r"base_url .*/v1"):
        asked(9).llm.complete("q", base_url=f"{wire.url}/v1", api_key="any", model="m", mode="batch")
    assert len(wire.seen) == 1


@pytest.mark.slow
@pytest.mark.parametrize("reply", ELSEWHERE.values(), ids=ELSEWHERE)
def test_where_other_rows_are_answered_such_a_200_is_tried_again(wire, reply):
    """A page of maintenance or an empty body passes; no row is lost."""
    numbers = itertools.count()
    wire.reply = lambda _: reply if next(numbers) in {20, 30, 31, 32, 33} else http()
    run = asked(60).llm.complete(
        "q", base_url=f"{wire.url}/v1", api_key="any", model="m", max_concurrency=4, wait=False
    )
    run.result()
    assert (run.answered, run.retries) == (60, 5)


@pytest.mark.parametrize(
    "error",
    ["The model is overloaded", {"message": "The model gpt-x does not exist"}, {"message": "bad image url"}],
)
def test_an_error_with_status_200_that_is_not_about_the_path_keeps_its_meaning(wire, error):
    """An error of the moment or of the request is no wrong address."""
    wire.reply = http(json.dumps({"error": error}).encode())
    for refused in both(plain(wire)):
        assert refused.fault.code == "http_500"


@pytest.mark.parametrize(
    ("reply", "billed"), [(http(PAGE), False), (http(b'{"detail": "Not Found"}'), False), (http(b"{}"), True)]
)
def test_what_says_that_nothing_was_done_was_not_billed(wire, reply, billed):
    """A web page and words are certain; an empty object is not."""
    wire.reply = reply
    assert [refused.fault.uncertain for refused in both(plain(wire))] == [billed] * 2


@pytest.mark.parametrize("mode", ["live", "batch"])
def test_http_to_a_port_of_https_names_base_url(secure, swift, mode):
    """The server only breaks the connection; one handshake tells why."""
    del swift
    wire, _ = secure
    address = {"base_url": f"http://localhost:{wire.port}/v1", "api_key": "any", "model": "m"}
    with pytest.raises(llmframe.StoppedError, match="base_url must begin with https://"):
        asked(3).llm.complete("q", mode=mode, **address)


def test_a_server_that_says_so_is_believed(wire):
    """nginx, Apache and Go answer plain HTTP on such a port with a 400."""
    wire.reply = http(
        b"<html><center>The plain HTTP request was sent to HTTPS port</center></html>", "400 Bad Request"
    )
    for refused in both(plain(wire)):
        assert "base_url must begin with https://" in refused.fault.message


def test_a_connection_that_breaks_on_a_port_of_http_stays_a_passing_fault(wire):
    """The handshake fails there."""
    wire.reply, wire.then = b"", "reset"
    for refused in both(plain(wire)):
        assert (refused.fault.kind, refused.fault.code) == (FaultKind.PASSING, "connection_lost")


class _Plain(BaseHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""


def test_https_to_a_port_of_http_names_base_url():
    """A web server answers the handshake with a 400 in plain text."""
    with HTTPServer(("127.0.0.1", 0), _Plain) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        for refused in both(Account.of(None, "any", f"https://127.0.0.1:{server.server_port}/v1")):
            assert (refused.fault.kind, refused.fault.code) == (FaultKind.FATAL, "invalid_base_url")
            assert "base_url must begin with http://" in refused.fault.message
        server.shutdown()
        thread.join()


def test_an_answer_is_still_one():
    """The checks above take no answer for another server's."""
    with listening(Wire(http(GOOD, media="text/html"))) as wire:
        assert [reply.raw for reply in both(plain(wire))] == [GOOD] * 2
