"""The tokens of an answer: read where they are stated, inferred where the total tells, and unknown otherwise."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmframe._api import CHAT_COMPLETIONS
from llmframe._run import Prices
from llmframe._values import Usage

UNKNOWN = Usage()
NONSENSE = ["many", "-3", "1e3", "", True, -5, [], {}, 10**9, 2**70, math.nan, math.inf, -0.5]
NUMBERS = st.integers(-3, 60) | st.integers(-(2**70), 2**70) | st.floats() | st.booleans()
JSON = st.recursive(
    st.none() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = ["prompt_tokens", "completion_tokens", "total_tokens", "prompt_cache_hit_tokens"]
DETAILS = JSON | st.dictionaries(
    st.sampled_from(["cached_tokens", "cache_write_tokens", "reasoning_tokens"]), NUMBERS | JSON
)


def answer(usage):
    return CHAT_COMPLETIONS.read_answer(b"k", b"{}", {"usage": usage}, "live")


def read(prompt=..., completion=..., total=..., /, *, cached=..., written=..., reasoning=...):
    """Read a usage without what is left out; return the tokens, and whether they were possible as stated."""
    stated = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}
    of_prompt = {"cached_tokens": cached, "cache_write_tokens": written}
    usage = {
        **stated,
        "prompt_tokens_details": {name: value for name, value in of_prompt.items() if value is not ...},
        "completion_tokens_details": {} if reasoning is ... else {"reasoning_tokens": reasoning},
    }
    found = answer({name: value for name, value in usage.items() if value is not ...})
    return found.usage, found.impossible_usage is None


def test_every_kind_of_tokens_is_read():
    """Those that the provider wrote into its cache too, which have a price of their own."""
    expected = Usage(prompt=100, completion=40, cached=60, reasoning=20, cache_write=30)
    assert read(100, 40, 140, cached=60, written=30, reasoning=20) == (expected, True)


@pytest.mark.parametrize("total", [..., None, 15])
def test_the_total_may_be_left_out(total):
    assert read(10, 5, total) == (Usage(10, 5), True)


@pytest.mark.parametrize("numbers", [(10.0, 5.0, 15.0), ("10", "5", "15"), (9.5, 5, 15)])
def test_numbers_in_other_forms_are_numbers(numbers):
    """64-bit integers are text in some JSON; a length divided by four is a fraction, which counts as a whole token."""
    assert read(*numbers) == (Usage(10, 5), True)


@pytest.mark.parametrize("usage", [None, [], "many", 3, True, {}, [{"prompt_tokens": 3}]], ids=repr)
def test_a_body_without_usage_has_unknown_tokens(usage):
    assert answer(usage).usage == UNKNOWN
    assert CHAT_COMPLETIONS.read_answer(b"k", b"{}", {}, "live").usage == UNKNOWN


@pytest.mark.parametrize("value", NONSENSE, ids=repr)
def test_what_is_no_number_of_tokens_is_unknown_or_told_by_the_total(value):
    """An unreadable prompt or completion makes all unknown, since a part of a cost is none."""
    assert read(value, 7) == read(7, value) == (UNKNOWN, False)
    assert read(value, 7, 20) == (Usage(13, 7), False)
    assert read(20, value, 27) == (Usage(20, 7), False)
    assert read(20, 7, value) == (Usage(20, 7), False)


def test_no_request_has_an_empty_prompt():
    """Servers that do not count say 0."""
    assert read(0, 0, 0) == (UNKNOWN, False)
    assert read(0, 7, 20) == (Usage(13, 7), False)
    assert read(9, 0, 9) == (Usage(9, 0), True)


@pytest.mark.parametrize("value", NONSENSE, ids=repr)
def test_details_that_are_no_numbers_count_as_absent(value):
    """The other numbers are read."""
    assert read(20, 7, 27, cached=value, written=3) == (Usage(20, 7, cache_write=3), False)
    assert read(20, 7, 27, cached=3, written=value) == (Usage(20, 7, 3), False)
    assert read(20, 7, 27, reasoning=value) == (Usage(20, 7), False)


@pytest.mark.parametrize("details", ["many", [], 3, True, [{"cached_tokens": 3}]], ids=repr)
def test_details_of_another_form_count_as_absent(details):
    usage = {"prompt_tokens": 20, "completion_tokens": 7, "total_tokens": 27}
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        assert answer({**usage, name: details}).usage == Usage(20, 7)
        assert answer({**usage, name: None}) == answer(usage)


def test_a_part_is_at_most_its_whole():
    assert read(40_000, 5, 40_005, cached=41_000) == (Usage(40_000, 5, 40_000), False)
    assert read(100, 5, 105, cached=60, written=60) == (Usage(100, 5, 60, 0, 40), False)
    assert read(100, 5, 105, written=200) == (Usage(100, 5, 0, 0, 100), False)
    assert read(100, 5, 105, reasoning=50) == (Usage(100, 5, 0, 5), False)


def test_reasoning_on_top_of_the_completion_is_seen_by_the_total():
    """Also where the server does not state how much of it there was."""
    assert read(100, 5, 155, reasoning=50) == (Usage(100, 55, 0, 50), True)
    assert read(100, 0, 150, reasoning=50) == (Usage(100, 50, 0, 50), True)
    assert read(100, 5, 155, cached=80, reasoning=50) == (Usage(100, 55, 80, 50), True)
    assert read(100, 5, 155) == read(100, 5, 155, reasoning=0) == (Usage(100, 55), True)


def test_cached_tokens_on_top_of_the_prompt_are_seen_by_the_total():
    assert read(100, 5, 1_005, cached=900) == (Usage(1_000, 5, 900), True)
    assert read(100, 5, 1_005, cached=700, written=200) == (Usage(1_000, 5, 700, 0, 200), True)


@pytest.mark.parametrize("total", [3, 0, 120])
def test_a_total_that_nothing_explains_is_left_aside(total):
    assert read(100, 10, total, reasoning=5) == (Usage(100, 10, 0, 5), False)


def test_cached_tokens_by_deepseeks_name():
    usage = {"prompt_tokens": 20, "completion_tokens": 7, "total_tokens": 27, "prompt_cache_hit_tokens": 12}
    assert answer(usage).usage == Usage(20, 7, 12)
    assert answer({**usage, "prompt_tokens_details": {"cached_tokens": 4}}).usage == Usage(20, 7, 4)


@given(
    JSON
    | st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(NAMES, NUMBERS | JSON),
            "prompt_tokens_details": DETAILS,
            "completion_tokens_details": DETAILS,
        },
    )
)
def test_any_usage_is_read_and_priced(usage):
    """Nothing is raised, no part exceeds its whole, and a cost is never negative."""
    found = answer(usage)
    prompt, completion, cached, reasoning, written = found.usage
    assert all(type(tokens) is int and 0 <= tokens < 2 * 10**9 for tokens in found.usage)
    assert cached + written <= prompt
    assert reasoning <= completion
    assert prompt or found.usage == UNKNOWN
    cost = Prices({}).cost(found, "gpt-6-luna")
    assert cost is None or cost >= 0
    assert (cost is None) == (not prompt)
