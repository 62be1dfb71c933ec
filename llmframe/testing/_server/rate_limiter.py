"""Rate limits as the API enforces them: token buckets that refill continuously."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmframe.testing._settings import Limits


class Allowance:
    """An allowance that refills continuously; a large request may leave it below zero."""

    def __init__(self, per_minute: float, burst: float, now: float) -> None:
        self.limit = per_minute
        self.per_second = per_minute / 60
        self.capacity = max(1.0, self.per_second * burst)
        self.level = self.capacity
        self._updated = now

    def refill(self, now: float) -> None:
        """Add what has accrued until `now`, in seconds of a monotonic clock."""
        self.level = min(self.capacity, self.level + (now - self._updated) * self.per_second)
        self._updated = now

    def wait(self, cost: float) -> float:
        """Return the seconds until a request of this cost is admitted."""
        # A request that costs more than the bucket holds waits until the bucket is full.
        missing = min(cost, self.capacity) - self.level
        return missing / self.per_second if missing > 1e-9 else 0.0

    def spend(self, cost: float) -> None:
        self.level -= cost

    def penalise(self) -> None:
        """Count a refused request; the level does not fall below minus one bucket."""
        self.level = min(self.level, max(self.level - 1, -self.capacity))

    @property
    def remaining(self) -> int:
        return max(0, int(self.level + 1e-9))

    @property
    def reset(self) -> float:
        """Seconds until the bucket is full."""
        return max(0.0, self.capacity - self.level) / self.per_second


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused: the unit, its limit, and the wait in seconds; None if waiting does not help."""

    unit: str
    limit: int
    requested: int
    wait: float | None


class RateLimiter:
    """The limits on requests and tokens together: a request is admitted if both allow it."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._requests = _token_bucket(limits.requests_per_minute, limits.burst, now)
        self._tokens = _token_bucket(limits.tokens_per_minute, limits.burst, now)

    @property
    def retry_after(self) -> bool:
        return self._limits.retry_after

    def admit(self, tokens: int, now: float) -> Refusal | None:
        """Admit a request of this many tokens, or return why it is refused."""
        costs = {"requests": (self._requests, 1), "tokens": (self._tokens, tokens)}
        refusal = None
        for unit, (bucket, cost) in costs.items():
            if bucket is not None:
                bucket.refill(now)
                refusal = _worse(refusal, _refusal(unit, bucket, cost))
        if refusal is not None:
            self._penalise()
            return refusal
        for bucket, cost in costs.values():
            if bucket is not None:
                bucket.spend(cost)
        return None

    def headers(self) -> dict[str, str]:
        """Return the `x-ratelimit-*` headers of the limits that exist."""
        found: dict[str, str] = {}
        for unit, bucket in (("requests", self._requests), ("tokens", self._tokens)):
            if bucket is not None:
                found[f"x-ratelimit-limit-{unit}"] = str(int(bucket.limit))
                found[f"x-ratelimit-remaining-{unit}"] = str(bucket.remaining)
                found[f"x-ratelimit-reset-{unit}"] = duration(bucket.reset)
        return found

    def _penalise(self) -> None:
        if self._limits.count_refused and self._requests is not None:
            self._requests.penalise()


def _token_bucket(per_minute: float | None, burst: float, now: float) -> Allowance | None:
    return None if per_minute is None else Allowance(per_minute, burst, now)


def _refusal(unit: str, bucket: Allowance, cost: int) -> Refusal | None:
    if unit == "tokens" and cost > bucket.limit:
        return Refusal(unit, int(bucket.limit), cost, None)
    wait = bucket.wait(cost)
    return Refusal(unit, int(bucket.limit), cost, wait) if wait else None


def _worse(first: Refusal | None, second: Refusal | None) -> Refusal | None:
    if first is None or second is None:
        return first or second
    if first.wait is None or second.wait is None:
        return first if first.wait is None else second
    return max(first, second, key=lambda refusal: refusal.wait or 0.0)


def duration(seconds: float) -> str:
    """Write seconds as the API does: "120ms", "1s", "1.5s", "6m0s", "1h0m0s"."""
    milliseconds = round(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:g}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
