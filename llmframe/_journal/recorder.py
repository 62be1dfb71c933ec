"""Writes answers into the journal: they are committed in groups, soon after they arrive."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from llmframe._errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmframe._journal.protocol import Journal, PricedAnswer, Session
    from llmframe._values import Answer, Key


class Recorder:
    """Commits answers in groups.

    Parameters
    ----------
    seconds
        Answers that arrive within this time are committed together.
    journal_failed
        Called with the error when answers cannot be kept.
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
        self._answers: list[PricedAnswer] = []
        self._released: list[Key] = []
        self._commit: asyncio.Task[None] | None = None
        self._failed = False

    def add_answer(self, answer: Answer, cost: float | None) -> None:
        """Add an answer, and its cost in US dollars where it is known."""
        self._answers.append((answer, cost))
        if self._commit is None:
            self._commit_soon()

    def release_claim(self, key: Key) -> None:
        """Release the claim on a request without an answer."""
        self._released.append(key)
        if self._commit is None:
            self._commit_soon()

    def _commit_soon(self) -> None:
        if not self._failed:
            self._commit = asyncio.create_task(self._commit_groups())

    async def _commit_groups(self) -> None:
        """Commit until all is written; an error stays in the task, and `flush` raises it."""
        while (self._answers or self._released) and not self._failed:
            await asyncio.sleep(self._seconds)
            await self._write()
        self._commit = None

    async def _write(self) -> None:
        answers, self._answers = self._answers, []
        released, self._released = self._released, []
        try:
            await self._journal.record(self._session, answers, released)
        except Exception as error:
            self._answers, self._released = answers + self._answers, released + self._released
            self._failed = True
            if isinstance(error, JournalError):
                self._journal_failed(error)
                return
            self._journal_failed(JournalError(f"an answer could not be kept: {error!r}"))
            raise

    async def flush(self) -> None:
        """Wait until everything so far is written, or the journal has failed."""
        while (commit := self._commit) is not None:
            await asyncio.wait({commit})
            self._commit = None
            commit.result()

    async def finish(self) -> None:
        """Write the rest; after a failure it is tried once more, since a full disk may have space again."""
        await self.flush()
        if self._answers or self._released:
            self._failed = False
            await self._write()
