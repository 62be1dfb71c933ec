"""Writes outcomes into the journal: they are committed in groups, soon after they arrive."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from llmframe._errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmframe._journal.protocol import Journal, PricedAnswer, Session
    from llmframe._values import Answer, Key


class Recorder:
    """Commits answers in groups, and which claimed requests have surely not been billed.

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
        self._spent: list[PricedAnswer] = []
        self._released: list[Key] = []
        self._unsent: dict[Key, None] = {}
        """In their order, the unsent requests that the journal still counts as possibly sent."""
        self._written_unsent: set[Key] = set()
        self._to_claim: list[Key] = []
        self._claiming = asyncio.Lock()
        self._commit: asyncio.Task[None] | None = None
        self._no_more = asyncio.Event()
        """Set while somebody waits for a commit, which no further answer joins."""
        self._failed = False
        self._finished = False

    def add_answer(self, answer: Answer, cost: float | None) -> None:
        """Add an answer, and its cost in US dollars where it is known."""
        self._answers.append((answer, cost))
        if self._commit is None:
            self._commit_soon()

    def add_spend(self, answer: Answer, cost: float | None) -> None:
        """Add what a body took that broke off, and is no answer; its request stays claimed."""
        self._spent.append((answer, cost))
        if self._commit is None:
            self._commit_soon()

    def release_claim(self, key: Key) -> None:
        """Release the claim on a request without an answer."""
        self._unsent.pop(key, None)
        self._released.append(key)
        if self._commit is None:
            self._commit_soon()

    def add_unsent(self, key: Key) -> None:
        """Add a request that waits to be sent: it has not been, or the server has surely not processed it."""
        if self._finished:
            return
        self._unsent[key] = None
        if self._commit is None:
            self._commit_soon()

    async def before_send(self, key: Key) -> bool:
        """Let a request that waited count as possibly sent again; false when the journal has failed."""
        if key in self._unsent:
            del self._unsent[key]
        elif key in self._written_unsent:
            self._written_unsent.discard(key)
            self._to_claim.append(key)
            async with self._claiming:  # those that arrive meanwhile are claimed together
                await self._claim_again()
        return not self._failed

    async def _claim_again(self) -> None:
        keys, self._to_claim = self._to_claim, []
        if not keys or self._failed:
            return
        try:
            await self._journal.claim(self._session, keys, looked_up=True)
        except JournalError as error:
            self._failed = True
            self._journal_failed(error)

    def _commit_soon(self) -> None:
        if not self._failed:
            self._commit = asyncio.create_task(self._commit_groups())

    async def _commit_groups(self) -> None:
        """Commit until all is written; an error stays in the task, and `flush` raises it."""
        while self._unwritten and not self._failed:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._no_more.wait()
            await self._write()
        self._commit = None

    @property
    def _unwritten(self) -> bool:
        return bool(self._answers or self._spent or self._released or self._unsent)

    async def _write(self) -> None:
        answers, self._answers = self._answers, []
        spent, self._spent = self._spent, []
        released, self._released = self._released, []
        unsent, self._unsent = self._unsent, {}
        self._written_unsent.update(unsent)
        try:
            if unsent:
                await self._journal.mark_unsent(self._session, list(unsent))
            if answers or released or spent:
                await self._journal.record(self._session, answers, released, spent)
        except Exception as error:
            self._answers, self._released = answers + self._answers, released + self._released
            self._spent = spent + self._spent
            self._failed = True
            if isinstance(error, JournalError):
                self._journal_failed(error)
                return
            self._journal_failed(JournalError(f"an answer could not be kept: {error!r}"))
            raise

    async def flush(self) -> None:
        """Wait until everything so far is written, at once, or the journal has failed."""
        self._no_more.set()
        try:
            while (commit := self._commit) is not None:
                await asyncio.wait({commit})
                self._commit = None
                commit.result()
        finally:
            self._no_more.clear()

    async def finish(self) -> None:
        """Write the rest; after a failure it is tried once more, since a full disk may have space again."""
        self._finished = True
        await self.flush()
        if self._unwritten:
            self._failed = False
            await self._write()
