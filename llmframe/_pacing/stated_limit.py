"""A limit that the server states in its headers, in requests or in tokens, and how much of it may be used now."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from llmframe._pacing.token_bucket import TokenBucket
from llmframe._values import LearntLimit

if TYPE_CHECKING:
    from llmframe._pacing.headers import StatedHeaders

_TARGET = 0.99  # share of a limit that an even pace uses
_MARGIN_SECONDS = 0.2  # of the limit's flow that is left unused, for what the network reorders
_SMALL_BUCKET_SECONDS = 2.0  # a bucket of fewer seconds' allowance is used evenly,
_SMALL_BUCKET = 2.0  # and so is one of hardly more than a single request
_LONG_PERIOD_SECONDS = 90.0  # a limit that is whole again only after this time is one of hours or days
_LONGEST_SILENCE_SECONDS = (
    60.0  # after which a request asks whether such a limit, or a used-up window, still holds
)
_LONGEST_WINDOW_SECONDS = 45.0  # nothing flows back within a window that ends earlier
_FIRST_BURST_SECONDS = 1.0
_LONGEST_BURST_SECONDS = 60.0
_CLEAR_SECONDS = 1.5  # by which the resets of a bucket and of a fixed window must differ
_FLOW_SECONDS, _FLOW_GAIN = 1.0, 0.3  # of a measurement of what other clients take, and its weight
_FULL = 0.98  # share of the largest remainder above which a bucket counts as full
_MOST_USED = 100_000  # tokens of one answer that are learnt at most: some servers report impossible values
_LARGEST_CHARGE = 100.0  # times the estimate
_REFUSALS_BY_SECOND = 2
_BY_SECOND_SECONDS = 86_400.0  # after which it is tried again whether what remains may be used at once
_DOUBT = 0.5  # share of what no answer has shown yet by which it may have been charged beyond what was learnt
_SILENCE = 10  # times as long as one request takes at the limit's rate
_HARDLY_MORE = 4  # times the charge that is learnt: a request may be charged more
_WINDOW_SLACK_SECONDS = 0.05
_NO_REQUEST = -1.0  # the total of what is known without one
_GAIN_UP, _GAIN_DOWN = 0.05, 0.3  # of a reading: requests that leave together arrive in any order


class Reading(NamedTuple):
    """What one response states, and when its request was sent."""

    sent_at: float
    total: float
    """The amount of all requests up to this one."""
    remaining: float
    reset: float | None


class Seen(NamedTuple):
    """What was charged in all until the end of a round trip, from some time on, and for which accepted estimates."""

    charged: float
    estimates: float
    at: float


class StatedLimit:
    """A limit in requests or in tokens.

    What may leave is what remained at the newest request that was answered, less the charges of all sent after it,
    plus what has flowed back; a burst is at first one second's allowance ahead of an even pace, and twice as far ahead
    after each step that was answered. The pace is even where a limit is enforced by the second, and while the server
    does not state what remains.

    Parameters
    ----------
    limit
        The allowance of a minute (of a day, where its reset is that far away).
    share
        The share of it that is this process's own.
    charged
        How a request is charged relative to its estimate; `None`: it is learnt from what the remainder falls by.
    """

    def __init__(
        self, limit: float, now: float, share: float, *, charged: float | None, by_second_until: float = -inf
    ) -> None:
        self.limit = limit
        self.ratio = 1.0 if charged is None else charged
        self.by_second_until = by_second_until
        """Until when refusals have shown that the limit is enforced by the second."""
        self._learns = charged is None
        self._fall = self._estimated = 0.0  # what was charged, and the estimates of the requests for it
        self._share = share
        self._even = TokenBucket(_TARGET * share * limit / 60, now)
        self._burst = _FIRST_BURST_SECONDS
        self._refusals = 0  # that said that something remains
        self._newest: Reading | None = None
        self._anchor: Reading | None = None  # against which a reading shows whether anything flows back
        self._fixed = False  # whether all of it comes back at once
        self._capacity_seconds = 0.0
        self._left = 0.0  # of this process's share
        self._left_at = self._sent_at = now
        self._largest = 0.0  # remainder seen
        self._resets_at = inf
        self._held_until = now
        self._others = 0.0  # what other clients take per second
        self._others_took = self._others_seconds = 0.0
        self._refused = 0.0  # estimates of the requests that were refused, and so not charged
        self._round_trip_end = 0.0  # the estimates of all requests until this round trip began
        self._charged, self._lowest = (
            -inf,
            inf,
        )  # most charged, and least remainder, at any reading of this round trip
        self._seen: Seen | None = None  # at the end of the last one
        self._taken = 0.0  # since the last call of `load`
        self._unshown = 0.0  # estimates of the requests after the newest one that was answered

    def begin_with(self, learnt: LearntLimit, now: float) -> None:
        """Begin with what an earlier process has learnt: what remains may be used at once, and the first answer states it."""
        self._left = self.limit / 60 * (learnt.bucket_seconds - learnt.full_in_seconds)
        self._newest = Reading(now, _NO_REQUEST, self._left, learnt.full_in_seconds)
        self._capacity_seconds = self._burst = learnt.bucket_seconds

    def learnt(self, now: float) -> LearntLimit | None:
        """Return what the next process may begin with; `None` for a limit of hours or days."""
        if self._long:
            return None
        left = self._left / self._share + self.flow * (now - self._left_at)
        whole = 0.0 if self._small else self._capacity_seconds
        return LearntLimit(self.limit, self._capacity_seconds, min(max(0.0, whole - left / self.flow), whole))

    @property
    def flow(self) -> float:
        """What flows back per second."""
        newest = self._newest
        if newest is not None and newest.reset is not None and newest.reset > _LONG_PERIOD_SECONDS:
            return max(self.limit - newest.remaining, 1.0) / newest.reset
        return self.limit / 60

    @property
    def rate(self) -> float:
        """The estimates per second that an even pace uses."""
        return self._even.rate / self.ratio

    @property
    def _long(self) -> bool:
        return self._newest is not None and (self._newest.reset or 0.0) > _LONG_PERIOD_SECONDS

    @property
    def _small(self) -> bool:
        """Whether the server keeps hardly more than what flows back at once, or states nothing about it."""
        return self._newest is None or self._capacity_seconds < max(
            _SMALL_BUCKET_SECONDS, 60 * _SMALL_BUCKET / self.limit
        )

    def _evenly(self, now: float) -> bool:
        return self._small or (now < self.by_second_until and not self._long)

    def wait(self, now: float, estimate: float) -> float:
        """Return the seconds until a request of this estimate may leave; 0 or less means now."""
        cost = estimate * self.ratio
        held = self._held_until - now
        if self._evenly(now):
            return max(held, self._even.wait(now, cost))
        if self._long:
            missing = cost - self._left - self._share * self.flow * (now - self._left_at)
            wait = min(missing / (self._share * self.flow), self._left_at + _LONGEST_SILENCE_SECONDS - now)
            return max(held, wait)
        return max(held, self._until_there_is(now, cost), self._even.ahead(now) - self._burst)

    def _until_there_is(self, now: float, cost: float) -> float:
        """Return the seconds until this much remains."""
        if self._fixed and now >= self._resets_at:
            self._left, self._left_at, self._resets_at = self._share * self._largest, now, inf
            self._forget_charges()
        flow = self._own_flow()
        missing = cost + self._margin() + self._doubt() - self._left - flow * (now - self._left_at)
        if missing <= 0:
            return 0.0
        if self._fixed:  # after a silence only a request tells whether it is still so
            return min(self._resets_at, self._sent_at + _LONGEST_SILENCE_SECONDS) - now
        at_rate = self._share * self.flow
        silence = self._sent_at + _SILENCE * cost / at_rate - now
        return min(missing / max(flow, at_rate / _SILENCE), silence)

    def _own_flow(self) -> float:
        """Return what flows back to this process per second: other clients, beyond the shares, take their part first."""
        flow = 0.0 if self._fixed else self.flow
        sharing = 0.0 if self._fixed else (1 - self._share) * self.flow
        return self._share * flow - max(0.0, self._others - sharing)

    def _margin(self) -> float:
        return _MARGIN_SECONDS * self._share * self.flow

    def _doubt(self) -> float:
        """Return what the requests whose charge no answer has shown may have been charged beyond what was learnt."""
        return _DOUBT * self._unshown * self.ratio if self._learns else 0.0

    def ahead(self, now: float) -> float:
        """Return how many seconds the requests so far are ahead of an even pace."""
        return 0.0 if self._evenly(now) or self._long else self._even.ahead(now)

    def charge(self, now: float, estimate: float) -> float:
        """Charge a request as it is sent; return what for it."""
        cost = estimate * self.ratio
        self._even.charge(now, cost)
        self._sent_at = now
        self._unshown += estimate
        self._left -= cost
        self._taken += cost
        return cost

    def begin(self, began: float, sent: float) -> None:
        """Count the requests that were sent, from some time on, before the limit was known: they used up a small bucket."""
        if self._small:
            self._even = TokenBucket(self._even.rate, began)
            self._even.charge(began, sent)

    def on_used(self, estimate: float, charged: float, used: float) -> None:
        """Learn from what an answer used, where what remains does not tell how it is charged."""
        if not self._learns or not self._small:
            return
        used = min(used, self.limit)  # no server accepts a request above the whole limit
        self._even.adjust(used - charged)
        self._learn(min(used, _MOST_USED), estimate)

    def on_answer(self, ahead: float) -> None:
        """Learn that a request was accepted that left this far ahead of an even pace."""
        if ahead > self._burst / 2:
            self._burst = min(2 * self._burst, _LONGEST_BURST_SECONDS)

    def lacks(self, now: float, estimate: float) -> bool:
        """Return whether the newest headers say that hardly more remains than a request of this estimate takes."""
        if self._evenly(now) or self._newest is None:
            return False
        return self._newest.remaining < _HARDLY_MORE * estimate * self.ratio

    def on_refused(self, estimate: float) -> None:
        """Learn that a request of this estimate was refused."""
        self._refused += estimate

    def hold(self, now: float, wait: float | None) -> None:
        """Wait as long as the server asks, because nothing remains."""
        self._held_until = max(self._held_until, now + (wait or 0.0))

    def on_early_refusal(self, now: float, ahead: float) -> bool:
        """Learn that a request was refused although something remains; return whether it left too early for that."""
        if self._evenly(now) or ahead <= _FIRST_BURST_SECONDS / 4:
            return False
        self._refusals += 1
        self._burst = _FIRST_BURST_SECONDS
        if self._refusals >= _REFUSALS_BY_SECOND:
            self._refusals, self.by_second_until = 0, now + _BY_SECOND_SECONDS
        return True

    def divide(self, share: float) -> None:
        """Use only this share of the limit; other processes use the rest."""
        if share != self._share:
            self._left *= share / self._share
            self._share = share
            self._even.rate = _TARGET * share * self.limit / 60

    def load(self, seconds: float) -> float:
        """Return the share of the whole limit that was used in the last `seconds`."""
        taken, self._taken = self._taken, 0.0
        return max(0.0, taken) / (self.flow * seconds)

    def read(self, now: float, sent_at: float, stated: StatedHeaders, *, total: float, sent: float) -> None:
        """Apply a response's headers.

        Parameters
        ----------
        now, sent_at
            When the response arrived, and when its request was sent.
        total, sent
            The estimates of all requests up to this one, and of all that were sent by now.
        """
        limit, remaining, reset = stated
        if limit is None:
            return
        if limit != self.limit:
            self.limit = limit
            self._even.rate = _TARGET * self._share * limit / 60
            self._newest = self._anchor = None
            self._largest = 0.0
            self._forget_charges()
        if remaining is None:
            return
        reading = Reading(sent_at, total, remaining, reset)
        self._left += self._own_flow() * (now - self._left_at)
        self._left_at = now
        if not self._long:
            self._learn_charges(reading, sent)
            self._left = min(self._left, self._share * self._most_left(now))
        if self._newest is not None and total <= self._newest.total:
            return
        self._learn_capacity(reading)
        self._learn_form(reading)
        left = self._share * remaining - (sent - total) * self.ratio + self._own_flow() * (now - sent_at)
        if self._newest is None or self._long:
            self._left = left
        elif self._newest.total == _NO_REQUEST:
            self._left = min(
                left, self._left
            )  # others may have used it since, or requests arrived in another order
        else:
            self._left += (_GAIN_DOWN if left < self._left else _GAIN_UP) * (left - self._left)
        self._newest = reading
        self._unshown = sent - total
        self._largest = max(self._largest, remaining)
        if reset is not None:
            self._resets_at = sent_at + reset + _WINDOW_SLACK_SECONDS
            if remaining < self.ratio and 1 < reset <= _LONGEST_WINDOW_SECONDS and not self._evenly(now):
                self._held_until = now + reset  # nothing flows back before a fixed window's end

    def _most_left(self, now: float) -> float:
        """Return what remains at most, by what was charged at any recent reading."""
        charged = max(self._charged, self._seen.charged if self._seen is not None else -inf)
        return (0.0 if self._fixed else self.flow * now) - charged

    def _forget_charges(self) -> None:
        self._charged, self._lowest, self._seen = -inf, inf, None

    def _learn_capacity(self, reading: Reading) -> None:
        """Learn how many seconds' allowance the server keeps: a bucket that is full earlier than in a minute is smaller."""
        used = 1 - reading.remaining / self.limit
        if reading.reset is None:
            self._capacity_seconds = 60.0
        elif reading.reset and used:
            self._capacity_seconds = max(self._capacity_seconds * 0.999, min(60.0, reading.reset / used))

    def _learn_form(self, reading: Reading) -> None:
        """Learn from two resets whether the allowance flows back evenly, or at once at a window's end."""
        anchor = self._anchor
        if reading.reset is None:
            return
        if anchor is None or anchor.reset is None:
            self._anchor = reading
            return
        window = anchor.reset - (reading.sent_at - anchor.sent_at)
        bucket = anchor.reset + (anchor.remaining - reading.remaining) * 60 / self.limit
        if window < 0:  # that window has ended
            self._anchor = reading
        elif abs(window - bucket) > _CLEAR_SECONDS:
            fixed = abs(reading.reset - window) < abs(reading.reset - bucket)
            if fixed != self._fixed:
                self._fixed = fixed
                self._forget_charges()
            self._anchor = reading

    def _learn_charges(self, reading: Reading, sent: float) -> None:
        """Learn what requests are charged; or, where that is known, what other clients take.

        Requests that leave together arrive in any order, so that one reading alone does not show what was charged until
        then. That is learnt from round trip to round trip: the most that was charged at any reading of each.
        """
        if reading.total > self._round_trip_end:
            accepted = self._round_trip_end - self._refused
            before, seen = self._seen, Seen(self._charged, accepted, reading.sent_at)
            full = self._lowest >= _FULL * self._largest  # nothing flows into it
            self._seen = None if full else seen
            if before is not None and self._seen is not None:
                self._learn_round_trip(before, seen)
            self._round_trip_end, self._charged, self._lowest = sent, -inf, inf
        flow = 0.0 if self._fixed else self.flow
        self._charged = max(self._charged, flow * reading.sent_at - reading.remaining)
        self._lowest = min(self._lowest, reading.remaining)

    def _learn_round_trip(self, before: Seen, seen: Seen) -> None:
        charged, estimate = seen.charged - before.charged, seen.estimates - before.estimates
        if self._fixed and charged < 0:
            return
        if self._learns:
            if not self._small and charged > -self.limit / 4:
                self._learn(charged, estimate)
            return
        self._others_took += charged - estimate * self.ratio
        self._others_seconds += seen.at - before.at
        if self._others_seconds >= _FLOW_SECONDS:
            others = min(max(self._others_took / self._others_seconds, -self.flow), 2 * self.flow)
            self._others += _FLOW_GAIN * (others - self._others)
            self._others_took = self._others_seconds = 0.0

    def _learn(self, charged: float, estimate: float) -> None:
        self._fall += charged
        self._estimated += estimate
        if self._estimated * self.ratio > self.limit:  # what was learnt earlier counts less
            self._fall, self._estimated = self._fall / 2, self._estimated / 2
        if self._estimated:
            self.ratio = min(max(self._fall / self._estimated, 1 / _LARGEST_CHARGE), _LARGEST_CHARGE)
