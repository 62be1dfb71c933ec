"""Faults that the local server injects into chat completions."""

import asyncio
import json
import threading
import time

import aiohttp
import numpy as np
import pytest
from testing.client import ask, call, content_of, statuses

from llmframe.testing import Fault, LocalServer, Reply, made_up_answer
from llmframe.testing._settings import ANSWER_FAULTS, ERROR_FAULTS, FAULT_KINDS

ERROR_KINDS = {
    "408": (408, None),
    "409": (409, None),
    "500": (500, None),
    "503": (503, None),
    529: (529, None),
    "rate_limit": (429, "rate_limit_exceeded"),
    "too_large": (429, "rate_limit_exceeded"),
    "insufficient_quota": (429, "insufficient_quota"),
    "invalid_api_key": (401, "invalid_api_key"),
    "permission": (403, "missing_scope"),
    "model_not_found": (404, "model_not_found"),
    "context_length_exceeded": (400, "context_length_exceeded"),
    "unsupported_parameter": (400, "unsupported_parameter"),
}


@pytest.mark.parametrize("kind", ERROR_KINDS)
def test_an_error_fault_answers_with_the_apis_body(server, kind):
    """Each error has its status and code, and bills nothing."""
    server.faults = [Fault(kind)]
    status, answer, _ = call(server, ask())
    assert (status, answer["error"]["code"]) == ERROR_KINDS[kind]
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert (server.ledger.billed, server.ledger.answered, server.ledger.statuses) == (0, 0, {status: 1})


def test_every_error_kind_is_tested():
    """The list of errors above is complete, and so are the kinds."""
    kinds = {kind for kind in ERROR_KINDS if isinstance(kind, str)}
    assert kinds | {"502"} == set(ERROR_FAULTS)
    assert {"reset", "hang", "truncated", "garbled", "trickle"} == FAULT_KINDS - ERROR_FAULTS - ANSWER_FAULTS


def test_a_bad_gateway_is_a_page_of_html(server):
    """502 comes from a proxy that knows no JSON."""
    server.faults = [Fault("502")]
    status, answer, headers = call(server, ask())
    assert status == 502
    assert headers["content-type"] == "text/html"
    assert b"Bad Gateway" in answer


def test_a_rate_limit_says_when_to_come_back(server):
    """The 429 carries `retry-after` in seconds and milliseconds; other errors when told to."""
    server.faults = [Fault("rate_limit")]
    _, _, headers = call(server, ask())
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("1", "50")
    server.faults = [Fault("503", seconds=2.5)]
    _, _, headers = call(server, ask())
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("3", "2500")


def test_too_large_names_limit_and_size(server):
    """The 429 that no waiting helps has the API's wording."""
    server.faults = [Fault("too_large")]
    _, answer, _ = call(server, ask())
    assert answer["error"]["message"].startswith("Request too large for gpt-6-luna")
    assert "Limit 30000, Requested 36278" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("kind", "content", "reason"),
    [
        ("refusal", None, "stop"),
        ("content_filter", "", "content_filter"),
        ("length_empty", "", "length"),
        ("empty", "", "stop"),
    ],
)
def test_an_answer_fault_is_billed_but_says_nothing(server, kind, content, reason):
    """Status 200 without an answer comes in the API's forms, and is paid."""
    server.faults = [Fault(kind)]
    status, answer, _ = call(server, ask(max_completion_tokens=64))
    choice = answer["choices"][0]
    assert (status, choice["message"]["content"], choice["finish_reason"]) == (200, content, reason)
    assert bool(choice["message"]["refusal"]) == (kind == "refusal")
    if kind == "length_empty":
        assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 64
        assert answer["usage"]["completion_tokens"] == 64
    assert (server.ledger.billed, server.ledger.answered) == (1, 1)
    assert server.ledger.tokens == answer["usage"]["total_tokens"]


def test_an_answer_can_be_cut_or_have_no_choices(server):
    """`length_text` keeps the beginning of the answer, `empty_choices` has none at all."""
    server.faults = [Fault("length_text")]
    _, answer, _ = call(server, ask())
    assert answer["choices"][0]["finish_reason"] == "length"
    assert made_up_answer(ask()).startswith(content_of(answer))
    assert content_of(answer) != made_up_answer(ask())
    server.faults = [Fault("empty_choices")]
    assert call(server, ask())[1]["choices"] == []


def test_a_reset_comes_after_the_bill(server):
    """The connection is cut, though the answer was made and paid."""
    server.faults = [Fault("reset")]
    with pytest.raises(ConnectionResetError):
        call(server, ask())
    ledger = server.ledger
    assert (ledger.billed, ledger.answered, ledger.abandoned, ledger.in_flight) == (1, 0, 0, 0)
    assert not ledger.statuses


def test_a_truncated_answer_ends_before_its_length(server):
    """The body is shorter than its Content-Length says, and was paid."""
    server.faults = [Fault("truncated")]

    async def main():
        async with (
            aiohttp.ClientSession(headers={"authorization": "Bearer k"}) as session,
            session.post(f"{server.base_url}/chat/completions", json=ask()) as answer,
        ):
            assert answer.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()

    asyncio.run(main())
    assert (server.ledger.billed, server.ledger.answered, server.ledger.statuses) == (1, 0, {200: 1})


