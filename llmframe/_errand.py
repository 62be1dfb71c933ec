"""The work of one run: what the journal knows is taken from there, and a lane asks for the rest."""

from __future__ import annotations

import asyncio
import random
from array import array
from contextlib import asynccontextmanager, suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from llmframe import _journal, _openai
from llmframe._claims import ClaimedFeed, Recorder, on_journal_thread
from llmframe._errors import JournalError
from llmframe._limits import Pace
from llmframe._live import Live, Traffic
from llmframe._loop import through
from llmframe._progress import Standing, show
from llmframe._records import Failure, Outcome
from llmframe._retry import Stop, Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    import numpy.typing as npt

    from llmframe._call import Call
    from llmframe._journal import Journal, Kept, Session
    from llmframe._plan import Plan
    from llmframe._score import Score

_LOOKUP_ROWS = 5_000

_NO_KEY = Stop(
    "no_api_key",
    "there is no API key",
    "set OPENAI_API_KEY, llmframe.options.api_key or api_key= (for a server that needs none, any text will do)",
)
_NOT_IN_JOURNAL = Failure("not_in_journal", "no answer in the journal, and mode='offline' sends nothing", 0)


class Errand:
    """Carries out a plan, on whatever loop awaits it.

    Attributes
    ----------
    stop : Stop or None
        Why it ended early.
    inherited : int
        Requests that a vanished run had claimed, and may have paid without keeping the answers.
    """

    def __init__(self, call: Call, plan: Plan, score: Score, title: str) -> None:
        self.stop: Stop | None = None
        self.inherited = 0
        self._call = call
        self._plan = plan
        self._score = score
        self._title = title
        self._live: Live | None = None
        self._feed: ClaimedFeed | None = None
        self._recorder: Recorder | None = None

    @property
    def traffic(self) -> Traffic:
        return self._live.traffic if self._live is not None else Traffic()

    @property
    def waited_seconds(self) -> float:
        return self._live.waited_seconds if self._live is not None else 0.0

    async def carry_out(self, counts: Callable[[], dict[str, Any]], *, shared_loop: bool) -> None:
        """Do it all; `counts` gives what the journal keeps of the run at its end."""
        async with self._bar(), self._journaled(counts) as (journal, session):
            wanted = await self._look_up(journal, session)
            if self._call.mode == "offline":
                for index in wanted:
                    self._score.fail(index, _NOT_IN_JOURNAL)
            elif len(wanted):
                await self._ask(journal, session, wanted, shared_loop=shared_loop)

    @asynccontextmanager
    async def _bar(self) -> AsyncIterator[None]:
        if not self._call.progress:
            yield
            return
        bar = asyncio.create_task(show(self._title, self._score.to_answer, self._standing))
        try:
            yield
        finally:
            bar.cancel()
            await asyncio.wait({bar})

    def _standing(self) -> Standing:
        waiting = ""
        if self._live is not None and self._live.waiting_for_limit():
            waiting = "waiting for the rate limit"
        elif self._feed is not None and self._feed.waiting_for_others:
            waiting = "waiting for another run"
        in_flight = self._live.in_flight if self._live is not None else 0
        done = self._score.answered + self._score.failed
        return Standing(done, self._score.failed, in_flight, self._score.cost, waiting)

    @asynccontextmanager
    async def _journaled(
        self, counts: Callable[[], dict[str, Any]]
    ) -> AsyncIterator[tuple[Journal, Session]]:
        journal: Journal = _journal.NoJournal()
        if self._call.journal is not False:
            path = _journal.default_path() if self._call.journal is True else self._call.journal
            journal = await _acquired(path)
        recipe = self._call.recipe
        digest = blake2b(recipe.prefix + self._plan.asking.source.encode(), digest_size=16).digest()
        try:
            session = await on_journal_thread(
                journal.begin, digest, recipe.describe(), fresh=self._call.fresh
            )
            try:
                yield journal, session
            finally:
                finished = self.stop is None and not self._score.unfinished
                with suppress(JournalError):
                    await through(on_journal_thread(journal.end, session, counts(), finished=finished))
        finally:
            await through(on_journal_thread(_journal.release, journal))

    async def _look_up(self, journal: Journal, session: Session) -> npt.NDArray[np.int32]:
        """Settle what the journal knows; return the numbers of the other requests."""
        missing = array("i")
        for start in range(0, len(self._plan.keys), _LOOKUP_ROWS):
            keys = self._plan.keys[start : start + _LOOKUP_ROWS]
            known = {kept.key: kept for kept in await on_journal_thread(journal.lookup, session, keys)}
            for index, key in enumerate(keys, start):
                kept = known.get(key)
                if kept is None or (self._call.retry_failed and kept.problem not in {None, "truncated"}):
                    missing.append(index)
                else:
                    self._score.recall(index, kept)
        return np.array(missing, dtype=np.int32)

    async def _ask(
        self, journal: Journal, session: Session, wanted: Iterable[int], *, shared_loop: bool
    ) -> None:
        if session.obstacle is not None:
            self.journal_failed(
                JournalError(f"answers could not be kept, so nothing was sent: {session.obstacle}")
            )
            return
        if not self._call.account.has_key:
            self._halt(_NO_KEY)
            return
        client, owned = _openai.connect(
            self._call.account, timeout=self._call.timeout, shared_loop=shared_loop
        )
        transport = _openai.Transport(
            client, owned=owned, timeout=self._call.timeout, headers=self._call.headers
        )
        pace = Pace(self._call.max_concurrency)
        watch = Watch(self._call.max_retries, random.Random())  # noqa: S311 (for jitter)
        self._live = Live(transport, pace, watch, self._hear)
        self._recorder = Recorder(journal, session, self)
        self._feed = ClaimedFeed(
            self._plan,
            wanted,
            journal,
            session,
            self,
            window=lambda: pace.window,
            retry_failed=self._call.retry_failed,
        )
        renewing = asyncio.create_task(self._recorder.renew())
        try:
            await self._live.run(self._feed)
        finally:
            self.stop = self.stop or self._live.stopped
            renewing.cancel()
            await through(self._close(transport, self._recorder))

    async def _close(self, transport: _openai.Transport, recorder: Recorder) -> None:
        try:
            await recorder.close()
        finally:
            await transport.close()

    def _hear(self, outcome: Outcome) -> None:
        answer = self._score.hear(outcome)
        if self._recorder is None:
            return
        if answer is not None:
            self._recorder.answered(answer)
        else:
            self._recorder.gave_up(outcome.request.key)

    def settle(self, index: int, kept: Kept) -> None:
        """Take what another run answered meanwhile."""
        self._score.recall(index, kept)

    def taken_over(self, uncertain: int) -> None:
        """Count what a vanished run had claimed."""
        self.inherited += uncertain

    def journal_failed(self, error: JournalError) -> None:
        """Stop sending: answers could not be kept."""
        self._halt(Stop("journal", str(error), "mend that; the answers so far are in the column"))

    def _halt(self, reason: Stop) -> None:
        self.stop = self.stop or reason
        if self._live is not None:
            self._live.stop(reason)


async def _acquired(path: Path) -> Journal:
    acquiring = asyncio.create_task(on_journal_thread(_journal.acquire, path))
    try:
        return await through(acquiring)
    except asyncio.CancelledError:
        if acquiring.exception() is None:
            await on_journal_thread(_journal.release, acquiring.result())
        raise
