"""A lane's requests, claimed in the journal before they are sent; those that wait do not count as sent."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections import deque
from contextlib import contextmanager, suppress
from itertools import chain, islice
from statistics import median
from typing import TYPE_CHECKING

from llmframe._api import Refused
from llmframe._batch import in_open_batch
from llmframe._errors import JournalError
from llmframe._pacing import evenly
from llmframe._values import FaultKind, RequestFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from llmframe._api import Reply, Transport
    from llmframe._columns import Plan
    from llmframe._journal import ClaimResult, Journal, Lease, Recorder, Session, StoredAnswer
    from llmframe._run.results import Results
    from llmframe._values import Key, Request, Stop

LARGEST_CLAIM = 512
"""At most this many requests are claimed at once in the live lane."""

_FIRST_CLAIM = 4
"""The first block; each is at most twice as large as the one before."""
_REFILL_SHARE = 0.25
"""When this share of a block is left, the next one is claimed."""
_FIRST_RETRY_SECONDS = 0.1
_LONGEST_RETRY_SECONDS = 1.0
_NOT_CLAIMED = RequestFault(FaultKind.PASSING, "journal", "The request could not be claimed in the journal.")


class ClaimedFeed:
    """Feeds a lane with a plan's requests, block by block, each claimed in the journal first.

    Requests that another run has claimed are fed last: when it has answered or released them, or no longer exists.

    Parameters
    ----------
    results
        Which requests have an outcome; answers that other runs have recorded meanwhile are added to them.
    stop
        Stops the run.
    waits_for_batches
        Whether requests in other runs' batches are waited for; otherwise they stop the run.
    window
        How many requests may be in flight now; no more are claimed before the pace is known.
    ahead_seconds
        As many requests are claimed ahead as the lane took in this time lately, and at least one; in a longer time where
        claims themselves take long, as in a database far away.
    is_failure
        Decides of a stored answer that it does not count, so that its request is asked again.
    again
        Requests that this run has recorded an answer for, and asks for once more.
    on_late
        Called with each claimed request that is still in `unsent` after twice the time for which requests are claimed ahead.
    looked_up
        Whether the run has looked the requests up in the journal, and records answers only of requests from this
        feed.
    largest
        The largest block, even if the window is larger.

    Attributes
    ----------
    inherited : int
        Requests that a run which no longer exists had claimed, and may have paid without keeping the answers.
    unsent : set
        With `on_late`: requests that were claimed; whoever sends one removes it.
    """

    def __init__(
        self,
        plan: Plan,
        wanted: Sequence[int],
        journal: Journal,
        session: Session,
        *,
        lease: Lease,
        results: Results,
        stop: Callable[[Stop], object],
        waits_for_batches: bool,
        journal_failed: Callable[[JournalError], object],
        window: Callable[[], int],
        ahead_seconds: float,
        is_failure: Callable[[StoredAnswer], bool] | None = None,
        again: AbstractSet[Key] = frozenset(),
        on_late: Callable[[Key], object] | None = None,
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
        self._results = results
        self._stop = stop
        self._waits_for_batches = waits_for_batches
        self.inherited = 0
        self._journal_failed = journal_failed
        self._window = window
        self._ahead_seconds = ahead_seconds
        self._is_failure = is_failure
        self._again = again
        self._on_late = on_late
        self.unsent: set[Key] = set()
        self._largest = largest
        self._ready: deque[Request] = deque()
        self._ready_since = time.monotonic()
        """The ready requests were claimed at this moment or later."""
        self._valid_until = 0.0
        self._refill_at = 0
        """When this many are left, the next block is claimed early: one worker waits for it, and not all of them."""
        self._most_ready = 0
        self._claimed: deque[tuple[float, int]] = deque(maxlen=8)
        """When the last claims were made, and how many requests each was granted."""
        self._claim_seconds: deque[float] = deque(maxlen=8)
        """How long the last claims took."""
        self._none_granted = False
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

    @property
    def ahead(self) -> int:
        if not self._claimed:
            return 1
        seconds = max(time.monotonic() - self._claimed[0][0], 0.001)
        taken = sum(size for _, size in self._claimed) - len(self._ready)
        return max(1, min(int(taken * self._lead_seconds / seconds), self._largest))

    @property
    def _lead_seconds(self) -> float:
        """For how long the ready requests last: the next claim, made when a quarter is left, may take that quarter."""
        usual = median(self._claim_seconds) if self._claim_seconds else 0.0
        return max(self._ahead_seconds, usual / _REFILL_SHARE)

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

    def return_ready(self, request: Request) -> None:
        self._ready.appendleft(request)

    def put_back(self, numbers: Iterable[int]) -> None:
        self._requests = chain(self._plan.requests(sorted(numbers)), self._requests)
        self._looked_up = False

    def end(self) -> None:
        self._ended = True
        self._ready.clear()
        self._end_event.set()

    async def _fill_up(self) -> bool:
        """Claim a block up to the allowed number of ready requests; false when no requests are left."""
        self._most_ready = self._allowed_ready
        self._refill_at = int(self._most_ready * _REFILL_SHARE)
        allowed = 0 if self._ended else max(0, self._most_ready - len(self._ready))
        block = list(islice(self._without_outcome(), allowed))
        if block:
            self._fed = max(self._fed, block[-1].number)
            await self._claim(block)
        return bool(block)

    def _without_outcome(self) -> Iterator[Request]:
        """Return the remaining requests, except those that have an outcome already."""
        if self._looked_up:
            return self._requests
        return (request for request in self._requests if not self._results.has_outcome(request.number))

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
    def _allowed_ready(self) -> int:
        """How many requests may be ready now."""
        if not self._most_ready:
            return max(1, min(self._window(), _FIRST_CLAIM))
        doubled = min(2 * self._most_ready, self._largest)
        # Rows that other runs have answered or claimed meanwhile are passed over quickly.
        return doubled if self._none_granted else min(self.ahead, doubled)

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
        held = [number for number in self._held if not self._results.has_outcome(number)]
        self._requests, self._held, self._parts = self._plan.requests(held), [], set()
        self._looked_up = False

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._end_event.wait()

    async def _claim(self, block: Sequence[Request]) -> None:
        keys, now = [request.key for request in block], time.monotonic()
        try:
            claimed = await self._journal.claim(
                self._session,
                keys,
                is_failure=self._is_failure,
                again=self._again,
                looked_up=self._looked_up,
            )
        except JournalError as error:
            self._ended = True
            self._journal_failed(error)
            return
        self._claim_seconds.append(time.monotonic() - now)
        self._none_granted = not claimed.granted
        self._claimed.append((now, len(claimed.granted)))
        if len(claimed.granted) < len(keys):
            block = self._granted(block, claimed)
        if not self._ended:
            self._ready.extend(block)
            if self._on_late is not None:
                loop = asyncio.get_running_loop()
                self.unsent.update(claimed.granted)
                loop.call_later(2 * self._lead_seconds, self._find_late, claimed.granted, self._on_late)
        self._parts.update(claimed.parts)
        self._retries = self._retries if not claimed.granted else 0
        self.inherited += claimed.uncertain
        if claimed.parts and not self._waits_for_batches:
            self._stop(in_open_batch(["a batch of another run"]))

    def _find_late(self, keys: Iterable[Key], on_late: Callable[[Key], object]) -> None:
        for key in keys:
            if key in self.unsent:
                on_late(key)

    def _granted(self, block: Sequence[Request], claimed: ClaimResult) -> list[Request]:
        """Return the requests that were granted; take the answers to others, and hold the rest."""
        requests = {request.key: request for request in block}
        self._held.extend(requests[key].number for key in claimed.held)
        for stored in claimed.answered:
            if not self._results.has_outcome(number := requests[stored.key].number):
                self._results.add_stored(number, self._results.judge(stored), stored)
        return [requests[key] for key in claimed.granted]


class JournaledTransport:
    """Sends through a transport; a request that waits to be sent does not count as possibly billed meanwhile.

    Parameters
    ----------
    unsent
        The claimed requests that were not sent so far.
    """

    def __init__(self, transport: Transport, recorder: Recorder, unsent: set[Key]) -> None:
        self._transport = transport
        self._recorder = recorder
        self._unsent = unsent
        self._uncertain: set[Key] = set()
        """Requests that an earlier attempt may have billed."""

    async def send(self, request: Request) -> Reply | Refused:
        self._unsent.discard(request.key)  # first: while this waits, it must not be reported as unsent
        if not await self._recorder.before_send(request.key):
            return Refused(_NOT_CLAIMED)
        result = await self._transport.send(request)
        if isinstance(result, Refused):
            self._add_fault(request.key, uncertain=result.fault.uncertain)
        return result

    def _add_fault(self, key: Key, *, uncertain: bool) -> None:
        if uncertain:
            self._uncertain.add(key)
        elif key not in self._uncertain:
            self._recorder.add_unsent(key)

    async def close_connections(self) -> None:
        await self._transport.close_connections()
