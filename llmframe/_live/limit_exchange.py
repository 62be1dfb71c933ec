"""Runs under one key on one machine keep to its limits together, through the journal that they share."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from llmframe._errors import JournalError
from llmframe._journal import registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from llmframe._journal.protocol import Journal, Session
    from llmframe._pacing.pace import Pace

_EXCHANGE_SECONDS = 0.5
_JOIN_SECONDS = 1.2 * _EXCHANGE_SECONDS
"""Who joins others lets them make room before the first request."""


class Neighbours:
    """Tells the other runs of a pool what this one uses, and its pace what is left, while it is entered.

    Parameters
    ----------
    pool
        Names the limits: those of one key for one model of one server.
    failed
        Hears of a journal that fails.
    """

    def __init__(
        self,
        journal: Journal,
        session: Session,
        pool: bytes,
        pace: Pace,
        failed: Callable[[JournalError], object],
    ) -> None:
        self._journal = journal
        self._session = session
        self._pool = pool
        self._pace = pace
        self._failed = failed
        self._going_on: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        if await self._exchange():
            await asyncio.sleep(_JOIN_SECONDS)
        self._going_on = asyncio.create_task(self._go_on())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._going_on is not None:
            self._going_on.cancel()
            await asyncio.wait({self._going_on})

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(_EXCHANGE_SECONDS)
            await self._exchange()

    async def _exchange(self) -> bool:
        """Tell and hear; return whether there are others."""
        mine = self._pace.report(time.monotonic())
        try:
            others = await registry.on_thread(self._journal.exchange, self._session, self._pool, mine)
        except JournalError as error:
            self._failed(error)
            return False
        self._pace.divide(time.monotonic(), mine, others)
        return bool(others)
