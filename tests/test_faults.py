"""A run against a server that misbehaves, over real HTTP: no row lost, none mixed up, and what is paid twice is counted."""

import contextlib
import http.server
import json
import logging
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import traceback

import openai
import orjson
import pandas as pd
import pytest
from openapi import validator

import llmframe
from llmframe._api import http_client
from llmframe.testing import Fault, Limits, LocalServer, made_up_answer

MODEL = "gpt-6-luna"


def body(text, **more):
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}


def texts(*numbers):
    return [f"Tell me about the number {number}." for number in range(*numbers)]


def asked(rows):
    return pd.DataFrame({"q": texts(rows)})


def answers(frame):
    return [made_up_answer(body(text)) for text in frame["q"]]


def about(*numbers):
    """Return a condition for faults: the request is one of these rows'."""
    chosen = {f"Tell me about the number {number}." for number in numbers}
    return lambda request: request["messages"][-1]["content"] in chosen


def complete(frame, **settings):
    """Run a call and return its run, and what it raised, if anything."""
    try:
        frame.llm.complete("q", into="a", **settings)
    except llmframe.LLMFrameError as error:
        return llmframe.last_run(), error
    return llmframe.last_run(), None


def paid_again(server):
    return server.ledger.billed - len(server.ledger.billed_by_request)


# --- passing faults -------------------------------------------------------------------------------


def test_thousands_of_rows_survive_every_passing_fault_at_once(llm):
    """Each row has its own answer, and exactly the lost answers are paid twice and admitted."""
    kinds = ["500", "502", "503", "408", "409", "rate_limit", "reset", "truncated", "garbled"]
    llm.faults = [Fault(kind, rate=0.015, seed=seed, times_per_request=2) for seed, kind in enumerate(kinds)]
    llm.limits = Limits(requests_per_minute=90_000)
    frame = asked(2000)
    run, error = complete(frame, timeout=120)
    assert error is None
    assert frame["a"].tolist() == answers(frame)
    assert set(llm.ledger.statuses) >= {200, 500, 502, 503, 408, 409}
    assert paid_again(llm) == run.uncertain > 50
    assert run.sent == 2000
    assert run.sent + run.retries == llm.ledger.requests
    assert run.limited > 10


def test_rows_that_hang_or_are_refused_for_speed_are_asked_again(llm):
    """Timeouts and 429s cost no row its answer; what may have been billed is admitted."""
    llm.faults = [
        Fault("hang", rate=0.05, times_per_request=1),
        Fault("rate_limit", first=5),
        Fault("trickle", rate=0.02, seconds=30, times_per_request=1),
    ]
    llm.limits = Limits(requests_per_minute=60_000)
    frame = asked(150)
    run, error = complete(frame, timeout=2)
    assert error is None
    assert frame["a"].tolist() == answers(frame)
    assert run.limited >= 5
    assert paid_again(llm) <= run.uncertain
    assert run.uncertain >= llm.ledger.requests - 150 - run.limited - llm.ledger.statuses[500]


def test_a_slow_answer_is_waited_for_and_never_asked_twice(llm):
    """Trickling bodies are read to their end; no copy leaves meanwhile."""
    llm.faults = [Fault("trickle", rate=0.02, seconds=0.2)]
    complete(asked(250))
    assert llm.ledger.requests == 250


@pytest.mark.parametrize("headers", [True, False])
def test_runs_on_one_journal_share_a_limit(llm, headers):
    """Two runs at once, under one key, are hardly ever refused: each leaves the other its share."""
    with LocalServer(limits=Limits(requests_per_minute=6_000, burst=0.5), headers=headers) as server:
        frames = [asked(400), pd.DataFrame({"q": texts(400, 800)})]
        runs = [frame.llm.complete("q", into="a", base_url=server.base_url, wait=False) for frame in frames]
        for run, frame in zip(runs, frames, strict=True):
            run.result(60)
            assert frame["a"].tolist() == answers(frame)
        assert server.ledger.statuses[429] < (0.1 if headers else 0.25) * server.ledger.requests
        with contextlib.closing(sqlite3.connect(os.environ["LLMFRAME_JOURNAL"])) as journal:
            assert journal.execute("SELECT count(*) FROM report").fetchone() == (0,)


def test_retry_after_is_waited_for(llm):
    """Seconds that the server names are a lower bound, of a 503 and of a 429."""
    for kind in ("503", "rate_limit"):
        llm.reset()
        llm.faults = [Fault(kind, seconds=1.2, first=1)]
        _, error = complete(asked(1), journal=False)
        assert error is None
        first, second = llm.ledger.arrivals
        assert second - first >= 1.2


