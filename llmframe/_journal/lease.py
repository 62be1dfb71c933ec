"""How long a run's claims stand, and how it finds out that they may not have."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING

from llmframe._errors import JournalError
from llmframe._journal import registry
from llmframe._journal.protocol import LEASE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmframe._journal.protocol import Journal, Session

_RENEW_SECONDS = LEASE_SECONDS / 3


class Lease:
    """What a run's claims stand on: others may take them over when nothing was heard of it for long.

    A process can be stopped, and find that out only afterwards.
    """

    def __init__(
        self, journal: Journal, session: Session, journal_failed: Callable[[JournalError], object]
    ) -> None:
        self._journal = journal
        self._session = session
        self._journal_failed = journal_failed
        self.until = time.monotonic() + LEASE_SECONDS
        """Nobody takes anything over before."""
        self._lapsed_at = -inf

    def lapsed_since(self, moment: float) -> bool:
        """Whether what was claimed by then may have been taken over (seconds, `time.monotonic`)."""
        return self._lapsed_at >= moment or time.monotonic() > self.until

    async def renew(self) -> None:
        began = time.monotonic()
        try:
            await registry.on_thread(self._journal.renew, self._session)
        except JournalError as error:
            self._journal_failed(error)
            raise
        if time.monotonic() > self.until:
            self._lapsed_at = time.monotonic()
        self.until = began + LEASE_SECONDS

    async def keep(self) -> None:
        """Keep the claims alive until cancelled, or the journal fails."""
        with suppress(JournalError):
            while True:
                await asyncio.sleep(_RENEW_SECONDS)
                await self.renew()
