"""Whether a request may leave: one decision over any number of limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmframe._pacing import Pace, RateHeaders
from llmframe._pacing.admission import Admission, admit


class Limit:
    """A limit that asks for so many seconds, and notes what it was asked."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.asked = []

    def wait(self, now, tokens):
        self.asked.append((now, tokens))
        return self.seconds


@pytest.mark.parametrize("waits", [[], [0.0], [-3.0, 0.0, -0.1], [1e-7]])
def test_a_request_leaves_when_no_limit_holds_it(waits):
    """No limit at all allows it too; a negative wait or one below a microsecond is none."""
    assert admit([Limit(seconds) for seconds in waits], 0.0, 100) == Admission(0.0, ())


def test_the_longest_wait_decides_and_every_limit_that_holds_is_named():
    limits = [Limit(seconds) for seconds in (0.2, 0.0, 0.7, 0.3)]
    assert admit(limits, 0.0, 100) == Admission(0.7, (limits[0], limits[2], limits[3]))


def test_a_long_wait_is_cut_to_a_second():
    """Whoever waits asks again after a second at the latest, for limits change meanwhile."""
    limit = Limit(3_600.0)
    assert admit([limit], 0.0, 100) == Admission(1.0, (limit,))


def test_every_limit_is_asked_once_for_this_request_at_this_time():
    """A limit behind one that holds is asked too: it may hold for longer."""
    limits = [Limit(0.5), Limit(0.0), Limit(0.9)]
    admit(iter(limits), 12.5, 321)
    assert [limit.asked for limit in limits] == [[(12.5, 321)]] * 3


@given(st.lists(st.floats(allow_nan=False)), st.floats(0, 1e9), st.integers(0, 10**9))
def test_admission_is_the_maximum_of_all_waits_in_its_bounds(waits, now, tokens):
    """For any number of limits with any waits, and in whatever order they stand."""
    limits = [Limit(seconds) for seconds in waits]
    verdict = admit(limits, now, tokens)
    holding = [limit for limit in limits if limit.seconds > 1e-6]
    assert list(verdict.held_by) == holding
    assert verdict.seconds == min(1.0, max((limit.seconds for limit in holding), default=0.0))
    assert (verdict.seconds == 0.0) == (not holding)
    assert admit(limits[::-1], now, tokens) == Admission(verdict.seconds, verdict.held_by[::-1])


def test_a_pace_names_what_holds_a_request_back():
    """One request is in flight and a minute's allowance is used up: spacing, window and headers all hold."""
    pace = Pace(1)
    pace.on_answer(0.1, pace.send(0.0, 100), RateHeaders(600, None, 0, None, 20.0, None), 100)
    (headers,) = pace.admit(0.2, 100).held_by
    assert type(headers).__name__ == "HeaderLimits"
    pace.send(0.2, 100)
    verdict = pace.admit(0.3, 100)
    assert [type(limit).__name__ for limit in verdict.held_by] == ["Window", "HeaderLimits"]
    assert verdict.seconds == 1.0
