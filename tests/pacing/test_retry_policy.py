"""Whether to try again: decisions about a row and about the run."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmframe._pacing import retry
from llmframe._pacing.retry import Attempts, GiveUp, Retry, RetryPolicy, backoff
from llmframe._values import FaultKind, RequestFault, Stop, Verdict

PASSING = RequestFault(FaultKind.PASSING, "server_error", "The server had an error.")


LOST = RequestFault(FaultKind.PASSING, "connection_lost", "The connection broke.", uncertain=True)


UNREACHABLE = RequestFault(FaultKind.UNREACHABLE, "unreachable", "no connection")


LIMITED = RequestFault(FaultKind.LIMIT, "rate_limit_exceeded", "Rate limit reached.")


ROW = RequestFault(FaultKind.ROW, "context_length_exceeded", "Too long.")


FATAL = RequestFault(FaultKind.FATAL, "invalid_api_key", "Incorrect API key provided.")


MALFORMED = RequestFault(
    FaultKind.PARAMETER, "unsupported_parameter", "Unsupported parameter.", param="temperature"
)


GOOD = Verdict("Yes.")


EMPTY = Verdict(None, "length", "no text came", empty=True)


def policy(max_retries=6):
    return RetryPolicy(max_retries, random.Random(0), "messages")


def attempts(policy, fault, now=0.0):
    """Return how a row that meets nothing but this fault ends, and after how many attempts."""
    tries = Attempts()
    while True:
        tries = tries.after(fault)
        decision = policy.on_fault(fault, tries, now)
        if not isinstance(decision, Retry):
            return decision, tries.total
        now += decision.seconds


@given(tries=st.integers(1, 10_000), seed=st.integers())
def test_backoff_grows_with_jitter_and_stays_within_bounds(tries, seed):
    """It lies between half and all of a delay that doubles from half a second to half a minute."""
    longest = min(retry.LONGEST_DELAY_SECONDS, retry.FIRST_DELAY_SECONDS * 2 ** min(tries - 1, 99))
    assert longest / 2 <= backoff(tries, random.Random(seed)) <= longest


@given(max_retries=st.integers(0, 50))
def test_a_row_is_tried_once_and_then_max_retries_times(max_retries):
    """Passing faults end a row after exactly so many attempts."""
    assert attempts(policy(max_retries), PASSING) == (GiveUp(), max_retries + 1)


@given(st.lists(st.sampled_from([LIMITED, PASSING])), st.integers(0, 5))
def test_rate_limits_never_cost_a_row_its_attempts(faults, max_retries):
    """However many 429s come between, a row gives up only by its passing faults."""
    tries, run_policy = Attempts(), policy(max_retries)
    for fault in faults:
        tries = tries.after(fault)
        decision = run_policy.on_fault(fault, tries, 0.0)
        failed = fault is PASSING and tries.faults > max_retries
        assert isinstance(decision, GiveUp if failed else Retry)
        if failed:
            return


@given(seconds=st.floats(0, 3600), fault=st.sampled_from([LIMITED, PASSING]))
def test_retry_after_is_honoured(seconds, fault):
    """The server's wait is a lower bound; from a fault that is no limit, up to two minutes."""
    told = RequestFault(fault.kind, fault.code, fault.message, retry_after=seconds)
    decision = policy().on_fault(told, Attempts().after(told), 0.0)
    assert decision.seconds >= (seconds if fault is LIMITED else min(seconds, 120.0))


def test_a_row_that_cannot_succeed_fails_at_once_and_alone():
    """No attempt is wasted on it, and a thousand of them do not stop the run."""
    run_policy = policy()
    assert all(attempts(run_policy, ROW) == (GiveUp(), 1) for _ in range(1000))


@pytest.mark.parametrize("before", [[], [GOOD] * 100])
def test_what_no_row_can_survive_stops_the_run(before):
    """A bad key stops at once, at the start and in the middle, with a remedy."""
    run_policy = policy()
    for answer in before:
        run_policy.on_answer(answer)
    stop, tried = attempts(run_policy, FATAL)
    assert (stop.code, tried) == ("invalid_api_key", 1)
    assert "OPENAI_API_KEY" in stop.remedy


def test_first_rows_that_are_all_refused_alike_stop_the_run():
    """The fifth equal refusal before any answer is enough, and the remedy names the parameter."""
    run_policy = policy()
    decisions = [run_policy.on_fault(MALFORMED, Attempts(1), 0.0) for _ in range(retry.SAME_REFUSALS)]
    assert decisions[:-1] == [GiveUp()] * (retry.SAME_REFUSALS - 1)
    assert "temperature=" in decisions[-1].remedy


