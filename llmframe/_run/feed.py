"""A lane's requests, claimed in the journal before they are sent."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections import deque
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import TYPE_CHECKING

from llmframe._errors import JournalError
from llmframe._pacing import evenly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from llmframe._columns import Plan
    from llmframe._journal import ClaimResult, Journal, Lease, Session
    from llmframe._run.reconciler import Reconciler
    from llmframe._values import Request

LARGEST_CLAIM = 512
"""At most this many requests are claimed at once in the live lane."""

_FIRST_RETRY_SECONDS = 0.1
_LONGEST_RETRY_SECONDS = 1.0


class ClaimedFeed:
    """Feeds a lane with a plan's requests, block by block, each claimed in the journal first.

    Requests that another run has claimed are fed last: when it has answered or released them, or no longer exists.

    Parameters
    ----------
    window
        How many requests may be in flight now. At most this many are claimed ahead, or as many as are sent in
        `ahead_seconds`.
    is_failure
        With `retry_failed`: the verb's judgement of a stored body.
    looked_up
        Whether the run has looked the requests up in the journal, and records answers only of requests from this
        feed.
    largest
        The largest block, even if the window is larger.
    """

    def __init__(
        self,
        plan: Plan,
        wanted: Sequence[int],
        journal: Journal,
        session: Session,
        *,
        lease: Lease,
        reconciler: Reconciler,
        journal_failed: Callable[[JournalError], object],
        window: Callable[[], int],
        ahead_seconds: float,
        is_failure: Callable[[bytes], bool] | None = None,
        looked_up: bool = False,
        largest: int = LARGEST_CLAIM,
    ) -> None:
        self._plan = plan
        self._wanted = wanted
        self._fed = -1
        """The highest number fed so far, except those that were fed early."""
        self._fed_early: set[int] = set()
        self._requests = self._not_early(plan.requests(wanted))
        self._journal = journal
        self._session = session
        self._lease = lease
        self._reconciler = reconciler
        self._journal_failed = journal_failed
        self._window = window
        self._ahead_seconds = ahead_seconds
        self._is_failure = is_failure
        self._largest = largest
        self._ready: deque[Request] = deque()
        self._ready_since = time.monotonic()
        """The ready requests were claimed at this moment or later."""
        self._valid_until = 0.0
        self._refill_at = 0
        """When this many are left, the next block is claimed early: one worker waits for it, and not all of them."""
        self._claimed: deque[tuple[float, int]] = deque(maxlen=8)
        """The times and sizes of the last claimed blocks."""
        self._looked_up = looked_up
        """Whether this run has sent none of the requests since it looked them up."""
        self._held: list[int] = []
        self._parts: set[str] = set()
        self._retries = 0
        self._ended = False
        self._end_event = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def waiting_for_others(self) -> bool:
        return self._retries > 0

    @property
    def more(self) -> bool:
        return bool(self._held) and not self._ended

    @property
    def parts(self) -> AbstractSet[str]:
        return self._parts

    def next_ready(self) -> Request | None:
        left = len(self._ready)
        if not left or (left <= self._refill_at and self._idle.is_set()):
            return None
        if time.monotonic() > self._valid_until and self._stale:
            return None
        return self._ready.popleft()

    async def next(self, *, patient: bool = True) -> Request | None:
        """Return the next claimed request; `None` when there are no more, or with `patient=False` none without waiting."""
        if 0 < len(self._ready) <= self._refill_at and self._idle.is_set():
            with self._claiming():
                await self._fill_up()
        while not self._ready or self._stale:
            if self._idle.is_set():
                with self._claiming():
                    await self._claim_again()
                    await self._fill(patient=patient)
                break
            await self._idle.wait()
        return self._ready.popleft() if self._ready else None

    @contextmanager
    def _claiming(self) -> Iterator[None]:
        """Let one worker claim; all waiting workers wake together, while a lock would wake them one by one."""
        self._idle.clear()
        try:
            yield
        finally:
            self._idle.set()

    @property
    def _stale(self) -> bool:
        """Whether other runs may have taken over the ready requests."""
        if time.monotonic() <= self._valid_until:
            return False
        if self.lapsed_since(self._ready_since):
            return True
        self._valid_until = self._lease.until
        return False

    def lapsed_since(self, moment: float) -> bool:
        return self._lease.lapsed_since(moment)

    async def _claim_again(self) -> None:
        """Claim the requests again that other runs may have taken over."""
        if self._stale:
            stale, self._ready = self._ready, deque()
            self._requests = chain(stale, self._requests)
            self._looked_up = False
            with suppress(JournalError):  # the error ends the run
                await self._lease.renew()
            self._ready_since = time.monotonic()

    def put_back(self, numbers: Iterable[int]) -> None:
        self._requests = chain(self._plan.requests(sorted(numbers)), self._requests)
        self._looked_up = False

    def end(self) -> None:
        self._ended = True
        self._ready.clear()
        self._end_event.set()

    async def _fill_up(self) -> bool:
        """Claim a block up to the allowed number of ready requests; false when no requests are left."""
        limit = self._largest_ready
        self._refill_at = limit // 4
        allowed = 0 if self._ended else max(0, limit - len(self._ready))
        block = list(islice(self._without_outcome(), allowed))
        if block:
            self._fed = max(self._fed, block[-1].number)
            self._claimed.append((time.monotonic(), len(block)))
            await self._claim(block)
        return bool(block)

    def _without_outcome(self) -> Iterator[Request]:
        """Return the remaining requests, except those that have an outcome already."""
        if self._looked_up:
            return self._requests
        return (request for request in self._requests if not self._reconciler.has_outcome(request.number))

    def _not_early(self, requests: Iterator[Request]) -> Iterator[Request]:
        return (request for request in requests if request.number not in self._fed_early)

    async def spread(self, count: int) -> list[Request]:
        while not self._idle.is_set():
            await self._idle.wait()
        ready = {request.number: request for request in self._ready}
        start = bisect_right(self._wanted, self._fed)
        later = [number for number in self._wanted[start:] if number not in self._fed_early]
        chosen = evenly([*ready, *later], count)
        claimed = [ready[number] for number in chosen if number in ready]
        self._ready = deque(request for request in self._ready if request not in claimed)
        new = [number for number in chosen if number not in ready]
        self._fed_early.update(new)
        if new:
            with self._claiming():
                kept, self._ready = self._ready, deque()
                await self._claim(list(self._plan.requests(sorted(new))))
                claimed += self._ready
                self._ready = kept
        return claimed

    @property
    def _largest_ready(self) -> int:
        """How many requests may be ready: one window, or as many as are sent in `ahead_seconds`."""
        limit = self._window()
        if len(self._claimed) == self._claimed.maxlen:
            seconds = max(time.monotonic() - self._claimed[0][0], 0.001)
            limit = max(limit, int(sum(size for _, size in self._claimed) * self._ahead_seconds / seconds))
        return max(1, min(limit, self._largest))

    async def _fill(self, *, patient: bool) -> None:
        """Claim blocks until a request is ready; with `patient=False`, the held requests are tried once."""
        tried_held = False
        while not self._ready and not self._ended:
            if await self._fill_up():
                continue
            if not self._held or (tried_held and not patient):
                return
            tried_held = True
            await self._retry_held(patient=patient)

    async def _retry_held(self, *, patient: bool) -> None:
        if patient:
            await self._pause(min(_LONGEST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2 ** min(self._retries, 9)))
            self._retries += 1
        held = [number for number in self._held if not self._reconciler.has_outcome(number)]
        self._requests, self._held, self._parts = self._plan.requests(held), [], set()
        self._looked_up = False

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._end_event.wait()

    async def _claim(self, block: Sequence[Request]) -> None:
        keys = [request.key for request in block]
        try:
            claimed = await self._journal.claim(
                self._session, keys, is_failure=self._is_failure, looked_up=self._looked_up
            )
        except JournalError as error:
            self._ended = True
            self._journal_failed(error)
            return
        if len(claimed.granted) < len(keys):
            block = self._granted(block, claimed)
        if not self._ended:
            self._ready.extend(block)
        self._parts.update(claimed.parts)
        self._retries = self._retries if not claimed.granted else 0
        self._reconciler.add_inherited(claimed.uncertain)
        self._reconciler.on_batches(claimed.parts)

    def _granted(self, block: Sequence[Request], claimed: ClaimResult) -> list[Request]:
        """Return the requests that were granted; reconcile or hold the others."""
        requests = {request.key: request for request in block}
        self._held.extend(requests[key].number for key in claimed.held)
        for stored in claimed.answered:
            self._reconciler.reconcile(requests[stored.key].number, stored)
        return [requests[key] for key in claimed.granted]
