"""How long a run's claims stand, and how the run finds out that they may not have."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING

from llmframe._errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmframe._journal.protocol import Journal, Session


class Lease:
    """Keeps a run's claims alive: others may take them over when the lease was not renewed for long.

    A process can be suspended, and find that out only afterwards.

    Parameters
    ----------
    seconds
        How long a claim stands after its last renewal; it is renewed every third of that.
    journal_failed
        Called with the error when the lease cannot be renewed.
    """

    def __init__(
        self,
        journal: Journal,
        session: Session,
        seconds: float,
        journal_failed: Callable[[JournalError], object],
    ) -> None:
        self._journal = journal
        self._session = session
        self._seconds = seconds
        self._journal_failed = journal_failed
        self.until = time.monotonic() + seconds
        """No claim is taken over before."""
        self._lapsed_at = -inf

    def lapsed_since(self, moment: float) -> bool:
        """Whether what was claimed by then may have been taken over (seconds, `time.monotonic`)."""
        return self._lapsed_at >= moment or time.monotonic() > self.until

    async def renew(self) -> None:
        began = time.monotonic()
        try:
            await self._journal.renew(self._session)
        except JournalError as error:
            self._journal_failed(error)
            raise
        if time.monotonic() > self.until:
            self._lapsed_at = time.monotonic()
        self.until = began + self._seconds

    async def keep(self) -> None:
        """Renew the lease until cancelled, or until the journal fails."""
        with suppress(JournalError):
            while True:
                await asyncio.sleep(self._seconds / 3)
                await self.renew()
