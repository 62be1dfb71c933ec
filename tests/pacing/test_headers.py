"""What a server's headers say about its limits, read into values."""

from __future__ import annotations

import math
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmframe._pacing import RateHeaders, retry_after


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("120ms", 0.12),
        ("6m0s", 360.0),
        ("1h2m3.5s", 3_723.5),
        ("1d1s", 86_401.0),
        ("12", 12.0),
        ("0s", 0.0),
        ("-1s", None),
        ("", None),
        ("soon", None),
        ("1s!", None),
        ("nan", None),
        ("1700000000", None),
    ],
)
def test_durations(text, seconds):
    headers = RateHeaders.parse({"x-ratelimit-limit-requests": "60", "x-ratelimit-reset-requests": text})
    assert headers.reset_requests == (None if seconds is None else pytest.approx(seconds))


def test_all_headers_are_read():
    names = [
        f"x-ratelimit-{what}-{unit}" for what in ("limit", "remaining") for unit in ("requests", "tokens")
    ]
    headers = dict(zip(names, ("60", "9000", "59", "0"), strict=True))
    headers |= {"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "1m0s"}
    assert RateHeaders.parse(headers) == RateHeaders(60, 9_000, 59, 0, 1.0, 60.0)


@pytest.mark.parametrize(
    ("limit", "remaining"),
    [
        ("-1", "-1"),
        ("0", "0"),
        ("many", "1"),
        ("10", "11"),
        ("60", "-1"),
        ("60", "x"),
        ("1.5", "1"),
        ("", ""),
    ],
)
def test_nonsense_headers_are_absent(limit, remaining):
    """A limit that is negative, zero, text or below what remains is absent, and the other one is read."""
    headers = {"x-ratelimit-limit-requests": limit, "x-ratelimit-remaining-requests": remaining}
    assert RateHeaders.parse(headers) is None
    both = RateHeaders.parse(headers | {"x-ratelimit-limit-tokens": "100"})
    assert both == RateHeaders(limit_tokens=100)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
        ({"retry-after": formatdate(1_030, usegmt=True)}, 30.0),
        ({"retry-after": formatdate(970, usegmt=True)}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "86400"}, 86_400.0),
        ({"retry-after": "1800000000"}, None),
        ({"retry-after-ms": "1800000000000"}, None),
        ({"retry-after": "Fri, 01 Jan 2100 00:00:00 GMT"}, None),
        ({"retry-after": "later"}, None),
    ],
)
def test_retry_after(headers, seconds):
    """Milliseconds, seconds and dates are read; a date that is past or far away is absent."""
    assert retry_after(headers, 1_000.0) == seconds


def test_a_limit_that_cannot_be_right_is_logged_once(caplog, monkeypatch):
    """What servers without a limit send is no nonsense."""
    monkeypatch.setattr("llmframe._pacing.headers._logged", set())
    for unstated in ("-1", "0", ""):
        RateHeaders.parse(
            {"x-ratelimit-limit-requests": unstated, "x-ratelimit-remaining-requests": unstated}
        )
    assert not caplog.records
    for left in range(11, 15):
        RateHeaders.parse({"x-ratelimit-limit-tokens": "10", "x-ratelimit-remaining-tokens": str(left)})
    (record,) = caplog.records
    assert record.getMessage().endswith("'10', of which '11' are left")


DATES = r"(Fri|Foo), [0-9]{0,20} (Jan|Foo|[0-9]{0,9}) [0-9]{0,20} [0-9]{0,9}:[0-9]{0,9}(:[0-9]{0,9})? (GMT|[+-][0-9]{0,20})"
NUMBERS = r"-?[0-9]{0,40}(\.[0-9]*)?(e[0-9]{1,4})?(ms|s|m|h|d)?"
TEXTS = st.text(max_size=30) | st.from_regex(NUMBERS, fullmatch=True) | st.from_regex(DATES, fullmatch=True)
NAMES = [f"x-ratelimit-{a}-{b}" for a in ("limit", "remaining", "reset") for b in ("requests", "tokens")]


@given(st.dictionaries(st.sampled_from(NAMES), TEXTS), TEXTS, TEXTS)
def test_parsing_never_raises(headers, after, after_ms):
    """Whatever the headers say, each value is within its bounds or absent."""
    parsed = RateHeaders.parse(headers)
    if parsed is not None:
        for limit, remaining, reset in (parsed.requests, parsed.tokens):
            assert limit is None or limit > 0
            assert remaining is None or 0 <= remaining <= limit
            assert reset is None or reset >= 0
    seconds = retry_after({"retry-after": after, "retry-after-ms": after_ms}, 0.0)
    assert seconds is None or 0 <= seconds < math.inf
