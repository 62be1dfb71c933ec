"""Between the journal and a lane: requests are claimed before they are sent, answers are kept in groups."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import TYPE_CHECKING, Protocol

from llmframe._errors import JournalError
from llmframe._journal import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from llmframe._columns.plan import Plan
    from llmframe._journal.lease import Lease
    from llmframe._journal.protocol import Claimed, Journal, Kept, Priced, Session
    from llmframe._values import Answer, Key, Request

COMMIT_SECONDS = 0.05
"""Answers that arrive within so much time are committed together."""

LARGEST_CLAIM = 512
"""How many requests are claimed at once, at most, where they are sent one by one."""

_AHEAD_SECONDS = 0.03
"""What goes in so much time may be claimed ahead: a claim takes a tenth of it, and each has its cost."""

_FIRST_LOOK_SECONDS = 0.1
_LONGEST_LOOK_SECONDS = 1.0


class Observer(Protocol):
    """What hears of answers that others gave meanwhile, and of a journal that fails."""

    @property
    def lease(self) -> Lease: ...
    def settle(self, index: int, kept: Kept) -> None: ...
    def settled(self, index: int) -> bool: ...
    def taken_over(self, uncertain: int) -> None: ...
    def in_batches(self, nonces: Sequence[str]) -> None: ...
    def journal_failed(self, error: JournalError) -> None: ...


class ClaimedFeed:
    """Feeds a lane with a plan's requests, block by block, each claimed in the journal first.

    Requests that another run has claimed come last: until that run has answered them, given them
    up, or is gone.

    Parameters
    ----------
    window
        How many requests may be in flight now; no more are claimed ahead, but for what goes in an instant.
    looked_up
        Whether the run has looked for the requests in the journal, and answers to them that it enters itself
        will all be to requests that it was fed.
    largest
        How large a block may be whatever the window.
    """

    def __init__(
        self,
        plan: Plan,
        wanted: Iterable[int],
        journal: Journal,
        session: Session,
        observer: Observer,
        *,
        window: Callable[[], int],
        retry_failed: bool,
        looked_up: bool = False,
        largest: int = LARGEST_CLAIM,
    ) -> None:
        self._plan = plan
        self._requests = plan.requests(wanted)
        self._journal = journal
        self._session = session
        self._observer = observer
        self._window = window
        self._retry_failed = retry_failed
        self._largest = largest
        self._ready: deque[Request] = deque()
        self._ready_since = time.monotonic()
        """Not before then the ready ones were claimed."""
        self._sure_until = 0.0
        self._low = 0
        """When so many are left, the next block is claimed meanwhile: one worker waits, and not all of them."""
        self._claimed: deque[tuple[float, int]] = deque(maxlen=8)
        """When the last blocks were claimed, and how many requests they had."""
        self._looked_up = looked_up
        """Whether none of the requests can have been asked by this run since it looked for them."""
        self._held: list[int] = []
        self._parts: set[str] = set()
        self._looks = 0
        self._ended = False
        self._ending = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def waiting_for_others(self) -> bool:
        return self._looks > 0

    @property
    def more(self) -> bool:
        return bool(self._held) and not self._ended

    @property
    def parts(self) -> AbstractSet[str]:
        return self._parts

    def ready(self) -> Request | None:
        left = len(self._ready)
        if not left or (left <= self._low and self._idle.is_set()):
            return None
        if time.monotonic() > self._sure_until and self._stale:
            return None
        return self._ready.popleft()

    async def next(self, *, patient: bool = True) -> Request | None:
        """Return the next claimed request; `None` when there are no more, or none now that can be had at once."""
        if 0 < len(self._ready) <= self._low and self._idle.is_set():
            with self._claiming():
                await self._fill_up()
        while not self._ready or self._stale:
            if self._idle.is_set():
                with self._claiming():
                    await self._claim_anew()
                    await self._fill(patient=patient)
                break
            await self._idle.wait()
        return self._ready.popleft() if self._ready else None

    @contextmanager
    def _claiming(self) -> Iterator[None]:
        """Let one worker claim, and wake all that wait for it at once: a lock would let them go one by one."""
        self._idle.clear()
        try:
            yield
        finally:
            self._idle.set()

    @property
    def _stale(self) -> bool:
        """Whether others could take over what is ready, and may have."""
        if time.monotonic() <= self._sure_until:
            return False
        if self.lapsed_since(self._ready_since):
            return True
        self._sure_until = self._observer.lease.until
        return False

    def lapsed_since(self, moment: float) -> bool:
        return self._observer.lease.lapsed_since(moment)

    async def _claim_anew(self) -> None:
        """Take back what others may have taken over."""
        if self._stale:
            stale, self._ready = self._ready, deque()
            self._requests = chain(stale, self._requests)
            self._looked_up = False
            with suppress(JournalError):  # which ends the run
                await self._observer.lease.renew()
            self._ready_since = time.monotonic()

    def put_back(self, indices: Iterable[int]) -> None:
        """Take requests that are to be fed, and claimed, once more."""
        self._requests = chain(self._plan.requests(sorted(indices)), self._requests)
        self._looked_up = False

    def end(self) -> None:
        """Bring no more, and wait for no other run."""
        self._ended = True
        self._ready.clear()
        self._ending.set()

    async def _fill_up(self) -> bool:
        """Claim a block, so that as many are ready as may be; false when there are no more."""
        most = self._most
        self._low = most // 4
        room = 0 if self._ended else max(0, most - len(self._ready))
        block = list(islice(self._unsettled(), room))
        if block:
            self._claimed.append((time.monotonic(), len(block)))
            await self._claim(block)
        return bool(block)

    def _unsettled(self) -> Iterator[Request]:
        """Give the requests that are to come, but for those that have been answered by another way."""
        if self._looked_up:
            return self._requests
        return (request for request in self._requests if not self._observer.settled(request.number))

    @property
    def _most(self) -> int:
        """How many may be ready: one window, or what goes in so much time as is soon over."""
        most = self._window()
        if len(self._claimed) == self._claimed.maxlen:
            seconds = max(time.monotonic() - self._claimed[0][0], 0.001)
            most = max(most, int(sum(size for _, size in self._claimed) * _AHEAD_SECONDS / seconds))
        return max(1, min(most, self._largest))

    async def _fill(self, *, patient: bool) -> None:
        """Claim blocks until something is ready; an impatient lane gets one look at those of others."""
        looked = False
        while not self._ready and not self._ended:
            if await self._fill_up():
                continue
            if not self._held or (looked and not patient):
                return
            looked = True
            await self._look_again(patient=patient)

    async def _look_again(self, *, patient: bool) -> None:
        if patient:
            await self._pause(min(_LONGEST_LOOK_SECONDS, _FIRST_LOOK_SECONDS * 2 ** min(self._looks, 9)))
            self._looks += 1
        held = [index for index in self._held if not self._observer.settled(index)]
        self._requests, self._held, self._parts = self._plan.requests(held), [], set()
        self._looked_up = False

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()

    async def _claim(self, block: Sequence[Request]) -> None:
        keys = [request.key for request in block]
        try:
            claimed = await registry.on_thread(
                self._journal.claim,
                self._session,
                keys,
                retry_failed=self._retry_failed,
                looked_up=self._looked_up,
            )
        except JournalError as error:
            self._ended = True
            self._observer.journal_failed(error)
            return
        if len(claimed.granted) < len(keys):
            block = self._told_apart(block, claimed)
        if not self._ended:
            self._ready.extend(block)
        self._parts.update(claimed.parts)
        self._looks = self._looks if not claimed.granted else 0
        self._observer.taken_over(claimed.uncertain)
        self._observer.in_batches(claimed.parts)

    def _told_apart(self, block: Sequence[Request], claimed: Claimed) -> list[Request]:
        """Return the requests that were granted, and take note of the others."""
        requests = {request.key: request for request in block}
        self._held.extend(requests[key].number for key in claimed.held)
        for kept in claimed.answered:
            self._observer.settle(requests[kept.key].number, kept)
        return [requests[key] for key in claimed.granted]


class Recorder:
    """Commits answers in groups, soon after they arrive, off the loop's thread."""

    def __init__(
        self, journal: Journal, session: Session, journal_failed: Callable[[JournalError], object]
    ) -> None:
        self._journal = journal
        self._session = session
        self._journal_failed = journal_failed
        self._answers: list[Priced] = []
        self._released: list[Key] = []
        self._commit: asyncio.Task[None] | None = None
        self._failed = False

    def answered(self, answer: Answer, cost: float | None) -> None:
        """Keep an answer, and what it cost in US dollars, where that is known."""
        self._answers.append((answer, cost))
        if self._commit is None:
            self._soon()

    def gave_up(self, key: Key) -> None:
        self._released.append(key)
        if self._commit is None:
            self._soon()

    def _soon(self) -> None:
        if not self._failed:
            self._commit = asyncio.create_task(self._commit_group())

    async def _commit_group(self) -> None:
        try:
            while (self._answers or self._released) and not self._failed:
                await asyncio.sleep(COMMIT_SECONDS)
                await self._write()
        finally:
            self._commit = None

    async def _write(self) -> None:
        answers, self._answers = self._answers, []
        released, self._released = self._released, []
        try:
            await registry.on_thread(self._journal.record, self._session, answers, released)
        except Exception as error:
            self._answers, self._released = answers + self._answers, released + self._released
            self._failed = True
            if isinstance(error, JournalError):
                self._journal_failed(error)
                return
            self._journal_failed(JournalError(f"an answer could not be kept: {error!r}"))
            raise

    async def flush(self) -> None:
        """Return when everything so far is written, or the journal has failed."""
        while (commit := self._commit) is not None:
            await asyncio.wait({commit})
            commit.result()

    async def close(self) -> None:
        """Write what is left; a disk that was full gets a second chance."""
        await self.flush()
        if self._answers or self._released:
            self._failed = False
            await self._write()