def test_a_garbled_answer_is_whole_but_no_json(server):
    """Status 200 with a complete body that cannot be parsed, and was paid."""
    server.faults = [Fault("garbled")]
    with pytest.raises(json.JSONDecodeError):
        call(server, ask())
    assert (server.ledger.billed, server.ledger.answered, server.ledger.statuses) == (1, 0, {200: 1})


def test_a_trickle_takes_its_time(server):
    """The body comes in drops and is whole in the end."""
    server.faults = [Fault("trickle", seconds=0.3)]
    begin = time.monotonic()
    _, answer, _ = call(server, ask())
    assert time.monotonic() - begin > 0.2
    assert content_of(answer) == made_up_answer(ask())
    assert server.ledger.answered == 1


def test_a_hang_lasts_until_the_client_leaves(server):
    """Nothing is answered and nothing is billed; the client that leaves is counted."""
    server.faults = [Fault("hang")]
    with pytest.raises(TimeoutError):
        call(server, ask(), timeout=0.1)
    assert server.ledger.wait_for(lambda ledger: ledger.abandoned == 1)
    assert (server.ledger.billed, server.ledger.in_flight) == (0, 0)


def test_a_hang_can_hang_up(server):
    """With a time given, the connection is cut then."""
    server.faults = [Fault("hang", seconds=0.05)]
    with pytest.raises(ConnectionResetError):
        call(server, ask())
    assert server.ledger.abandoned == 0


def test_a_server_with_hanging_requests_stops_at_once():
    """Stopping waits for nobody, and does not blame the client."""
    begin = time.monotonic()
    with LocalServer(faults=[Fault("hang")]) as server:

        def hang():
            with pytest.raises(OSError, match="reset"):
                call(server, ask())

        thread = threading.Thread(target=hang)
        thread.start()
        assert server.ledger.wait_for(lambda ledger: ledger.in_flight == 1)
    thread.join()
    assert time.monotonic() - begin < 1
    assert (server.ledger.abandoned, server.ledger.in_flight) == (0, 0)


def test_the_rate_of_a_fault_is_a_share_that_repeats():
    """The same seed hits the same requests, another seed others, and about the share that was asked for."""

    def hit(seed):
        with LocalServer(faults=[Fault("500", rate=0.3, seed=seed)]) as server:
            return statuses(server, [ask(str(i)) for i in range(200)])

    one = hit(0)
    assert one == hit(0)
    assert one != hit(1)
    assert 30 <= one.count(500) <= 90


def test_the_rate_is_drawn_again_for_each_attempt(server):
    """A request that was hit once may get through the next time."""
    server.faults = [Fault("500", rate=0.5)]
    assert set(statuses(server, [ask()] * 20)) == {200, 500}


def test_first_and_after_make_a_window(server):
    """`after` requests pass, then `first` are hit."""
    server.faults = [Fault("500", first=2, after=1)]
    assert statuses(server, [ask()] * 5) == [200, 500, 500, 200, 200]


def test_times_per_request_lets_retries_through(server):
    """Each distinct body is hit so often at most."""
    server.faults = [Fault("503", times_per_request=1)]
    assert statuses(server, [ask("a"), ask("b"), ask("a"), ask("b")]) == [503, 503, 200, 200]


def test_a_fault_can_choose_its_requests(server):
    """`when` sees the body; the first fault that applies wins."""
    server.faults = [
        Fault("refusal", when=lambda body: "b" in body["messages"][0]["content"]),
        Fault(418, after=2),
    ]
    assert statuses(server, [ask("a"), ask("b"), ask("c"), ask("b")]) == [200, 200, 418, 200]


@pytest.mark.parametrize("bad", [{"kind": "nonsense"}, {"kind": 200}, {"kind": "500", "rate": 2}])
def test_a_fault_that_makes_no_sense_is_refused(bad):
    """A wrong kind or rate is an error at once."""
    with pytest.raises(ValueError, match=r"kind|status|rate"):
        Fault(**bad)


@pytest.mark.parametrize("status", ["400", "404", "418", "429", "599"])
def test_a_status_may_be_given_by_its_digits(server, status):
    """It is the fault of the number."""
    assert Fault(status) == Fault(int(status)) == Fault(np.int64(status))
    assert Reply(status).status == int(status)
    server.faults = [Fault(status)]
    assert call(server, ask())[0] == int(status)


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("399", ValueError, "between 400 and 599, not 399"),
        ("600", ValueError, "between 400 and 599, not 600"),
        ("refused", ValueError, "did you mean 'refusal'"),
        ("rate limit", ValueError, "did you mean 'rate_limit'"),
        (None, TypeError, "a status, a name or a Reply, not None"),
        (["500"], TypeError, "a status, a name or a Reply"),
        (400.0, TypeError, "a status, a name or a Reply"),
    ],
)
def test_what_is_no_fault_is_refused_with_what_to_write(kind, error, words):
    with pytest.raises(error, match=words):
        Fault(kind)


def test_a_reply_without_a_status_is_refused():
    with pytest.raises(TypeError, match="A reply's status is a number, not 'bad'"):
        Reply("bad")