def test_an_answer_that_trickles_is_cut_off_by_the_timeout(llm):
    """`timeout` is for the whole answer, not for the pauses between its bytes."""
    llm.faults = [Fault("trickle", seconds=60, when=about(1))]
    frame = asked(3)
    began = time.monotonic()
    run, error = complete(frame, timeout=1, max_retries=1)
    assert time.monotonic() - began < 30
    assert error.run is run
    (failure,) = run.failures.itertuples()
    assert (failure.position, failure.code, failure.attempts) == (1, "timeout", 2)
    assert run.uncertain == 2
    assert frame["a"].isna().tolist() == [False, True, False]


def test_an_outage_in_mid_run_loses_no_row(llm):
    """Three seconds without a server: everything is answered in the end, and nothing failed."""
    with LocalServer(latency=0.05) as server:
        frame = asked(1500)
        run = frame.llm.complete("q", into="a", base_url=server.base_url, wait=False)
        assert server.ledger.wait_for(lambda ledger: ledger.answered >= 300, timeout=60)
        with server.outage():
            time.sleep(3)
            assert not run.done()
        run.result(120)
        assert frame["a"].tolist() == answers(frame)
        assert paid_again(server) <= run.uncertain
        assert run.retries > 0


@pytest.mark.parametrize(
    ("kind", "code"),
    [("500", "server_error"), ("reset", "connection_lost"), ("garbled", "unparsable_answer")],
)
def test_a_poisoned_row_fails_alone(llm, kind, code):
    """It is tried as often as allowed, has its reason and attempts, and costs no other row its answer."""
    llm.faults = [Fault(kind, when=about(7))]
    frame = asked(200)
    run, error = complete(frame, max_retries=2)
    assert isinstance(error, llmframe.CompletionError)
    assert not isinstance(error, llmframe.StoppedError)
    (failure,) = run.failures.itertuples()
    assert (failure.position, failure.code, failure.attempts) == (7, code, 3)
    assert failure.message
    expected = answers(frame)
    assert [text for row, text in enumerate(frame["a"]) if row != 7] == expected[:7] + expected[8:]
    assert error.result is frame


def test_rows_that_are_too_large_fail_as_those_rows(llm):
    """Too long for the model, and too large for the limit at any speed: no waiting, no retry, no stop."""
    llm.faults = [
        Fault("context_length_exceeded", when=about(*range(10))),
        Fault("too_large", when=about(*range(10, 13))),
    ]
    frame = asked(50)
    run, error = complete(frame)
    assert isinstance(error, llmframe.CompletionError)
    assert run.failures["code"].tolist() == ["context_length_exceeded"] * 10 + ["request_too_large"] * 3
    assert run.failures["attempts"].tolist() == [1] * 13
    assert frame["a"].tolist()[13:] == answers(frame)[13:]
    assert llm.ledger.requests == 50
    assert "{review:.8000}" in str(error)


def test_a_bad_request_among_the_first_rows_does_not_stop_the_run(llm):
    """A few 400s at the start are these rows' own."""
    llm.faults = [Fault("unsupported_parameter", when=about(0, 1, 2))]
    frame = asked(60)
    run, error = complete(frame)
    assert not isinstance(error, llmframe.StoppedError)
    assert run.failures["position"].tolist() == [0, 1, 2]
    assert frame["a"].tolist()[3:] == answers(frame)[3:]


# --- early stops ----------------------------------------------------------------------------------

STOPS = [
    ("invalid_api_key", "invalid_api_key", "OPENAI_API_KEY"),
    ("permission", "missing_scope", "run the same call again"),
    ("model_not_found", "model_not_found", "model="),
    ("insufficient_quota", "insufficient_quota", "add credit"),
]


@pytest.mark.parametrize(("errors", "after"), [("raise", 0), ("coerce", 0), ("raise", 200), ("coerce", 200)])
@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: stop[0])
def test_what_no_row_can_survive_stops_within_a_few_requests(llm, errors, after, stop):
    """At the start and in mid-run: what is done is kept, and the error says what to change."""
    kind, code, remedy = stop
    llm.faults = [Fault(kind, after=after)]
    frame = asked(600)
    run, error = complete(frame, errors=errors, max_concurrency=20)
    assert isinstance(error, llmframe.StoppedError)
    assert error.code == code
    assert str(error).splitlines()[-1].startswith("To go on: ")
    assert remedy in str(error).splitlines()[-1]
    assert error.run is run
    assert error.result is frame
    assert run.status == "stopped"
    assert llm.ledger.requests <= after + 41
    assert run.answered == llm.ledger.answered == after
    assert ("a" in frame) == bool(after)
    if after:
        assert frame["a"].notna().sum() == after
        llm.faults = []
        frame.llm.complete("q", into="a")
        assert frame["a"].tolist() == answers(frame)
        assert llm.ledger.billed == 600


