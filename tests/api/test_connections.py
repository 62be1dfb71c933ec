"""Connections are used again, closed with what is cancelled, and opened by the SDK where only it can."""

from __future__ import annotations

import threading

from api.wire import GOOD, Wire, listening, plain, send
from helpers import asked

from llmframe._api import sdk_client


def test_connections_are_used_again():
    """20 requests one after another take one connection."""
    with listening(Wire()) as counted:
        served = []
        serve = counted.serve
        counted.serve = lambda connection: (served.append(1), serve(connection))
        asked(20).llm.complete("q", base_url=f"{counted.url}/v1", api_key="any", model="m", max_concurrency=1)
    assert len(counted.seen) == 20
    assert len(served) == 1


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
