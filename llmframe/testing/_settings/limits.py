"""The rate limits of a server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Rate limits that the server enforces.

    Parameters
    ----------
    requests_per_minute, tokens_per_minute
        The two limits; None is no limit.
    burst
        Seconds of allowance that can accumulate; at least one request or token.
    retry_after
        Whether a 429 states when to try again.
    count_refused
        Whether refused requests count against the request limit, as they do at OpenAI: a client that only retries
        faster gets less.

    Examples
    --------
    >>> Limits(requests_per_minute=600, tokens_per_minute=90_000)
    Limits(requests_per_minute=600, tokens_per_minute=90000, burst=0.5, retry_after=True, count_refused=True)
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    burst: float = 0.5
    retry_after: bool = True
    count_refused: bool = True

    def __post_init__(self) -> None:
        for name in ("requests_per_minute", "tokens_per_minute", "burst"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be greater than 0, not {value!r}; leave it out for no limit.")