@pytest.mark.parametrize("errors", ["raise", "coerce"])
def test_a_parameter_that_every_row_trips_over_stops_the_run(llm, errors):
    """The API's own words are shown, and which parameter to leave out."""
    llm.faults = [Fault("unsupported_parameter")]
    frame = asked(500)
    run, error = complete(frame, temperature=0.5, errors=errors)
    assert isinstance(error, llmframe.StoppedError)
    assert error.code == "unsupported_parameter"
    assert "'temperature' is not supported" in str(error)
    assert "leave out temperature=" in str(error)
    assert llm.ledger.requests <= 60
    assert run.answered == 0
    assert "a" not in frame


def test_answers_that_are_all_paid_and_empty_stop_the_run(llm):
    """Twenty are enough to say what to raise; they are in the journal, and not asked again."""
    llm.faults = [Fault("length_empty")]
    run, error = complete(asked(1000), max_concurrency=10)
    assert isinstance(error, llmframe.StoppedError)
    assert error.code == "empty_answers"
    assert "max_completion_tokens" in str(error)
    billed = llm.ledger.billed
    assert 20 <= billed <= 40
    assert run.failures["code"].tolist() == ["length"] * billed
    llm.faults = []
    frame = asked(1000)
    run, error = complete(frame)
    assert llm.ledger.billed == 1000
    assert (run.from_journal, run.failed) == (billed, billed)
    assert frame["a"].notna().sum() == 1000 - billed


@pytest.mark.parametrize("errors", ["raise", "coerce"])
def test_a_server_that_is_not_there_is_said_soon(llm, errors):
    """Nobody waits through a row's seven attempts to learn of a wrong address."""
    address = llm.base_url
    llm.stop()
    frame = asked(1000)
    began = time.monotonic()
    run, error = complete(frame, base_url=address, errors=errors)
    assert time.monotonic() - began < 20
    assert isinstance(error, llmframe.StoppedError)
    assert error.code == "unreachable"
    assert "check the network and base_url" in str(error)
    assert run.uncertain == 0
    assert run.sent + run.retries < 100


def test_a_server_that_takes_no_connection_is_said_soon_too(llm, monkeypatch):
    """An address that swallows packets is unreachable, not slow: nothing there was billed."""
    monkeypatch.setattr(http_client, "CONNECT_SECONDS", 0.4)
    with socket.socket() as hole, contextlib.ExitStack() as fillers:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        for _ in range(3):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())
        time.sleep(0.1)
        run, error = complete(asked(3), base_url=f"http://127.0.0.1:{hole.getsockname()[1]}/v1", timeout=600)
    assert isinstance(error, llmframe.StoppedError)
    assert error.code == "unreachable"
    assert run.uncertain == 0


def test_a_network_that_dies_in_mid_run_stops_it(llm):
    """After as long as one row's retries may take; no row failed, what came is in the column, and it goes on later."""
    with LocalServer(latency=0.05) as server:
        frame = asked(3000)
        run = frame.llm.complete(
            "q",
            into="a",
            base_url=server.base_url,
            wait=False,
            max_concurrency=200,
            max_retries=2,
            errors="coerce",
        )
        assert server.ledger.wait_for(lambda ledger: ledger.answered >= 400, timeout=60)
        server.down()
        down = time.monotonic()
        with pytest.raises(llmframe.StoppedError) as caught:
            run.result(120)
        assert time.monotonic() - down < 60
        assert caught.value.code == "unreachable"
        assert len(run.failures) <= 1  # the row that met the end
        assert frame["a"].notna().sum() == run.answered >= 400
        assert run.retries < 1500
        server.up()
        frame.llm.complete("q", into="a", base_url=server.base_url)
        assert frame["a"].tolist() == answers(frame)


