"""The limits that a server states in its headers."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from llmframe._pacing.token_bucket import TokenBucket

if TYPE_CHECKING:
    from llmframe._pacing.headers import RateHeaders, StatedHeaders
    from llmframe._pacing.token_bucket import TokenEstimate

_TARGET = 0.99  # share of a stated limit that is used
_LONGEST_SILENCE_SECONDS = 60.0  # after which a request asks whether an exhausted long limit still holds
_INSTANT_SECONDS = 0.002  # a request may leave this much early


class HeaderLimit:
    """A limit that the server's headers state, in requests or in tokens."""

    __slots__ = ("_bucket", "_held_until", "_left", "_left_at", "_limit", "_refill", "_share", "_taken")

    def __init__(self, limit: int, now: float, share: float) -> None:
        self._limit = limit
        self._share = share
        self._bucket = TokenBucket(_TARGET * share * limit / 60, now)
        self._taken = 0.0  # since the last call of `load`
        self._held_until = now
        self._left = 0.0
        self._left_at = now
        self._refill = 0.0  # per second, of a limit whose period is well over a minute; otherwise 0

    @property
    def rate(self) -> float:
        return self._bucket.rate

    def wait(self, now: float, cost: float) -> float:
        wait = max(self._bucket.wait(now, cost), self._held_until - now)
        if self._refill:
            refill = self._share * self._refill
            missing = cost - self._left - refill * (now - self._left_at)
            wait = max(wait, min(missing / refill, self._left_at + _LONGEST_SILENCE_SECONDS - now))
        return wait

    def divide(self, share: float) -> None:
        """Use only this share of the limit; other runs use the rest."""
        self._share = share
        self._bucket.rate = _TARGET * share * self._limit / 60

    def load(self, seconds: float) -> float:
        """Return the share of the whole limit that was used in the last `seconds`."""
        taken, self._taken = self._taken, 0.0
        return max(0.0, taken) / (self._limit / 60 * seconds)

    def at_once(self, cost: float) -> float:
        """Return how many requests of this cost may be charged together, because they leave in an instant."""
        return 1.0 if self._refill else self.rate * _INSTANT_SECONDS / max(cost, 1.0)

    def charge(self, now: float, cost: float) -> None:
        self._bucket.charge(now, cost)
        self._left -= cost
        self._taken += cost

    def adjust(self, difference: float) -> None:
        difference = min(difference, self._limit)  # no server accepts a request above the whole limit
        self._bucket.adjust(difference)
        self._left -= difference
        self._taken += difference

    def update(self, now: float, stated: StatedHeaders, *, cost: float, unseen: float) -> None:
        """Apply a response's headers; `cost` is of its request, `unseen` of the requests sent after it."""
        limit, remaining, reset = stated
        if limit is None:
            return
        if limit != self._limit:
            self._limit = limit
            self._bucket.rate = _TARGET * self._share * limit / 60
        self._refill = 0.0
        if remaining is None or not reset:
            return
        if reset > 90:  # the remainder may be used at once, then only the refill
            self._refill = max(limit - remaining, 1) / reset
            self._left, self._left_at = self._share * (remaining - unseen), now
        elif remaining < cost and 1 < reset <= 45:  # a fixed window has no refill before its end
            self._held_until = now + reset


class HeaderLimits:
    """The stated limits of requests and of tokens together.

    Where several requests may leave in an instant, they are charged together in advance.
    """

    __slots__ = ("_estimate", "_prepaid", "_prepaid_tokens", "_requests", "_share", "_tokens")

    def __init__(self, estimate: TokenEstimate) -> None:
        self._estimate = estimate
        self._requests: HeaderLimit | None = None
        self._tokens: HeaderLimit | None = None
        self._share = 1.0
        self._prepaid = 0  # requests that are charged already
        self._prepaid_tokens = 0.0  # tokens of these requests

    def _known(self) -> list[HeaderLimit]:
        return [limit for limit in (self._requests, self._tokens) if limit is not None]

    def rate(self, tokens: float) -> float:
        """Return how many requests of this many tokens may leave per second; infinity when nothing is stated."""
        rate = self._requests.rate if self._requests is not None else inf
        if self._tokens is not None and tokens:
            rate = min(rate, self._tokens.rate / tokens)
        return rate

    def wait(self, now: float, tokens: int) -> float:
        """Return the seconds until a request of this many estimated tokens may leave; 0 or less means now."""
        cost = tokens * self._estimate.ratio
        if self._prepaid and cost <= self._prepaid_tokens:
            return 0.0
        wait = 0.0
        if self._requests is not None:
            wait = self._requests.wait(now, 1.0)
        if self._tokens is not None:
            wait = max(wait, self._tokens.wait(now, cost))
        return wait

    def charge(self, now: float, tokens: int) -> float:
        """Charge a request as it is sent; return the tokens that were reserved for it."""
        cost = tokens * self._estimate.ratio
        if not self._prepaid or cost > self._prepaid_tokens:
            self._charge_ahead(now, cost)
        self._prepaid -= 1
        self._prepaid_tokens -= cost
        return cost if self._tokens is not None else 0.0

    def _charge_ahead(self, now: float, tokens: float) -> None:
        requests = inf if self._requests is None else self._requests.at_once(1.0)
        if self._tokens is not None:
            requests = min(requests, self._tokens.at_once(tokens))
        prepaid = max(1, int(requests)) if requests < inf else 1
        prepaid_tokens = prepaid * tokens
        if self._requests is not None:
            self._requests.charge(now, max(0, prepaid - self._prepaid))
        if self._tokens is not None:
            self._tokens.charge(now, max(0.0, prepaid_tokens - self._prepaid_tokens))
        self._prepaid = max(prepaid, self._prepaid)
        self._prepaid_tokens = max(prepaid_tokens, self._prepaid_tokens)

    def adjust(self, difference: float) -> None:
        """Charge (or refund) the tokens that a request cost beyond its reservation."""
        if self._tokens is None:
            return
        if abs(difference) <= self._prepaid_tokens:
            self._prepaid_tokens -= difference
        else:
            self._tokens.adjust(difference)

    def update(self, now: float, headers: RateHeaders, *, tokens: float, unseen: int) -> bool:
        """Apply a response's headers; return whether they state any limit.

        `tokens` is what its request cost; `unseen` counts the requests sent after it.
        """
        self._refund_unused()
        requests, stated = headers.requests, headers.tokens
        if requests[0] is not None:
            self._requests = self._requests or HeaderLimit(requests[0], now, self._share)
            self._requests.update(now, requests, cost=1.0, unseen=unseen)
        if stated[0] is not None:
            self._tokens = self._tokens or HeaderLimit(stated[0], now, self._share)
            self._tokens.update(now, stated, cost=tokens, unseen=tokens * unseen)
        return requests[0] is not None or stated[0] is not None

    def _refund_unused(self) -> None:
        """Refund what was charged in advance."""
        if self._requests is not None:
            self._requests.adjust(-self._prepaid)
        if self._tokens is not None:
            self._tokens.adjust(-self._prepaid_tokens)
        self._prepaid, self._prepaid_tokens = 0, 0.0

    def divide(self, share: float) -> None:
        """Use only this share of the limits; other runs use the rest."""
        self._share = share
        for limit in self._known():
            limit.divide(share)

    def load(self, seconds: float) -> float:
        """Return the share of the more used limit that was used in the last `seconds`."""
        return max((limit.load(seconds) for limit in self._known()), default=0.0)
