"""Connections are used again, closed with what is cancelled, and opened by the SDK where only it can."""

from __future__ import annotations

import itertools
import socket
import threading

import pytest
from api.wire import GOOD, Wire, http, listening, plain, send, send_all
from helpers import asked

import llmframe
from llmframe._api import Refused, sdk_client


def test_connections_are_used_again():
    """20 requests one after another take one connection."""
    with listening(Wire()) as counted:
        served = []
        serve = counted.serve
        counted.serve = lambda connection: (served.append(1), serve(connection))
        asked(20).llm.complete("q", base_url=f"{counted.url}/v1", api_key="any", model="m", max_concurrency=1)
    assert len(counted.seen) == 20
    assert len(served) == 1


class ClosingWire(Wire):
    """A server whose connections bring one answer each, and do not say so."""

    def serve(self, connection):
        with connection:
            super()._answer(connection)
            if self.then == "stay":
                connection.recv(65_536)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


@pytest.mark.parametrize("then", ["close", "stay"], ids=["after the answer", "upon the next request"])
def test_a_server_that_closes_connections_without_saying_so_is_noticed_after_a_few(then):
    """From then on each connection is used once; the few requests may have been billed."""
    with listening(ClosingWire(then=then)) as wire:
        address = {"base_url": f"{wire.url}/v1", "api_key": "any", "model": "m"}
        asked(246).llm.complete("q", max_retries=20, max_concurrency=20, **address)
    run = llmframe.last_run()
    assert run.answered == 246
    assert run.uncertain <= 40


def test_single_connections_that_break_do_not_end_the_use_of_the_others(wire):
    """Three among many answers are no habit of the server."""
    requests = itertools.count(1)
    served = []
    serve = wire.serve

    def reply(_):
        if next(requests) % 300 == 0:
            raise OSError
        return http()

    wire.serve = lambda connection: (served.append(1), serve(connection))
    wire.reply = reply
    results = send_all(plain(wire), "aiohttp", [None] * 1_000)
    assert sum(isinstance(result, Refused) for result in results) == 3
    assert len(served) <= 5


def test_the_connection_of_a_cancelled_request_is_closed(wire):
    """The connection is closed, so that the server need not answer."""
    gone = threading.Event()
    serve = wire.serve
    wire.serve = lambda connection: (serve(connection), gone.set())
    wire.reply = None
    run = asked(1).llm.complete("q", base_url=f"{wire.url}/v1", api_key="any", model="m", wait=False)
    while not wire.seen:
        threading.Event().wait(0.01)
    run.cancel()
    assert gone.wait(20)


def test_the_sdk_sends_where_its_http_library_does_not_say_how_it_connects(wire, monkeypatch):
    """Certificates and proxy are not guessed."""
    monkeypatch.setattr(sdk_client.SdkTransport, "_route", lambda *_: None)
    assert send(plain(wire), "aiohttp").raw == GOOD
    assert len(wire.seen) == 1
