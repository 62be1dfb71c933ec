"""What is left of a cap when requests are in flight, answered, lost and refused."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from llmframe._pacing import Budget, BudgetShare, Fit


def budget(cap=1.0):
    return Budget(cap, lambda size: size / 100)


def test_without_a_cap_everything_fits():
    free = Budget()
    free.reserve(0, 10**9)
    assert free.fit(10**12) is Fit.NOW
    assert (free.reserved, free.capped) == (0.0, False)


def test_a_lost_answer_keeps_its_reservation_and_so_does_one_without_a_price():
    spent = budget()
    spent.reserve(0, 30)
    spent.end(0, uncertain=True)
    spent.reserve(1, 30)
    spent.settle(1, None)
    assert round(spent.reserved, 9) == 0.6
    assert spent.fit(50) is Fit.NEVER
    assert spent.fit(40) is Fit.NOW


def test_a_refusal_gives_back_what_was_reserved():
    spent = budget()
    spent.reserve(0, 100)
    assert spent.fit(1) is Fit.LATER
    spent.end(0, uncertain=False)
    assert spent.fit(100) is Fit.NOW


def test_after_an_answer_dearer_than_its_worst_case_more_is_reserved():
    """Some servers do not hold to the bound on an answer's tokens."""
    spent = budget(10.0)
    spent.reserve(0, 100)
    spent.settle(0, 2.0)
    spent.reserve(1, 100)
    assert spent.reserved == 2.0


def test_many_answers_dearer_than_their_worst_case_say_it_once():
    """What was reserved at the time, and for lost answers, counts as much."""
    spent = budget(100.0)
    for number in range(12):
        spent.reserve(number, 100)
    spent.end(11, uncertain=True)
    for number in range(10):
        spent.settle(number, 2.0)
    assert (spent.spent, spent.unknown, spent.reserved) == (20.0, 2.0, 4.0)
    assert spent.fit(7_600 // 2) is Fit.NOW


def test_until_an_answer_tells_its_tier_requests_beside_each_other_leave_room_for_a_dearer_one():
    """One alone needs no such room."""
    spent = Budget(5.0, lambda size: size / 100, untold=2.0)
    assert spent.fit(500) is Fit.NOW
    spent.reserve(0, 100)
    spent.reserve(1, 100)
    assert spent.fit(51) is Fit.LATER
    assert spent.fit(50) is Fit.NOW
    spent.settle(0, 1.0)
    assert spent.fit(300) is Fit.NOW


def test_what_finishing_costs_is_told_by_the_answers_and_without_any_by_the_worst_case():
    spent = budget()
    assert spent.fit(500) is Fit.NEVER
    assert spent.to_finish(4) == 20.0
    spent.reserve(0, 100)
    spent.settle(0, 0.25)
    assert spent.to_finish(4) == 1.0


def test_runs_that_share_a_budget_number_their_attempts_alike_and_wake_each_other():
    whole = budget()
    one, other = BudgetShare(whole, 1), BudgetShare(whole, 2)
    one.reserve(0, 60)
    other.reserve(0, 40)
    assert one.fit(10) is other.fit(10) is Fit.LATER
    settled = asyncio.Event()
    other.waiting.add(settled)
    one.settle(0, 0.1)
    assert settled.is_set()
    assert (other.spent, round(other.reserved, 9), other.open) == (0.1, 0.4, 1)
    assert other.fit(50) is Fit.NOW


@given(
    st.floats(0.5, 5.0),
    st.lists(
        st.tuples(st.integers(1, 90), st.floats(0, 1), st.sampled_from(["answered", "lost", "refused"]))
    ),
    st.integers(1, 8),
)
def test_the_cap_holds_whatever_is_in_flight_and_however_it_ends(cap, requests, concurrency):
    """The provider bills lost answers too; nothing that would have fitted is turned away while nothing is in flight."""
    spent, billed, flying = budget(cap), 0.0, []
    for number, (size, share, end) in enumerate(requests):
        while (fit := spent.fit(size)) is Fit.LATER or len(flying) == concurrency:
            billed += land(spent, *flying.pop(0))
        if fit is Fit.NOW:
            spent.reserve(number, size)
            flying.append((number, share * size / 100, end))
        elif not flying:
            assert spent.spent + spent.unknown + size / 100 > cap
    billed += sum(land(spent, *each) for each in flying)
    assert billed <= cap
    assert spent.open == 0


def land(spent, number, cost, end):
    if end == "answered":
        spent.settle(number, cost)
    else:
        spent.end(number, uncertain=end == "lost")
    return 0.0 if end == "refused" else cost
