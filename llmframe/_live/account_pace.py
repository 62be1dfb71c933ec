"""The pace of each account of this process, which its runs share; other processes divide the limits through the journal."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from llmframe._errors import JournalError
from llmframe._live.cache_warming import CacheWarming
from llmframe._loop import beside
from llmframe._pacing import Pace

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import AsyncIterator, Callable, Sequence

    from llmframe._journal import Journal, Session
    from llmframe._pacing import RunPace
    from llmframe._values import LearntPace

_JOIN_INTERVALS = 1.2
"""Intervals that a process waits before its first request when others are running, so that they reduce their share."""

_accounts: WeakKeyDictionary[AbstractEventLoop, dict[bytes, AccountPace]] = WeakKeyDictionary()
"""By loop: the connections of another loop, such as a user's own, have limits of their own, and so has a fork."""


class AccountPace:
    """The pace of one account and model, and the exchange with the other processes that use it.

    Parameters
    ----------
    group
        Identifies the limits: those of one key for one model of one server.
    """

    def __init__(self, group: bytes, pace: Pace) -> None:
        self.pace = pace
        self._group = group
        self._cached: dict[bytes, float] = {}
        """When a request with a prefix that the provider keeps was answered last, by the prefix's digest."""
        self._reporting: _Exchange | None = None
        """Of the run that reports for all of them."""
        self.kept: LearntPace | None = None
        """What the journal keeps for the next process, as far as this one has written it."""

    @classmethod
    async def of(cls, group: bytes, journal: Journal, *, local: bool) -> AccountPace:
        """Return the account's pace in the running loop; a new one begins with what earlier processes learnt."""
        accounts = _accounts.setdefault(asyncio.get_running_loop(), {})
        if group not in accounts:
            learnt = await journal.learnt_pace(group)
            accounts.setdefault(group, cls(group, Pace(local=local, learnt=learnt, now=time.monotonic())))
        return accounts[group]

    def warming(self, prefixes: Sequence[bytes | None]) -> CacheWarming:
        """Return what holds a run's requests back until these prefixes are in the provider's cache."""
        return CacheWarming(prefixes, self._cached, time.monotonic())

    @asynccontextmanager
    async def running(
        self,
        run: RunPace,
        journal: Journal,
        session: Session,
        *,
        seconds: float,
        journal_failed: Callable[[JournalError], object],
    ) -> AsyncIterator[None]:
        """Take part during a block; one run at a time reports the use of all.

        Parameters
        ----------
        seconds
            The interval between two reports.
        journal_failed
            Called with the error when the journal fails.
        """
        exchange = _Exchange(self.pace, self._group, journal, session, journal_failed)
        try:
            if self._reporting is None:
                self._reporting = exchange
                if await exchange.once():
                    await asyncio.sleep(_JOIN_INTERVALS * seconds)
            async with beside(self._keep_exchanging(exchange, seconds)):
                yield
        finally:
            if self._reporting is exchange:
                self._reporting = None
            run.leave()
            self.kept = await exchange.keep_learnt(self.kept)

    async def _keep_exchanging(self, exchange: _Exchange, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            self._reporting = self._reporting or exchange  # the run that reported may have ended
            if self._reporting is exchange:
                await exchange.once()


class _Exchange:
    """Exchanges a process's use of its limits with the others, in one run's name."""

    def __init__(
        self,
        pace: Pace,
        group: bytes,
        journal: Journal,
        session: Session,
        journal_failed: Callable[[JournalError], object],
    ) -> None:
        self._pace = pace
        self._group = group
        self._journal = journal
        self._session = session
        self._journal_failed = journal_failed

    async def once(self) -> bool:
        """Write this process's report and read the others; return whether there are any."""
        own = self._pace.usage_report(time.monotonic())
        try:
            others = await self._journal.exchange(self._session, self._group, own)
        except JournalError as error:
            self._journal_failed(error)
            return False
        self._pace.divide(own, list(others.values()))
        return bool(others)

    async def keep_learnt(self, kept: LearntPace | None) -> LearntPace | None:
        """Write what the next process may start with, if it differs from what is kept; return what is kept then."""
        learnt = self._pace.learnt(time.monotonic())
        if learnt is None or (kept is not None and learnt.is_like(kept)):
            return kept
        try:
            await self._journal.keep_pace(self._group, learnt)
        except JournalError as error:
            self._journal_failed(error)
            return kept
        return learnt
