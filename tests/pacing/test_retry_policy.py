"""Whether to try again: decisions about a row and about the run."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmframe._pacing import refusals, retry
from llmframe._pacing.retry import Attempts, GiveUp, Patience, Retry, RetryPolicy, backoff
from llmframe._values import Again, FaultKind, RequestFault, Stop, Verdict

PASSING = RequestFault(FaultKind.PASSING, "server_error", "The server had an error.")


LOST = RequestFault(FaultKind.PASSING, "connection_lost", "The connection broke.", uncertain=True)


UNREACHABLE = RequestFault(FaultKind.UNREACHABLE, "unreachable", "no connection")


LIMITED = RequestFault(FaultKind.LIMIT, "rate_limit_exceeded", "Rate limit reached.")


ROW = RequestFault(FaultKind.ROW, "context_length_exceeded", "Too long.")


FATAL = RequestFault(FaultKind.FATAL, "insufficient_quota", "You exceeded your current quota.")


REFUSED = RequestFault(FaultKind.REFUSED, "model_not_found", "There is no such model.", status=404)


ACCESS = RequestFault(FaultKind.ACCESS, "invalid_api_key", "Incorrect API key provided.", status=401)


MALFORMED = RequestFault(
    FaultKind.PARAMETER, "unsupported_parameter", "Unsupported parameter.", param="temperature"
)


GOOD = Verdict("Yes.")


EMPTY = Verdict(None, "length", "no text came", empty=True)


BROKEN_OFF = Verdict(None, "finish_reason", "the answer broke off", again=Again.PASSING)


ODD = Verdict(None, "finish_reason", "the answer ended with 'weird'", again=Again.ONCE)


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
    """The server's wait is a lower bound up to `longest_wait`; from a fault that is no limit, up to two minutes."""
    told = RequestFault(fault.kind, fault.code, fault.message, retry_after=seconds)
    decision = policy().on_fault(told, Attempts().after(told), 0.0)
    stated = seconds if seconds <= 600 else 0.0
    assert decision.seconds >= (stated if fault is LIMITED else min(seconds, 120.0))


def test_a_row_that_cannot_succeed_fails_at_once_and_alone():
    """No attempt is wasted on it, and a thousand of them do not stop the run."""
    run_policy = policy()
    assert all(attempts(run_policy, ROW) == (GiveUp(), 1) for _ in range(1000))


@pytest.mark.parametrize("before", [[], [GOOD] * 100])
def test_what_no_row_can_survive_stops_the_run(before):
    """An empty account stops at once, at the start and in the middle, with a remedy."""
    run_policy = policy()
    for answer in before:
        run_policy.on_answer(answer)
    stop, tried = attempts(run_policy, FATAL)
    assert (stop.code, tried) == ("insufficient_quota", 1)
    assert "add credit" in stop.remedy


def in_doubt(fault, count, run_policy=None):
    """Return a policy after this many first requests were refused in this way."""
    run_policy = run_policy or policy()
    for _ in range(count):
        assert not isinstance(run_policy.on_fault(fault, Attempts(1), 0.0), Stop)
    return run_policy


@pytest.mark.parametrize("fault", [MALFORMED, REFUSED, ACCESS])
def test_first_refusals_pause_the_sending_until_others_are_asked(fault):
    """When all of five other rows are refused alike, the run stops; the remedy names the cause."""
    run_policy = in_doubt(fault, 3)
    assert run_policy.paused
    assert run_policy.probes == refusals.PROBES
    run_policy.on_probes(refusals.PROBES)
    in_doubt(fault, refusals.PROBES, run_policy)
    assert run_policy.probes == 0
    assert run_policy.conclude().code == fault.code


@pytest.mark.parametrize("fault", [MALFORMED, REFUSED, ACCESS])
def test_one_answer_among_the_probes_ends_the_doubt(fault):
    """The refusals were their rows' own."""
    run_policy = in_doubt(fault, 40)
    run_policy.on_probes(refusals.PROBES)
    in_doubt(fault, refusals.PROBES - 1, run_policy)
    run_policy.on_answer(GOOD)
    assert not run_policy.paused