def test_first_rows_that_are_all_refused_stop_the_run_whatever_the_words():
    """Messages that differ from row to row need a few more."""
    run_policy = policy()
    faults = [
        RequestFault(FaultKind.PARAMETER, "http_400", f"Bad request {number}.")
        for number in range(retry.FIRST_REFUSALS)
    ]
    decisions = [run_policy.on_fault(fault, Attempts(1), 0.0) for fault in faults]
    assert [isinstance(decision, Stop) for decision in decisions] == [False] * (retry.FIRST_REFUSALS - 1) + [
        True
    ]


@given(st.lists(st.sampled_from([MALFORMED, ROW, PASSING]), min_size=1, max_size=200))
def test_refusals_after_an_answer_are_the_rows_own(faults):
    """Once a row was answered, no 400 stops the run."""
    run_policy = policy()
    run_policy.on_answer(GOOD)
    refused = [fault for fault in faults if fault is not PASSING]
    assert all(isinstance(run_policy.on_fault(fault, Attempts(1), 0.0), GiveUp) for fault in refused)


def test_a_refused_message_is_the_rows_own_from_the_start():
    """A 400 about the messages is about that row's text."""
    fault = RequestFault(FaultKind.PARAMETER, "invalid_value", "Invalid image.", param="messages[0].content")
    run_policy = policy()
    assert all(isinstance(run_policy.on_fault(fault, Attempts(1), 0.0), GiveUp) for _ in range(100))


@given(st.lists(st.booleans(), min_size=20, max_size=60))
def test_only_first_answers_that_are_all_empty_stop_the_run(empty):
    """Twenty paid and empty answers in a row from the start stop it; one text among them means that it can work."""
    run_policy = policy()
    stops = [run_policy.on_answer(EMPTY if one else GOOD) for one in empty]
    assert [bool(stop) for stop in stops] == [count == 19 and all(empty[:20]) for count in range(len(empty))]
    if all(empty[:20]):
        assert "retry_failed=True" in stops[19].remedy


def test_rows_lost_in_succession_stop_the_run():
    """When row after row is lost, the fault is not passing; an answer between starts the count anew."""
    run_policy = policy(0)
    for _ in range(3):
        assert all(attempts(run_policy, LOST) == (GiveUp(), 1) for _ in range(retry.LOST_ROWS - 1))
        run_policy.on_answer(GOOD)
    ends = [attempts(run_policy, LOST)[0] for _ in range(retry.LOST_ROWS)]
    assert isinstance(ends[-1], Stop)


def test_a_server_that_was_never_reached_is_given_up_soon():
    """Three attempts of one row are enough to say so."""
    stop, tried = attempts(policy(50), UNREACHABLE)
    assert (stop.code, tried) == ("unreachable", retry.FIRST_CONTACT_ATTEMPTS)
    assert "base_url" in stop.remedy


@given(
    max_retries=st.integers(0, 8),
    faults=st.lists(st.tuples(st.integers(0, 30), st.floats(0, 4)), min_size=1, max_size=300),
)
def test_an_outage_costs_no_row_and_ends_the_run_when_it_lasts(max_retries, faults):
    """Rows wait while the server does not answer; after as long as one row's retries may take, the run stops."""
    run_policy, now, tries = policy(max_retries), 0.0, {}
    run_policy.on_answer(GOOD)
    patience = sum(min(30.0, 0.5 * 2**number) for number in range(max_retries))
    first = None
    for count, (row, seconds) in enumerate(faults, 1):
        now += seconds
        first = now if first is None else first
        tries[row] = tries.get(row, Attempts()).after(UNREACHABLE)
        decision = run_policy.on_fault(UNREACHABLE, tries[row], now)
        assert isinstance(decision, Stop) == (now - first >= patience and count > max_retries)
        if isinstance(decision, Stop):
            return


def test_an_outage_that_ends_is_forgotten():
    """An answer in between starts the wait anew."""
    run_policy = policy(3)
    for start in (0.0, 1000.0, 2000.0):
        run_policy.on_answer(GOOD)
        assert all(
            isinstance(run_policy.on_fault(UNREACHABLE, Attempts(9), start + second), Retry)
            for second in range(3)
        )
