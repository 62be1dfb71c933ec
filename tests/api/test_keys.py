"""API keys: who is asked for them, when they are asked for again, and that none is shown."""

from __future__ import annotations

import asyncio
import logging
import pickle
import re
import traceback

import openai
import orjson
import pytest
from api.wire import GOOD, both, http, plain, send, send_all
from helpers import asked

import llmframe
from llmframe._api import Account
from llmframe._values import FaultKind


@pytest.mark.parametrize("kind", ["function", "async function", "azure"])
def test_a_key_that_is_refused_is_asked_for_again(wire, kind):
    """The function that gives the key is called once for all requests, and once more when the server says 401."""
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


def test_a_key_that_is_still_the_refused_one_is_not_asked_for_again(wire):
    """20 requests that meet the same 401 ask twice in all."""
    given = []
    wire.reply = http(b'{"error": {"message": "no"}}', "401 No")

    def provide() -> str:
        given.append(1)
        return "the-same-key"

    send_all(Account.of(None, provide, f"{wire.url}/v1"), "aiohttp", [None] * 20)
    assert len(given) == 2


@pytest.mark.parametrize("nothing", [None, "", b"sk-bytes", ("sk-tuple", 1)])
def test_a_function_that_gives_no_key_is_a_fatal_fault(wire, nothing):
    for refused in both(Account.of(None, lambda: nothing, f"{wire.url}/v1")):
        assert refused.fault.kind is FaultKind.FATAL
        assert "api_key" in refused.fault.message
        assert "sk-" not in refused.fault.message
    assert not wire.seen


def test_a_function_that_gives_the_key_too_late_is_cut_by_the_timeout(wire):
    """`timeout` is for the key too; nothing was billed meanwhile."""

    async def never() -> str:
        await asyncio.sleep(3600)
        return ""

    refused = send(Account.of(None, never, f"{wire.url}/v1"), "aiohttp", timeout=0.3)
    assert (refused.fault.code, refused.fault.uncertain) == ("timeout", False)


def test_whitespace_around_a_key_is_not_sent(wire):
    """A key that was read from a file has a line break at its end."""
    assert send(plain(wire, "a-key-from-a-file\n"), "aiohttp").raw == GOOD
    assert wire.headers()["authorization"] == "Bearer a-key-from-a-file"


def test_whitespace_around_a_key_that_a_function_gives_is_not_sent(wire):
    assert send(Account.of(None, lambda: "a-key\n", f"{wire.url}/v1"), "aiohttp").raw == GOOD
    assert wire.headers()["authorization"] == "Bearer a-key"


SECRET = "sk-proj-0123456789abcdefghij"


def test_a_header_from_the_environment_that_cannot_be_sent_is_named(wire, monkeypatch):
    """The SDK reads some variables by itself."""
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1\norg-2")
    for refused in both(plain(wire)):
        assert refused.fault.kind is FaultKind.FATAL
        assert "header 'OpenAI-Organization' cannot be sent; its character 6 of 11" in refused.fault.message
    assert not wire.seen


@pytest.mark.parametrize("mode", ["live", "batch"])
@pytest.mark.parametrize("whose", ["function", "async client", "sync client", "own pool"])
@pytest.mark.parametrize(
    ("around", "said"), [("%s\u200b", r"29 of 29 is U\+200B"), ("%s\n%s", r"29 of 57 is U\+000A")]
)
def test_a_function_that_gives_a_key_that_no_header_can_hold_ends_the_run(mode, whose, around, said, wire):
    """The character is named, the key is not shown, and nothing is sent."""

    def provide() -> str:
        return around.replace("%s", SECRET)

    async def provide_later() -> str:
        return provide()

    address = f"{wire.url}/v1"
    own_pool = openai.DefaultAsyncHttpxClient()
    settings = {
        "function": {"base_url": address, "api_key": provide},
        "async client": {"client": openai.AsyncOpenAI(base_url=address, api_key=provide_later)},
        "sync client": {"client": openai.OpenAI(base_url=address, api_key=provide)},
        "own pool": {
            "client": openai.AsyncOpenAI(base_url=address, api_key=provide_later, http_client=own_pool)
        },
    }[whose]
    with pytest.raises(
        llmframe.StoppedError, match=f"api_key: .*function gave a key that cannot be sent; .*{said}"
    ) as stopped:
        llmframe.complete(["a", "b", "c"], model="m", mode=mode, **settings)
    assert SECRET not in str(stopped.value) + llmframe.last_run().failures.to_string()
    assert not wire.seen


