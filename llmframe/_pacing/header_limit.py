"""The limits that a server states in its headers."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from llmframe._pacing.token_bucket import TokenBucket

if TYPE_CHECKING:
    from llmframe._pacing.headers import RateHeaders, StatedHeaders
    from llmframe._pacing.token_bucket import TokenEstimate

_AIM = 0.99  # of a stated limit
_INSTANT = 0.002  # seconds: a request that leaves so much early is not early


class HeaderLimit:
    """A limit that the server's headers state, in requests or in tokens."""

    __slots__ = ("_bucket", "_held_until", "_left", "_left_at", "_limit", "_refill", "_share", "_taken")

    def __init__(self, limit: int, now: float, share: float) -> None:
        self._limit = limit
        self._share = share
        self._bucket = TokenBucket(_AIM * share * limit / 60, now)
        self._taken = 0.0  # since `load` was last asked for
        self._held_until = now
        self._left = 0.0
        self._left_at = now
        self._refill = 0.0  # per second, of a limit whose period is far over a minute; else 0

    @property
    def rate(self) -> float:
        return self._bucket.rate

    def wait(self, now: float, cost: float) -> float:
        wait = max(self._bucket.wait(now, cost), self._held_until - now)
        if self._refill:
            refill = self._share * self._refill
            missing = cost - self._left - refill * (now - self._left_at)
            wait = max(wait, missing / refill)
        return wait

    def divide(self, share: float) -> None:
        """Keep to a share of the limit; other runs have the rest."""
        self._share = share
        self._bucket.rate = _AIM * share * self._limit / 60

    def load(self, seconds: float) -> float:
        """Return what share of the whole limit was taken in these last seconds."""
        taken, self._taken = self._taken, 0.0
        return max(0.0, taken) / (self._limit / 60 * seconds)

    def at_once(self, cost: float) -> float:
        """Return how many requests of this cost may be charged at once: what leaves in an instant."""
        return 1.0 if self._refill else self.rate * _INSTANT / max(cost, 1.0)

    def take(self, now: float, cost: float) -> None:
        self._bucket.take(now, cost)
        self._left -= cost
        self._taken += cost

    def adjust(self, difference: float) -> None:
        difference = min(difference, self._limit)  # no server lets in what costs more than all
        self._bucket.adjust(difference)
        self._left -= difference
        self._taken += difference

    def update(self, now: float, said: StatedHeaders, *, cost: float, unseen: float) -> None:
        """Follow a response's headers; `cost` is its request's, `unseen` that of what left after it."""
        limit, remaining, reset = said
        if limit is None:
            return
        if limit != self._limit:
            self._limit = limit
            self._bucket.rate = _AIM * self._share * limit / 60
        self._refill = 0.0
        if remaining is None or not reset:
            return
        if reset > 90:  # what remains may be used at once, then only what flows back
            self._refill = max(limit - remaining, 1) / reset
            self._left, self._left_at = self._share * (remaining - unseen), now
        elif remaining < cost and 1 < reset <= 45:  # a fixed window: nothing flows back before its end
            self._held_until = now + reset


class HeaderLimits:
    """What a server states of requests and of tokens, together.

    Where many may leave in an instant, all of them are charged at once, and the others need not ask.
    """

    __slots__ = ("_estimate", "_paid", "_requests", "_share", "_tokens", "_tokens_paid")

    def __init__(self, estimate: TokenEstimate) -> None:
        self._estimate = estimate
        self._requests: HeaderLimit | None = None
        self._tokens: HeaderLimit | None = None
        self._share = 1.0
        self._paid = 0  # requests that may leave without asking
        self._tokens_paid = 0.0  # and their tokens

    def _known(self) -> list[HeaderLimit]:
        return [limit for limit in (self._requests, self._tokens) if limit is not None]

    def rate(self, tokens: float) -> float:
        """Return how many requests per second may leave that cost so many tokens; infinity when nothing is stated."""
        rate = self._requests.rate if self._requests is not None else inf
        if self._tokens is not None and tokens:
            rate = min(rate, self._tokens.rate / tokens)
        return rate

    def wait(self, now: float, tokens: int) -> float:
        """Return the seconds until a request may leave that is estimated at so many tokens; 0 or less is now."""
        cost = tokens * self._estimate.ratio
        if self._paid and cost <= self._tokens_paid:
            return 0.0
        wait = 0.0
        if self._requests is not None:
            wait = self._requests.wait(now, 1.0)
        if self._tokens is not None:
            wait = max(wait, self._tokens.wait(now, cost))
        return wait

    def take(self, now: float, tokens: int) -> float:
        """Charge a request as it leaves; return what was reserved for it of a limit of tokens."""
        cost = tokens * self._estimate.ratio
        if not self._paid or cost > self._tokens_paid:
            self._pay(now, cost)
        self._paid -= 1
        self._tokens_paid -= cost
        return cost if self._tokens is not None else 0.0

    def _pay(self, now: float, tokens: float) -> None:
        many = inf if self._requests is None else self._requests.at_once(1.0)
        if self._tokens is not None:
            many = min(many, self._tokens.at_once(tokens))
        paid = max(1, int(many)) if many < inf else 1
        tokens_paid = paid * tokens
        if self._requests is not None:
            self._requests.take(now, max(0, paid - self._paid))
        if self._tokens is not None:
            self._tokens.take(now, max(0.0, tokens_paid - self._tokens_paid))
        self._paid = max(paid, self._paid)
        self._tokens_paid = max(tokens_paid, self._tokens_paid)

    def adjust(self, difference: float) -> None:
        """Take (or give back) the tokens that a request cost beyond its reservation."""
        if self._tokens is None:
            return
        if abs(difference) <= self._tokens_paid:
            self._tokens_paid -= difference
        else:
            self._tokens.adjust(difference)

    def update(self, now: float, headers: RateHeaders, *, tokens: float, unseen: int) -> bool:
        """Follow a response's headers; tell whether they state any limit.

        `tokens` is what its request cost, `unseen` counts the requests that left after it.
        """
        self._refund_unused()
        requests, said = headers.requests, headers.tokens
        if requests[0] is not None:
            self._requests = self._requests or HeaderLimit(requests[0], now, self._share)
            self._requests.update(now, requests, cost=1.0, unseen=unseen)
        if said[0] is not None:
            self._tokens = self._tokens or HeaderLimit(said[0], now, self._share)
            self._tokens.update(now, said, cost=tokens, unseen=tokens * unseen)
        return requests[0] is not None or said[0] is not None

    def _refund_unused(self) -> None:
        """Give back what was charged ahead."""
        if self._requests is not None:
            self._requests.adjust(-self._paid)
        if self._tokens is not None:
            self._tokens.adjust(-self._tokens_paid)
        self._paid, self._tokens_paid = 0, 0.0

    def divide(self, share: float) -> None:
        """Keep to a share of the limits; other runs have the rest."""
        self._share = share
        for limit in self._known():
            limit.divide(share)

    def load(self, seconds: float) -> float:
        """Return what share of the fuller limit was taken in these last seconds."""
        return max((limit.load(seconds) for limit in self._known()), default=0.0)