@pytest.mark.parametrize("other", [ROW, PASSING, LIMITED, REFUSED])
def test_probes_that_are_not_all_refused_alike_do_not_stop_the_run(other):
    """The next refusals pause it anew."""
    run_policy = in_doubt(MALFORMED, 3)
    run_policy.on_probes(refusals.PROBES)
    in_doubt(MALFORMED, refusals.PROBES - 1, run_policy)
    run_policy.on_fault(other, Attempts(1), 0.0)
    assert run_policy.conclude() is None
    assert not run_policy.paused
    assert in_doubt(MALFORMED, 1, run_policy).probes == refusals.PROBES


def test_refusals_are_alike_whatever_row_their_words_name():
    run_policy = policy()
    run_policy.on_probes(refusals.PROBES)
    for row in range(refusals.PROBES):
        words = f"Request req_{row}a is wrong: 'text {row}' has {row} tokens"
        run_policy.on_fault(RequestFault(FaultKind.PARAMETER, "http_400", words), Attempts(1), 0.0)
    assert isinstance(run_policy.conclude(), Stop)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "you do not have access to model m"),
        (400, "The model `m` has been retired"),
        (400, "m is not available on this server; available models: n"),
        (404, "engine m not found"),
        (403, "This team is not allowed to use model m"),
        (422, "No model loaded"),
    ],
)
def test_an_unknown_model_is_named_in_whatever_words(status, words):
    """Words about a parameter that a model does not take are the parameter's."""
    assert "model=" in refusals.remedy(refused(status, words))
    assert refused(status, words).kind is FaultKind.REFUSED


@pytest.mark.parametrize(
    "words", ["The model does not support tools", "'seed' is not available with this model"]
)
def test_what_a_model_does_not_take_is_no_unknown_model(words):
    assert refused(400, words).kind is FaultKind.PARAMETER


@pytest.mark.parametrize("code", ["unknown_model", "model_not_supported"])
def test_a_code_may_say_that_a_model_is_unknown(code):
    kind = refusals.refusal_kind(400, {code}, "No.")
    assert "model=" in refusals.remedy(RequestFault(kind, code, "No.", status=400))


def refused(status, words):
    return RequestFault(refusals.refusal_kind(status, set(), words), f"http_{status}", words, status=status)


@pytest.mark.parametrize(
    ("code", "words", "remedy"),
    [
        ("http_400", "maximum prompt length is 10 but the request contains 12", "shorten"),
        ("http_400", "Range of input length should be [1, 30720]", "shorten"),
        ("http_400", "inputs tokens + max_new_tokens must be <= 4096", "shorten"),
        ("http_422", "This cannot be processed", "change these rows"),
        (
            "http_400",
            "'messages' must contain the word 'json' in some form, to use …",
            "write the word JSON into",
        ),
        ("http_503", "Overloaded", "ask again"),
    ],
)
def test_the_remedy_of_failed_rows_fits_their_cause(code, words, remedy):
    """What was refused is not mended by asking again."""
    assert (refusals.row_remedy(code, words) or "ask again").startswith(remedy)


def test_a_frame_of_few_rows_stops_for_its_key_and_not_for_its_parameter():
    """One malformed row may be malformed by itself; a refused key is every row's."""
    assert in_doubt(MALFORMED, refusals.SAME_REFUSALS - 1).conclude() is None
    assert in_doubt(MALFORMED, refusals.SAME_REFUSALS).conclude().remedy == "change or leave out temperature="
    assert "api_key=" in in_doubt(ACCESS, 1).conclude().remedy


def test_after_answers_a_refused_key_is_of_the_moment():
    """Its row is tried again; an answer in between starts the count anew."""
    run_policy = policy()
    for now in range(0, 100, 10):
        run_policy.on_answer(GOOD)
        for second in range(retry.ACCESS_REFUSALS - 1):
            decision = run_policy.on_fault(ACCESS, Attempts(1), now + second + 0.5, now + second)
            assert isinstance(decision, Retry)
            assert run_policy.paused


