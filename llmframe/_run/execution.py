"""The work of one run: what the journal knows is taken from there, and a lane asks for the rest."""

from __future__ import annotations

import asyncio
from array import array
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from llmframe._api import sdk_client
from llmframe._api.http_client import FastTransport
from llmframe._batch.lane import Batch
from llmframe._errors import JournalError
from llmframe._journal import registry
from llmframe._journal.protocol import NoJournal
from llmframe._journal.sqlite.journal import TemporaryJournal
from llmframe._lane import Traffic
from llmframe._loop.gc_threshold import looking_seldom
from llmframe._loop.tasks import through
from llmframe._pacing.retry import NO_KEY, Halt, Stop
from llmframe._run import lanes
from llmframe._run.lanes import Work
from llmframe._run.outcome_sink import Intake
from llmframe._run.progress_bar import Standing, say, show
from llmframe._values import Failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from llmframe._columns.plan import Plan
    from llmframe._journal.protocol import Journal, Session
    from llmframe._lane import Lane
    from llmframe._run.feed import ClaimedFeed, Recorder
    from llmframe._run.results import Score
    from llmframe._values import Key
    from llmframe._verbs.arguments import Call

_LOOKUP_ROWS = 5_000

_NOT_IN_JOURNAL = Failure("not_in_journal", "no answer in the journal, and mode='offline' sends nothing", 0)


class Errand:
    """Carries out a plan, on whatever loop awaits it.

    Attributes
    ----------
    stop : Stop or None
        Why it ended early.
    """

    def __init__(self, call: Call, plan: Plan, score: Score, title: str) -> None:
        self.stop: Stop | None = None
        self._call = call
        self._plan = plan
        self._score = score
        self._title = title
        self._intake: Intake | None = None
        self._lane: Lane | None = None
        self._feed: ClaimedFeed | None = None
        self._cancelling = False
        self._announced = False

    @property
    def inherited(self) -> int:
        """Requests that a vanished run had claimed, and may have paid without keeping the answers."""
        return self._intake.inherited if self._intake is not None else 0

    @property
    def traffic(self) -> Traffic:
        return self._lane.traffic if self._lane is not None else Traffic()

    @property
    def waited_seconds(self) -> float:
        return self._lane.waited_seconds if self._lane is not None else 0.0

    @property
    def batches(self) -> list[str]:
        """The batches that were under way when the work ended, by id."""
        return self._lane.batches if isinstance(self._lane, Batch) else []

    def cancel(self) -> None:
        """Let the batches that are under way be cancelled when the work is."""
        self._cancelling = True
        if isinstance(self._lane, Batch):
            self._lane.cancelling = True

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
        done = self._score.answered + self._score.failed
        if self._lane is None:
            return Standing(done, self._score.failed, 0, self._score.cost)
        waiting = self._lane.waiting()
        if not waiting and self._feed is not None and self._feed.waiting_for_others:
            waiting = "waiting for another run"
        done = min(self._score.to_answer, done + self._lane.ahead)
        return Standing(done, self._score.failed, self._lane.in_flight, self._score.cost, waiting)

    @asynccontextmanager
    async def _journaled(
        self, counts: Callable[[], dict[str, Any]]
    ) -> AsyncIterator[tuple[Journal, Session]]:
        journal = await _opened(self._call)
        recipe = self._call.recipe
        digest = blake2b(recipe.prefix + self._plan.asking.source.encode(), digest_size=16).digest()
        try:
            session = await registry.on_thread(
                journal.begin,
                digest,
                recipe.describe(),
                fresh=_name(self._plan.keys) if self._call.fresh else b"",
                sends=self._call.mode == "live",
            )
            try:
                yield journal, session
            finally:
                finished = self.stop is None and not self._score.unfinished
                with suppress(JournalError):
                    await through(registry.on_thread(journal.end, session, counts(), finished=finished))
        finally:
            await through(registry.on_thread(registry.release, journal))

    async def _look_up(self, journal: Journal, session: Session) -> Sequence[int]:
        """Settle what the journal knows; return the numbers of the other requests."""
        missing = array("i")
        for start in range(0, len(self._plan.keys), _LOOKUP_ROWS):
            keys = self._plan.keys[start : start + _LOOKUP_ROWS]
            known = {kept.key: kept for kept in await registry.on_thread(journal.lookup, session, keys)}
            for index, key in enumerate(keys, start):
                kept = known.get(key)
                if kept is None or (self._call.retry_failed and kept.problem not in {None, "truncated"}):
                    missing.append(index)
                else:
                    self._score.recall(index, kept)
        return missing

    async def _ask(
        self, journal: Journal, session: Session, wanted: Sequence[int], *, shared_loop: bool
    ) -> None:
        if session.obstacle is not None:
            message = f"answers could not be kept, so nothing was sent: {session.obstacle}"
            self._halt(Stop("journal", message, "mend that; the answers so far are in the column"))
            return
        if not self._call.account.has_key:
            self._halt(NO_KEY)
            return
        account = self._call.account
        client, owned = sdk_client.connect(account, timeout=self._call.timeout, shared_loop=shared_loop)
        transport = sdk_client.Transport(
            client, owned=owned, timeout=self._call.timeout, headers=self._call.headers
        )
        sender = transport if account.asynchronous else FastTransport(transport, timeout=self._call.timeout)
        intake = Intake(
            self._plan, self._score, journal, session, self._halt, waits_for_batches=self._by_batch
        )
        self._intake = intake
        work = Work(
            self._call, self._plan, self._score, journal, session, intake, client, sender, self._columns
        )
        renewing = asyncio.create_task(intake.lease.keep())
        try:
            await self._run_lane(work, wanted)
        except Halt as halt:
            self._halt(halt.stop)
        except JournalError as error:
            intake.journal_failed(error)
        finally:
            self.stop = self.stop or (self._lane.stopped if self._lane is not None else None)
            renewing.cancel()
            await through(_close(sender, intake.recorder))

    @property
    def _by_batch(self) -> bool:
        return self._call.mode == "batch"

    @property
    def _columns(self) -> str:
        return self._title.rpartition(" · ")[0]

    async def _run_lane(self, work: Work, wanted: Sequence[int]) -> None:
        company: AbstractAsyncContextManager[None] = nullcontext()
        if self._by_batch:
            lane, self._feed = await lanes.batch(work, wanted, self._announce)
            lane.cancelling = self._cancelling
            self._lane = lane
        else:
            self._lane, self._feed, company = await lanes.live(work, wanted)
        async with company:
            if self.stop is not None:
                self._lane.stop(self.stop)
            with looking_seldom():
                await self._lane.run(self._feed)

    def _announce(self) -> None:
        """Say once what waiting for batches means."""
        if self._call.progress and not self._announced:
            self._announced = True
            say(
                "llmframe: batches may take up to 24 hours; interrupting is safe: run the cell again to come back"
            )

    def _halt(self, reason: Stop) -> None:
        self.stop = self.stop or reason
        if self._lane is not None:
            self._lane.stop(reason)


def _name(keys: Sequence[Key]) -> bytes:
    """Name a set of requests, in whatever order."""
    return blake2b(b"".join(sorted(keys)), digest_size=16).digest()


async def _close(sender: sdk_client.Transport | FastTransport, recorder: Recorder) -> None:
    try:
        await recorder.close()
    finally:
        await sender.close()


async def _opened(call: Call) -> Journal:
    if call.journal is False:
        return TemporaryJournal() if call.mode == "batch" else NoJournal()
    return await registry.opened(call.journal)
