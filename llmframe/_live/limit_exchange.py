"""Runs that share an account's limits divide them, through their common journal."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from llmframe._errors import JournalError
from llmframe._loop import beside

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from llmframe._journal import Journal, Session
    from llmframe._pacing import Pace

_JOIN_INTERVALS = 1.2
"""Intervals that a run waits before its first request when others are running, so that they reduce their share."""


class LimitExchange:
    """Reports this run's use to the other runs of its group, and divides its pace's limits with them.

    Parameters
    ----------
    group
        Identifies the limits: those of one key for one model of one server.
    seconds
        The interval between two reports.
    journal_failed
        Called with the error when the journal fails.
    """

    def __init__(
        self,
        journal: Journal,
        session: Session,
        group: bytes,
        pace: Pace,
        *,
        seconds: float,
        journal_failed: Callable[[JournalError], object],
    ) -> None:
        self._journal = journal
        self._session = session
        self._group = group
        self._pace = pace
        self._seconds = seconds
        self._journal_failed = journal_failed

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Exchange reports during a block."""
        if await self._exchange():
            await asyncio.sleep(_JOIN_INTERVALS * self._seconds)
        async with beside(self._keep_exchanging()):
            yield

    async def _keep_exchanging(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            await self._exchange()

    async def _exchange(self) -> bool:
        """Write this run's report and read the others; return whether there are any."""
        own = self._pace.usage_report(time.monotonic())
        try:
            others = await self._journal.exchange(self._session, self._group, own)
        except JournalError as error:
            self._journal_failed(error)
            return False
        self._pace.divide(time.monotonic(), own, others)
        return bool(others)