def test_a_row_that_costs_more_than_is_left_fails_alone():
    """A 402 after answers is its row's; of several rows in succession, it is the account's."""
    broke = RequestFault(FaultKind.ACCESS, "http_402", "Insufficient credits", status=402)
    run_policy = policy()
    run_policy.on_answer(GOOD)
    decisions = [run_policy.on_fault(broke, Attempts(1), now + 0.5, now) for now in range(3)]
    assert [type(decision) for decision in decisions] == [GiveUp, GiveUp, Stop]


@pytest.mark.parametrize(
    ("fault", "stops"),
    [
        (MALFORMED, False),
        (RequestFault(FaultKind.REFUSED, "http_403", "No.", status=403), False),
        (REFUSED, True),
        (ACCESS, True),
    ],
)
def test_what_was_answered_before_shows_that_refusals_are_the_rows(fault, stops):
    """A repeated call with nothing left but rows that are refused fails as before; a key or a model may have gone."""
    run_policy = in_doubt(fault, 20, RetryPolicy(6, random.Random(0), proven=True))
    assert isinstance(run_policy.conclude(), Stop) == stops
    assert stops or not in_doubt(fault, 1, run_policy).paused


def test_after_answers_refusals_one_after_the_other_end_the_run():
    """Those of requests that were in flight together count once."""
    run_policy = policy()
    run_policy.on_answer(GOOD)
    together = [run_policy.on_fault(ACCESS, Attempts(1), 1.0, 0.5) for _ in range(20)]
    second = run_policy.on_fault(ACCESS, Attempts(1), 2.0, 1.0)
    third = run_policy.on_fault(ACCESS, Attempts(1), 3.0, 2.0)
    assert {type(decision) for decision in (*together, second)} == {Retry}
    assert isinstance(third, Stop)


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
        assert stops[19].code == "empty_answers"


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


def test_a_body_that_broke_off_is_asked_for_as_often_as_any_passing_fault():
    tries, run_policy = Attempts(), policy(2)
    decisions = []
    while not decisions or isinstance(decisions[-1], Retry):
        decisions.append(run_policy.on_answer(BROKEN_OFF, tries))
        tries = tries.after_verdict(BROKEN_OFF)
    assert (len(decisions), decisions[-1]) == (3, GiveUp())


@pytest.mark.parametrize(("max_retries", "asked_again"), [(6, True), (0, False)])
def test_an_unknown_ending_is_asked_for_once_more(max_retries, asked_again):
    """Whatever faults its row had before; not where the user wants no retries."""
    run_policy = policy(max_retries)
    first = run_policy.on_answer(ODD, Attempts(faults=max_retries))
    assert isinstance(first, Retry) == asked_again
    assert run_policy.on_answer(ODD, Attempts(endings=1)) == GiveUp()


@pytest.mark.parametrize("other", [None, GOOD, ODD._replace(detail="another ending")])
def test_first_answers_with_one_and_the_same_unknown_ending_stop_the_run(other):
    run_policy = policy()
    if other is not None:
        run_policy.on_answer(other)
    decisions = [run_policy.on_answer(ODD) for _ in range(retry.UNKNOWN_ENDINGS)]
    assert isinstance(decisions[-1], Stop) == (other is None)
    assert other is not None or "'weird'" in decisions[-1].message


def test_a_few_rows_with_one_unknown_ending_fail_each_by_itself():
    """However often they are asked: second answers do not count as first ones."""
    run_policy, rows = policy(), range(retry.UNKNOWN_ENDINGS - 1)
    assert all(isinstance(run_policy.on_answer(ODD), Retry) for _ in rows)
    assert {run_policy.on_answer(ODD, Attempts(endings=1)) for _ in rows} == {GiveUp()}


def refused_until(run_policy, fault, until, *, every, now=0.0):
    """Send one request after the other, each refused in this way; return when the run stops, if it does."""
    count = 0
    while now < until:
        count += 1
        decision = run_policy.on_fault(fault, Attempts(limits=count), now + 0.1, now)
        if isinstance(decision, Stop):
            return now, decision
        now += 0.1 + max(every, fault.retry_after or 0.0)
    return None, None


