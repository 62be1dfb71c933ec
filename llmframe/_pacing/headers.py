"""What a server states about its limits: rate-limit headers and `retry-after`, read into values."""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from email.utils import mktime_tz, parsedate_tz
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"([0-9]{1,15}(?:\.[0-9]{0,15})?)(ms|us|µs|ns|d|h|m|s)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")
_LONGEST_COUNT = 15  # digits
_LONGEST_RESET = 32 * 86_400.0  # a larger number is a date in seconds, not a duration

_UNSTATED = {None, "", "0", "-1"}  # as servers without a limit say it

_log = logging.getLogger("llmframe")
_logged: set[str] = set()

StatedHeaders = tuple[int | None, int | None, float | None]  # limit, remaining, seconds to the reset
_NOTHING: StatedHeaders = (None, None, None)


class RateHeaders(NamedTuple):
    """The values of an answer's `x-ratelimit-*` headers.

    Parameters
    ----------
    limit_requests, limit_tokens
        The allowance of a whole period (usually a minute), at least 1. None: absent or invalid.
    remaining_requests, remaining_tokens
        What is left of it, from 0 to the limit. None: absent or invalid.
    reset_requests, reset_tokens
        Seconds until the whole allowance is available again. None: absent or invalid.
    """

    limit_requests: int | None = None
    limit_tokens: int | None = None
    remaining_requests: int | None = None
    remaining_tokens: int | None = None
    reset_requests: float | None = None
    reset_tokens: float | None = None

    @property
    def requests(self) -> StatedHeaders:
        return self.limit_requests, self.remaining_requests, self.reset_requests

    @property
    def tokens(self) -> StatedHeaders:
        return self.limit_tokens, self.remaining_tokens, self.reset_tokens

    @property
    def exhausted_for(self) -> float:
        """Seconds until the allowances are available again of which nothing remains."""
        limits = (self.requests, self.tokens)
        return max((reset or 0.0 for _, remaining, reset in limits if remaining == 0), default=0.0)

    @classmethod
    def parse(cls, headers: Mapping[str, str]) -> RateHeaders | None:
        """Read an answer's headers; None when none of them states a usable limit."""
        get = headers.get
        limit_requests, limit_tokens = get("x-ratelimit-limit-requests"), get("x-ratelimit-limit-tokens")
        if limit_requests is None and limit_tokens is None:
            return None
        requests = _read(
            limit_requests, get("x-ratelimit-remaining-requests"), get("x-ratelimit-reset-requests")
        )
        tokens = _read(limit_tokens, get("x-ratelimit-remaining-tokens"), get("x-ratelimit-reset-tokens"))
        if requests is tokens is _NOTHING:
            return None
        return cls(requests[0], tokens[0], requests[1], tokens[1], requests[2], tokens[2])


def retry_after(headers: Mapping[str, str], now_utc: float) -> float | None:
    """Read how long the server asks to wait.

    Parameters
    ----------
    headers
        An answer's headers: `retry-after-ms` wins over `retry-after`, which is seconds or an HTTP date.
    now_utc
        The wall clock, in seconds since 1970.

    Returns
    -------
    float or None
        Seconds, from 0 to 32 days; None when the headers are absent, invalid, or a past date.
    """
    text = headers.get("retry-after")
    milliseconds, seconds = _number(headers.get("retry-after-ms")), _number(text)
    if milliseconds is not None:
        seconds = milliseconds / 1_000
    elif seconds is None and text is not None:
        seconds = _until(text, now_utc)
    return seconds if seconds is not None and seconds <= _LONGEST_RESET else None


def _read(limit: str | None, remaining: str | None, reset: str | None) -> StatedHeaders:
    """Read one limit's three headers; contradictory values count as no limit."""
    whole, left = _count(limit), _count(remaining)
    if not whole or (left is None and remaining is not None) or (left is not None and left > whole):
        if limit not in _UNSTATED:
            _log_once(
                "The server states a limit that cannot be right: %.40r, of which %.40r are left",
                limit,
                remaining,
            )
        return _NOTHING
    return whole, left, _duration(reset)


def _log_once(message: str, *values: object) -> None:
    if message not in _logged:
        _logged.add(message)
        with suppress(Exception):  # a log's handler may raise, for example that of a closed terminal
            _log.warning(message, *values)


def _count(text: str | None) -> int | None:
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_COUNT):
        return None
    return int(text)


@lru_cache(maxsize=256)  # many answers state the same duration
def _duration(text: str | None) -> float | None:
    seconds = _number(text)
    if seconds is None and text is not None and _DURATION.fullmatch(text):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    return seconds if seconds is not None and seconds <= _LONGEST_RESET else None


def _number(text: str | None) -> float | None:
    """Read a finite number that is not negative."""
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) and number >= 0 else None


def _until(date: str, now_utc: float) -> float | None:
    try:
        parsed = parsedate_tz(date)
        seconds = mktime_tz(parsed) - now_utc if parsed else -1.0
    except (ValueError, OverflowError, IndexError, TypeError):  # email.utils raises these for malformed dates
        return None
    return seconds if seconds >= 0 else None