@pytest.mark.parametrize("how", ["argument", "option", "function", "client", "header"])
def test_keys_are_never_shown(wire, caplog, how):
    """Not in errors, tracebacks, logs, reprs, failures or attrs, even where the server repeats the key."""
    error = {"error": {"message": f"Incorrect API key provided: {SECRET}.", "code": "invalid_api_key"}}
    wire.reply = http(orjson.dumps(error), "401 Unauthorized")
    address = f"{wire.url}/v1"
    settings = {
        "argument": {"base_url": address, "api_key": SECRET},
        "option": {"base_url": address},
        "function": {"base_url": address, "api_key": lambda: SECRET},
        "client": {"client": openai.AsyncOpenAI(base_url=address, api_key=SECRET)},
        "header": {
            "base_url": address,
            "api_key": "any",
            "extra_headers": {"Authorization": f"Bearer {SECRET}"},
        },
    }[how]
    caplog.set_level(logging.DEBUG, logger="llmframe")
    frame = asked(2)
    with llmframe.option_context(**({"api_key": SECRET} if how == "option" else {})):
        with pytest.raises(llmframe.StoppedError) as stopped:
            frame.llm.complete("q", into="a", model="m", error_into="why", **settings)
        run, error = llmframe.last_run(), stopped.value
        shown = [repr(llmframe.options)]
    assert "Incorrect API key provided: ***" in str(error)
    shown += [
        str(error),
        repr(error),
        repr(run),
        run._repr_html_(),
        run.failures.to_string(),
        str(frame.attrs),
    ]
    shown += [caplog.text, repr(run._settings), repr(run._plan), *traceback.format_exception(error)]
    assert not [text for text in shown if SECRET in text]
    assert SECRET.encode() not in pickle.dumps([error, run, llmframe.options])


def test_credentials_in_the_address_are_refused_and_not_shown():
    """HTTP clients refuse them beside a key; they are refused before anything is sent."""
    with pytest.raises(ValueError, match="without credentials") as refused:
        llmframe.complete(["x"], model="m", base_url=f"http://me:{SECRET}@127.0.0.1:9/v1", api_key="any")
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"api_key": "given"}, "set api_key= to a valid key"),
        ({"client": openai.OpenAI}, "give the client of client= a valid key"),
        ({"client": openai.AsyncOpenAI}, "give the client of client= a valid key"),
        ({}, "set OPENAI_API_KEY to a valid key"),
    ],
    ids=["argument", "client", "async client", "environment"],
)  # fmt: skip
@pytest.mark.parametrize("code", ["invalid_api_key", "no_such_thing", None])
@pytest.mark.parametrize("mode", ["live", "batch"])
def test_a_key_that_is_refused_is_named_by_where_it_comes_from(
    wire, monkeypatch, arguments, named, code, mode
):
    """Whatever code the 401 has."""
    monkeypatch.setenv("OPENAI_API_KEY", "of-the-environment")
    wire.reply = http(orjson.dumps({"error": {"message": "No.", "code": code}}), "401 Unauthorized")
    if "client" in arguments:
        arguments = {"client": arguments["client"](base_url=f"{wire.url}/v1")}
    else:
        llmframe.options.base_url = f"{wire.url}/v1"
    with pytest.raises(llmframe.StoppedError, match=re.escape(named)):
        asked(3).llm.complete("q", model="m", mode=mode, **arguments)
