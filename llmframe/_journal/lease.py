"""How long a run's claims are valid, and how the run detects that they may have expired."""

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
    """Renews a run's claims: other runs may take them over when the lease has expired.

    A suspended process detects that only when it continues.

    Parameters
    ----------
    seconds
        How long a claim is valid after its last renewal; it is renewed every third of that.
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
        """No claim is taken over before this time."""
        self._lapsed_at = -inf

    def lapsed_since(self, moment: float) -> bool:
        """Whether claims made by this moment may have been taken over (seconds, `time.monotonic`)."""
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
