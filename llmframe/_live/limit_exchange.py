"""Runs that share an account's limits keep to them together, through the journal that they share."""

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

_JOIN = 1.2
"""So many intervals a run that joins others waits before its first request, so that they make room."""


class LimitExchange:
    """Reports what this run uses to the others of a group, and tells its pace what theirs leave.

    Parameters
    ----------
    group
        Names the limits: those of one key for one model of one server.
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
        self._pool = group
        self._pace = pace
        self._seconds = seconds
        self._journal_failed = journal_failed

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Exchange reports for the length of a block."""
        if await self._exchange():
            await asyncio.sleep(_JOIN * self._seconds)
        async with beside(self._keep_exchanging()):
            yield

    async def _keep_exchanging(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            await self._exchange()

    async def _exchange(self) -> bool:
        """Send and read reports; return whether there are others."""
        mine = self._pace.usage_report(time.monotonic())
        try:
            others = await self._journal.exchange(self._session, self._pool, mine)
        except JournalError as error:
            self._journal_failed(error)
            return False
        self._pace.divide(time.monotonic(), mine, others)
        return bool(others)