DAILY = RequestFault(FaultKind.LIMIT, "http_429", "1000 requests a day", lasting=True)


@pytest.mark.parametrize(
    "fault", [DAILY, RequestFault(FaultKind.LIMIT, "http_429", "Later.", retry_after=28_800.0)]
)
def test_a_limit_that_will_not_pass_today_ends_the_run_after_a_minute(fault):
    """By its words, or by a wait of hours; the server's words are told."""
    told = RequestFault(fault.kind, fault.code, fault.message, lasting=True)
    now, stop = refused_until(policy(), told, 1_000, every=2.0)
    assert 60 <= now <= 64
    assert fault.message in stop.message
    assert "run the same call again" in stop.remedy


@pytest.mark.parametrize(
    "fault", [DAILY, RequestFault(FaultKind.LIMIT, "http_429", "Later.", retry_after=28_800.0)]
)
def test_a_row_under_a_lasting_limit_is_tried_again_when_the_run_would_end(fault):
    """A single row makes the run end then, and not after hours."""
    run_policy, tries, now = policy(), Attempts(), 0.0
    while isinstance(decision := run_policy.on_fault(fault, tries := tries.after(fault), now), Retry):
        now += decision.seconds
    assert 60 <= now <= 61


def test_an_answer_starts_the_wait_for_a_lasting_limit_anew():
    run_policy = policy()
    for _ in range(10):
        assert refused_until(run_policy, DAILY, 55, every=2.0) == (None, None)
        run_policy.on_answer(GOOD)


@pytest.mark.parametrize("wait", [None, 20.0, 60.0, 600.0])
def test_any_other_limit_ends_the_run_only_after_patience_and_five_refused_probes(wait):
    """Each probe is sent after the wait that the server stated: waits that are not too long never end a run."""
    fault = RequestFault(FaultKind.LIMIT, "http_429", "Too many requests.", retry_after=wait)
    now, stop = refused_until(policy(), fault, 10_000, every=5.0)
    assert now >= max(900, 5 * (wait or 0))
    assert now <= max(910, 6 * (wait or 0)) + 1
    assert "Too many requests." in stop.message


def test_requests_that_leave_within_the_stated_wait_are_no_probes():
    fault = RequestFault(FaultKind.LIMIT, "http_429", "Too many requests.", retry_after=600.0)
    run_policy = policy()
    for second in range(0, 2_990, 10):
        assert isinstance(run_policy.on_fault(fault, Attempts(limits=1), second + 0.1, second), Retry)


def test_patience_is_the_users():
    patient = RetryPolicy(
        6, random.Random(0), patience=Patience(longest_wait=5.0, without_answer=30.0, lasting=3.0)
    )
    told = RequestFault(FaultKind.LIMIT, "http_429", "Later.", retry_after=6.0)
    assert 3.0 < refused_until(patient, told, 100, every=1.0)[0] < 7.0


def test_the_last_rows_are_tried_again_as_soon_as_the_server_asks():
    """While other rows are answered; where none is any more, the delay grows as ever."""
    later, soon = RequestFault(FaultKind.PASSING, "server_error", "", retry_after=7.0), 0.1
    limited = RequestFault(FaultKind.LIMIT, "rate_limit_exceeded", "", retry_after=0.5)
    third = Attempts(faults=3)
    for _ in range(20):
        decide = policy()
        assert decide.on_fault(PASSING, third, 0.0).seconds >= 1.0
        assert decide.on_fault(PASSING, third, 0.0).at_last == soon
        assert decide.on_fault(later, third, 0.0).at_last == 7.0
        assert decide.on_fault(limited, Attempts(limits=5), 0.0).at_last == 0.5
        assert decide.on_fault(PASSING, third, 0.0).at_last == soon
        assert decide.on_fault(PASSING, third, 0.0).at_last is None
        decide.on_answer(GOOD)
        assert decide.on_fault(PASSING, third, 0.0).at_last == soon
