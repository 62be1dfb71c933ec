"""Between the journal and a lane: requests are claimed before they are sent, answers are kept in groups."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from llmframe import _journal
from llmframe._errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from llmframe._journal import Journal, Kept, Session
    from llmframe._plan import Plan
    from llmframe._records import Answer, Key, Request

T = TypeVar("T")

COMMIT_SECONDS = 0.05
"""Answers that arrive within so much time are committed together."""

_LARGEST_CLAIM = 256
_FIRST_LOOK_SECONDS = 0.1
_LONGEST_LOOK_SECONDS = 1.0
_RENEW_SECONDS = _journal.LEASE_SECONDS / 3


async def on_journal_thread(function: Callable[..., T], *arguments: Any, **keywords: Any) -> T:
    """Call a journal's method where journals are used, and await its result."""
    return await asyncio.wrap_future(_journal.thread().call(partial(function, *arguments, **keywords)))


class Observer(Protocol):
    """What hears of answers that others gave meanwhile, and of a journal that fails."""

    def settle(self, index: int, kept: Kept) -> None: ...
    def taken_over(self, uncertain: int) -> None: ...
    def journal_failed(self, error: JournalError) -> None: ...


class ClaimedFeed:
    """Feeds a lane with a plan's requests, block by block, each claimed in the journal first.

    Requests that another run has claimed come last: until that run has answered them, given them
    up, or is gone.

    Parameters
    ----------
    window
        How many requests may be in flight now; no block is larger.
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
    ) -> None:
        self._plan = plan
        self._requests = plan.requests(wanted)
        self._journal = journal
        self._session = session
        self._observer = observer
        self._window = window
        self._retry_failed = retry_failed
        self._ready: deque[Request] = deque()
        self._held: list[int] = []
        self._looks = 0
        self._ended = False
        self._ending = asyncio.Event()
        self._lock = asyncio.Lock()

    @property
    def waiting_for_others(self) -> bool:
        return self._looks > 0

    async def next(self) -> Request | None:
        """Return the next claimed request; `None` when there are no more."""
        if not self._ready:
            async with self._lock:
                while not self._ready and not self._ended:
                    await self._refill()
        return self._ready.popleft() if self._ready else None

    def end(self) -> None:
        """Bring no more, and wait for no other run."""
        self._ended = True
        self._ready.clear()
        self._ending.set()

    async def _refill(self) -> None:
        block = list(islice(self._requests, max(1, min(self._window(), _LARGEST_CLAIM))))
        if not block and self._held:
            await self._pause(min(_LONGEST_LOOK_SECONDS, _FIRST_LOOK_SECONDS * 2 ** min(self._looks, 9)))
            self._looks += 1
            self._requests, self._held = self._plan.requests(self._held), []
        elif not block:
            self._ended = True
        else:
            await self._claim(block)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()

    async def _claim(self, block: Sequence[Request]) -> None:
        requests = {request.key: request for request in block}
        try:
            claimed = await on_journal_thread(
                self._journal.claim, self._session, list(requests), retry_failed=self._retry_failed
            )
        except JournalError as error:
            self._ended = True
            self._observer.journal_failed(error)
            return
        if not self._ended:
            self._ready.extend(requests[key] for key in claimed.granted)
        self._held.extend(requests[key].index for key in claimed.held)
        self._looks = self._looks if not claimed.granted else 0
        for kept in claimed.answered:
            self._observer.settle(requests[kept.key].index, kept)
        self._observer.taken_over(claimed.uncertain)


class Recorder:
    """Commits answers in groups, soon after they arrive, off the loop's thread."""

    def __init__(self, journal: Journal, session: Session, observer: Observer) -> None:
        self._journal = journal
        self._session = session
        self._observer = observer
        self._answers: list[Answer] = []
        self._released: list[Key] = []
        self._commit: asyncio.Task[None] | None = None
        self._failed = False

    def answered(self, answer: Answer) -> None:
        self._answers.append(answer)
        self._soon()

    def gave_up(self, key: Key) -> None:
        self._released.append(key)
        self._soon()

    def _soon(self) -> None:
        if self._commit is None and not self._failed:
            self._commit = asyncio.create_task(self._commit_group())

    async def _commit_group(self) -> None:
        while (self._answers or self._released) and not self._failed:
            await asyncio.sleep(COMMIT_SECONDS)
            await self._write()
        self._commit = None

    async def _write(self) -> None:
        answers, self._answers = self._answers, []
        released, self._released = self._released, []
        try:
            await on_journal_thread(self._journal.record, self._session, answers, released)
        except JournalError as error:
            self._answers, self._released = answers + self._answers, released + self._released
            self._failed = True
            self._observer.journal_failed(error)

    async def close(self) -> None:
        """Write what is left; a disk that was full gets a second chance."""
        if self._commit is not None:
            await asyncio.wait({self._commit})
        if self._answers or self._released:
            self._failed = False
            await self._write()

    async def renew(self) -> None:
        """Keep the claims alive until cancelled."""
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            try:
                await on_journal_thread(self._journal.renew, self._session)
            except JournalError as error:
                self._observer.journal_failed(error)
                return
