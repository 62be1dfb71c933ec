"""Rate limits of the local server and the headers that tell of them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from testing.client import ask, call, statuses

from llmframe.testing import Limits, LocalServer
from llmframe.testing._server.rate_limiter import RateLimiter, duration


def test_requests_over_the_limit_are_refused_with_headers():
    """Beyond the bucket comes 429, with the state of the limit and when to come back."""
    with LocalServer(limits=Limits(requests_per_minute=60, tokens_per_minute=6000, burst=2)) as server:
        seen = [call(server, ask("x")) for _ in range(3)]
    assert [status for status, _, _ in seen] == [200, 200, 429]
    first, last = seen[0][2], seen[2][2]
    assert (first["x-ratelimit-limit-requests"], first["x-ratelimit-limit-tokens"]) == ("60", "6000")
    assert first["x-ratelimit-remaining-requests"] == "1"
    assert int(first["x-ratelimit-remaining-tokens"]) < 200
    assert first["x-ratelimit-reset-requests"].endswith("s")
    assert 1 <= int(last["retry-after-ms"]) <= 1000
    assert last["retry-after"] == "1"
    assert seen[2][1]["error"]["code"] == "rate_limit_exceeded"
    assert server.ledger.statuses == {200: 2, 429: 1}


def test_limits_can_be_silent():
    """Without headers a 429 says nothing but its body."""
    limits = Limits(requests_per_minute=60, burst=1, retry_after=False)
    with LocalServer(limits=limits, headers=False) as server:
        seen = [call(server, ask()) for _ in range(2)]
    assert [status for status, _, _ in seen] == [200, 429]
    for _, _, headers in seen:
        assert not [name for name in headers if "ratelimit" in name or "retry" in name]


def test_a_server_without_limits_names_none(shared):
    assert not [name for name in call(shared, ask())[2] if "ratelimit" in name]


def test_waiting_as_told_gets_through():
    """After `retry-after-ms` the request passes."""
    with LocalServer(limits=Limits(requests_per_minute=600, burst=0.1, count_refused=False)) as server:
        assert call(server, ask())[0] == 200
        status, _, headers = call(server, ask())
        assert status == 429
        time.sleep(int(headers["retry-after-ms"]) / 1000)
        assert call(server, ask())[0] == 200


def test_a_request_that_can_never_fit_says_so():
    """More tokens than the limit of a minute is the other 429; `max_completion_tokens` counts in full."""
    with LocalServer(limits=Limits(tokens_per_minute=1000)) as server:
        assert call(server, ask())[0] == 200
        status, answer, headers = call(server, ask(max_completion_tokens=2000))
    assert status == 429
    assert answer["error"]["message"].startswith("Request too large")
    assert "retry-after" not in headers


def test_limits_can_change_while_the_server_runs(server):
    """Setting limits takes effect at once, and a reset fills the allowance."""
    server.limits = Limits(requests_per_minute=1, burst=0.1)
    assert statuses(server, [ask()] * 2) == [200, 429]
    server.reset()
    assert statuses(server, [ask()]) == [200]
    server.limits = None
    assert statuses(server, [ask()] * 3) == [200] * 3


@given(
    st.integers(60, 6000),
    st.floats(0.05, 2),
    st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 400)), max_size=80),
)
def test_no_pattern_of_requests_gets_more_than_the_limit(limit, burst, steps):
    """Over any stretch, admitted tokens stay within the refill, one bucket and one request."""
    limiter, now, admitted, dearest = (
        RateLimiter(Limits(tokens_per_minute=limit, burst=burst), 0.0),
        0.0,
        0,
        0,
    )
    for pause, tokens in steps:
        now += pause
        if limiter.admit(tokens, now) is None:
            admitted, dearest = admitted + tokens, max(dearest, tokens)
    assert admitted <= limit / 60 * now + max(1, limit / 60 * burst) + dearest + 1e-6


def test_the_wait_that_a_refusal_names_is_right():
    """One who waits as told is let through, and one who comes earlier is not."""
    limits = Limits(requests_per_minute=600, burst=0.1, count_refused=False)
    limiter = RateLimiter(limits, 0.0)
    assert limiter.admit(1, 0.0) is None
    refusal = limiter.admit(1, 0.02)
    assert refusal.wait == pytest.approx(0.08)
    assert limiter.admit(1, 0.09) is not None
    assert limiter.admit(1, 0.1 + 1e-6) is None


def test_refused_requests_use_up_the_limit():
    """Hammering makes it worse, as it does at OpenAI."""

    def admitted(*, count_refused):
        limiter = RateLimiter(Limits(requests_per_minute=600, burst=0.1, count_refused=count_refused), 0.0)
        return sum(limiter.admit(1, i / 100) is None for i in range(1000))

    assert admitted(count_refused=False) >= 90
    assert admitted(count_refused=True) < 10


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.12, "120ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (360, "6m0s"),
        (90.25, "1m30.25s"),
        (3600, "1h0m0s"),
    ],
)
def test_durations_are_written_as_the_api_does(seconds, text):
    """Resets are durations with units."""
    assert duration(seconds) == text


def test_a_limit_that_makes_no_sense_is_refused():
    """Zero is an error that says how to have no limit."""
    with pytest.raises(ValueError, match="requests_per_minute must be greater than 0"):
        Limits(requests_per_minute=0)