def test_what_is_in_flight_at_a_stop_is_awaited_and_kept(llm):
    """Slow answers that are paid already land in the journal and in the column."""
    llm.faults = [
        Fault("trickle", seconds=1.5, when=about(*range(10))),
        Fault("insufficient_quota", when=about(10)),
    ]
    frame = asked(2000)
    _, error = complete(frame, max_concurrency=11)
    assert error.code == "insufficient_quota"
    assert frame["a"].tolist()[:10] == answers(frame)[:10]
    assert llm.ledger.abandoned == 0
    assert llm.ledger.billed == frame["a"].notna().sum()
    frame = asked(10)
    frame.llm.complete("q", into="a", mode="offline")
    assert frame["a"].tolist() == answers(frame)


# --- how many at once -----------------------------------------------------------------------------


@pytest.mark.parametrize("faulty", [False, True])
def test_one_at_a_time_is_strictly_in_order(llm, faulty):
    """max_concurrency=1 sends a row when the one before is through, retries included."""
    llm.faults = [Fault("500", rate=0.1, times_per_request=1)] if faulty else []
    frame = asked(40)
    _, error = complete(frame, max_concurrency=1)
    assert error is None
    arrived = [request["messages"][0]["content"] for request in llm.ledger.bodies]
    assert list(dict.fromkeys(arrived)) == frame["q"].tolist()
    assert arrived == sorted(arrived, key=frame["q"].tolist().index)
    assert (len(arrived) > 40) == faulty
    assert llm.ledger.max_in_flight == 1


@pytest.mark.parametrize("most", [2, 7, 40])
def test_max_concurrency_is_never_exceeded(most):
    """Also with retries, and with answers of every length."""
    with LocalServer(latency=lambda chance: chance.random() / 20) as server:
        server.faults = [
            Fault("500", rate=0.1, times_per_request=1),
            Fault("garbled", rate=0.1, times_per_request=1),
        ]
        frame = asked(most * 12)
        settings = {"base_url": server.base_url, "api_key": "any", "model": MODEL}
        _, error = complete(frame, max_concurrency=most, **settings)
        assert error is None
        assert most / 2 < server.ledger.max_in_flight <= most


# --- what is sent ---------------------------------------------------------------------------------


def test_every_request_satisfies_the_published_document(llm):
    """Templates, system texts, message arrays with images, and many parameters: all are valid requests."""
    frame = pd.DataFrame(
        {
            "q": ["How much?", 'Quotes " and \\ and {braces}', "Größe 😀\x00\u2028", "l" * 5000],
            "plain": [[{"role": "user", "content": "Hello"}]] * 4,
            "price": [1.5, 2.0, 3.25, 1e9],
            "talk": [
                [{"role": "user", "content": "Hello"}],
                [
                    {"role": "developer", "content": "Be brief."},
                    {"role": "user", "content": [{"type": "text", "text": "a"}]},
                ],
                [
                    {"role": "user", "content": "Hi"},
                    {"role": "assistant", "content": "Yes?"},
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "What is this?"},
                            {
                                "type": "image_url",
                                "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"},
                            },
                            {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
                        ],
                    },
                ],
                [
                    {"role": "user", "content": "Weather?"},
                    {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [
                            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                        ],
                    },
                    {"role": "tool", "tool_call_id": "1", "content": "Rain"},
                ],
            ],
        }
    )
    shape = {
        "type": "json_schema",
        "json_schema": {
            "name": "answer",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {"label": {"type": "string"}},
                "required": ["label"],
                "additionalProperties": False,
            },
        },
    }
    llm_settings = [
        {
            "temperature": 0,
            "top_p": 1.0,
            "seed": 1,
            "stop": ["\n", "END"],
            "presence_penalty": 0.5,
            "frequency_penalty": -1,
        },
        {
            "reasoning_effort": "low",
            "verbosity": "low",
            "max_completion_tokens": 200,
            "service_tier": "flex",
            "store": False,
        },
        {
            "logprobs": True,
            "top_logprobs": 3,
            "logit_bias": {"50256": -100},
            "user": "me",
            "metadata": {"a": "b"},
        },
        {
            "response_format": shape,
            "prompt_cache_key": "k",
            "safety_identifier": "s",
            "extra_body": {"max_tokens": 50},
        },
        {
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
                }
            ],
            "tool_choice": "none",
            "parallel_tool_calls": False,
        },
    ]
    calls = [
        {"column": "q"},
        {"column": "q", "prompt": "One word, positive or negative:"},
        {"prompt": "{q} for {price:.2f}?", "system": "Prices are in {price} euro."},
        {"column": "talk"},
        {"column": "plain", "system": "Answer in French."},
        {
            "prompt": lambda row: [
                {"role": "system", "content": "Brief."},
                {"role": "user", "content": row["q"]},
            ]
        },
    ]
    for call in calls:
        for number, settings in enumerate(
            [{}, *llm_settings] if call == {"column": "q"} else [llm_settings[0]]
        ):
            frame.llm.complete(into=f"a{number}", overwrite=True, **call, **settings)
    bodies = llm.ledger.bodies
    assert len(bodies) > 40
    for sent in bodies:
        validator("CreateChatCompletionRequest").validate(sent)


