"""Bounds that a pace keeps, and that it names the limit which holds a request back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmframe._pacing import Pace, RateHeaders

COUNTS = st.none() | st.integers(0, 10**12)
RESETS = st.none() | st.floats(0, 10**6)
HEADERS = st.none() | st.builds(
    RateHeaders, *[st.none() | st.integers(1, 10**12)] * 2, COUNTS, COUNTS, RESETS, RESETS
)
STEPS = st.tuples(
    st.sampled_from(["send", "send", "on_answer", "on_limit", "on_fault", "on_cancel"]),
    st.floats(0, 100),
    st.integers(0, 10**7),
    HEADERS,
    RESETS,
)


@given(st.none() | st.integers(1, 2_000), st.lists(STEPS, max_size=100), st.randoms())
def test_the_pace_keeps_its_bounds(most, steps, rng):
    """In whatever order requests are sent and end, waits, window and count in flight stay within bounds."""
    pace, now, tickets = Pace().join(most), 0.0, []
    for kind, seconds, tokens, headers, pause in steps:
        now += seconds
        if kind == "send":
            wait = pace.admit(now, tokens)
            assert 0.0 <= wait <= 1.0
            if not wait:
                tickets.append(pace.send(now, tokens))
                assert pace.in_flight <= pace.window
        elif tickets:
            ticket = tickets.pop(rng.randrange(len(tickets)))
            match kind:
                case "on_answer":
                    pace.on_answer(now, ticket, headers, tokens)
                case "on_limit":
                    pace.on_limit(now, ticket, headers, pause)
                case "on_fault":
                    pace.on_fault(now, ticket, headers)
                case "on_cancel":
                    pace.on_cancel()
        assert pace.in_flight == len(tickets)
        assert 1 <= pace.window <= (most or 1_000)
        assert pace.waited_seconds >= 0


def test_what_was_sent_before_a_server_had_a_limit_is_not_counted_against_it():
    """Only what was sent after the newest answer without one may have been charged."""
    pace = Pace(local=True).join()
    for number in range(400):
        ticket = pace.send(number / 1_000, 1)
        pace.on_answer(number / 1_000 + 0.0005, ticket, None, 1)
    ticket = pace.send(0.4, 1)
    pace.on_answer(0.45, ticket, RateHeaders(6_000, None, 49, None, 0.01, None), 1)
    assert pace.admit(0.45, 1) < 0.05


def test_runs_of_one_call_have_no_more_in_flight_together_than_it_allows():
    account, call = Pace(), object()
    runs = [account.join(3, call=call) for _ in range(3)]
    alone = account.join(3)
    now = 0.0
    for run in (*runs, alone):
        now += 1.0
        assert run.admit(now, 1) == 0.0
        run.send(now, 1)
    assert all(run.admit(now + 1.0, 1) > 0.0 for run in runs)
    assert alone.admit(now + 1.0, 1) == 0.0