# --- clients and keys -----------------------------------------------------------------------------


class Recorder(http.server.BaseHTTPRequestHandler):
    """A route that notes path and headers, and answers what it is told."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        content = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((self.path, headers, json.loads(content)))
        status, kind, reply = self.server.reply
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        """Say nothing."""


GOOD = orjson.dumps(
    {
        "choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    }
)


@pytest.fixture
def route():
    """Give a tiny server that records every request."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        server.daemon_threads = True
        server.seen, server.reply = [], (200, "application/json", GOOD)
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


ODD = {
    "refusal": b'{"choices":[{"message":{"content":null,"refusal":"No \\ud83d"},"finish_reason":"stop"}]}',
    "content": b'{"choices":[{"message":{"content":"Yes \\ud83d\\ude00 \\ud83d"},"finish_reason":"stop"}]}',
    "model": GOOD.replace(b'"usage"', b'"model":"m\\ud83d","usage"'),
    "tier": GOOD.replace(b'"usage"', b'"service_tier":"t\\udc00","usage"'),
    "more tokens than SQLite counts": GOOD.replace(b":1,", b":%d," % 2**63),
    "more tokens than JSON counts": GOOD.replace(b":1,", b":1" + b"0" * 400 + b","),
    "a surrogate and very many tokens": GOOD.replace(b":1,", b":1" + b"0" * 400 + b',"x":"\\ud83d",'),
    "no end of tokens": GOOD.replace(b'"usage":{', b'"usage":{"total_tokens":1' + b"0" * 310 + b","),
}


@pytest.mark.filterwarnings("ignore::llmframe.CompletionWarning")
@pytest.mark.parametrize("reply", ODD.values(), ids=ODD)
@pytest.mark.parametrize("ours", [True, False], ids=["our client", "the user's"])
def test_an_answer_with_odd_text_or_numbers_costs_no_other_its_place(route, tmp_path, reply, ours):
    """Half of a surrogate pair and numbers beyond all bounds: the journal keeps it, and reads it back."""
    route.reply = (200, "application/json", reply)
    account = {"base_url": f"{route.url}/v1", "api_key": "any"}
    if not ours:
        account = {"client": openai.OpenAI(**account)}
    journal = tmp_path / "j.sqlite"
    frame = asked(3)
    for _ in range(2):
        frame.llm.complete(
            "q",
            into="a",
            error_into="why",
            errors="coerce",
            model="m",
            journal=journal,
            overwrite=True,
            **account,
        )
        assert llmframe.last_run().status == "done"
        said = frame["a"].fillna(frame["why"]).tolist()
        assert said == said[:1] * 3
        assert said[0] in {"refusal: the model refused: No \ufffd", "Yes \U0001f600 \ufffd", "Yes."}
        assert llmframe.last_run().tokens.total < 100
    assert len(route.seen) == 3
    frame.llm.to_csv(tmp_path / "out.csv")
    exported = subprocess.run(
        [sys.executable, "-m", "llmframe", "journal", "export", tmp_path / "out.jsonl"],
        env={**os.environ, "LLMFRAME_JOURNAL": str(journal)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert exported.returncode == 0, exported.stderr
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 3


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
def test_azure_keeps_its_deployment_and_version(route, make, path):
    """Path, api-version and key arrive as the client has them, sync and async."""
    frame = asked(2)
    frame.llm.complete("q", into="a", client=make(route.url), model="mine", extra_headers={"X-Team": "blue"})
    assert frame["a"].tolist() == ["Yes.", "Yes."]
    assert {seen[0] for seen in route.seen} == {f"{path}?api-version=2026-01-01"}
    for _, headers, sent in route.seen:
        assert headers["api-key"] == "azure-secret-key"
        assert headers["x-team"] == "blue"
        assert sent["model"] == "mine"
    assert sorted(sent["messages"][0]["content"] for _, _, sent in route.seen) == texts(2)


def test_a_token_provider_of_an_async_azure_client_is_asked_for_each_request(route):
    """The user's own async client goes through the SDK, which asks each time."""
    given = []

    def provide():
        given.append("token")
        return f"token-{len(given)}"

    client = openai.AsyncAzureOpenAI(
        azure_endpoint=route.url, api_version="v", azure_ad_token_provider=provide
    )
    asked(2).llm.complete("q", client=client, model="mine", max_concurrency=1)
    assert [headers["authorization"] for _, headers, _ in route.seen] == ["Bearer token-1", "Bearer token-2"]


@pytest.mark.parametrize("kind", ["OpenAI", "AsyncOpenAI"])
def test_a_clients_own_headers_are_kept(route, kind):
    """Organisation, project, default headers and query of sync and async clients arrive."""
    client = getattr(openai, kind)(
        base_url=f"{route.url}/v1",
        api_key="client-key",
        organization="org-mine",
        project="proj-mine",
        default_headers={"X-Default": "kept"},
        default_query={"tenant": "t1"},
    )
    asked(1).llm.complete("q", client=client, model="m", extra_headers={"X-Extra": "sent"})
    ((path, headers, _),) = route.seen
    assert path == "/v1/chat/completions?tenant=t1"
    assert headers["authorization"] == "Bearer client-key"
    assert headers["openai-organization"] == "org-mine"
    assert headers["openai-project"] == "proj-mine"
    assert (headers["x-default"], headers["x-extra"]) == ("kept", "sent")


def test_a_sync_client_may_have_a_function_for_a_key(route):
    """The twin asks the same function."""
    client = openai.OpenAI(base_url=f"{route.url}/v1", api_key=lambda: "from-function")
    asked(1).llm.complete("q", client=client, model="m")
    assert route.seen[0][1]["authorization"] == "Bearer from-function"


SECRET = "sk-proj-0123456789abcdefghij"


@pytest.mark.parametrize("how", ["argument", "option", "function", "client", "header"])
def test_keys_are_never_shown(route, caplog, how):
    """Not in errors, tracebacks, logs, reprs, failures or attrs, even where the server repeats the key."""
    error = {"error": {"message": f"Incorrect API key provided: {SECRET}.", "code": "invalid_api_key"}}
    route.reply = (401, "application/json", orjson.dumps(error))
    address = f"{route.url}/v1"
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
        run, error = complete(frame, model="m", error_into="why", **settings)
        shown = [repr(llmframe.options)]
    assert isinstance(error, llmframe.StoppedError)
    assert "Incorrect API key provided: ***" in str(error)
    shown += [
        str(error),
        repr(error),
        repr(run),
        run._repr_html_(),
        run.failures.to_string(),
        str(frame.attrs),
    ]
    shown += [caplog.text, repr(run._call), repr(run._plan), *traceback.format_exception(error)]
    assert not [text for text in shown if SECRET in text]


def test_credentials_in_the_address_are_refused_and_not_shown():
    """HTTP clients refuse them beside a key; they are refused before anything is sent."""
    with pytest.raises(ValueError, match="without credentials") as refused:
        llmframe.complete(["x"], model="m", base_url=f"http://me:{SECRET}@127.0.0.1:9/v1", api_key="any")
    assert SECRET not in str(refused.value)


# --- odd servers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        ((200, "text/html", b"<html>Please log in</html>"), "unparsable_answer", "not a JSON object"),
        ((200, "application/json", b"[1, 2]"), "unparsable_answer", "not a JSON object"),
        ((200, "application/json", b'{"ok": true}'), "unparsable_answer", "no choices"),
        (
            (200, "application/json", b'{"error": {"message": "Slow down", "code": 503}}'),
            "http_503",
            "Slow down",
        ),
        (
            (502, "text/html", b"<html>\n<h1>502 Bad Gateway</h1>\n</html>"),
            "http_502",
            r"HTTP 502 \(Bad Gateway\)",
        ),
        ((500, "text/plain", b"oops"), "http_500", "."),
    ],
)
def test_odd_replies_fail_their_row_with_words(route, reply, code, words):
    """Web pages, bare lists and errors with status 200 become a row's reason."""
    route.reply = reply
    run, error = complete(asked(1), base_url=f"{route.url}/v1", api_key="any", model="m", max_retries=0)
    assert isinstance(error, llmframe.CompletionError)
    (failure,) = run.failures.itertuples()
    assert failure.code == code
    assert re.search(words, failure.message)
    assert "<" not in failure.message
