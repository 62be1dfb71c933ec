"""The execution of one run: known answers are read from the journal, and a lane sends the other requests."""

from __future__ import annotations

import asyncio
from array import array
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import astuple, replace
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from llmframe._api import HttpTransport, SdkTransport, connect
from llmframe._errors import JournalError, counted, short
from llmframe._journal import Lease, Recorder, open_journal
from llmframe._loop import beside, raised_gc_threshold, through
from llmframe._pacing import NO_KEY, OVER_BUDGET, Budget, StopRun
from llmframe._run.lanes import LaneContext, make_batch_lane, make_live_lane
from llmframe._run.money import cost_limit, make_budget
from llmframe._run.progress_bar import Progress, progress_bar, say
from llmframe._run.results import CollectedResults, OutcomeSink, Results
from llmframe._values import Failure, Stop, Traffic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from llmframe._api import Client, Transport
    from llmframe._columns import Plan
    from llmframe._journal import Journal, Session, StoredAnswer
    from llmframe._run.chunks import SharedByChunks
    from llmframe._run.feed import ClaimedFeed
    from llmframe._run.settings import Asking, Rung, RunSettings
    from llmframe._values import Key, Lane, LimitWait, Verdict

LOOKUP_ROWS = 5_000
"""So many requests are looked up at a time."""

_NOT_IN_JOURNAL = Failure("not_in_journal", "no answer in the journal, and mode='offline' sends nothing", 0)


class Execution:
    """Executes a plan on the loop that awaits it.

    Parameters
    ----------
    columns
        The columns' names, for display.
    shared
        What it has in common with the runs of a file's other chunks.

    Attributes
    ----------
    stop : Stop or None
        Why the run ended early.
    columns : str
        What is written where, for display.
    """

    def __init__(
        self,
        settings: RunSettings,
        plan: Plan,
        results: Results,
        columns: str,
        shared: SharedByChunks | None = None,
    ) -> None:
        self.stop: Stop | None = None
        self._settings = settings
        self._plan = plan
        self._results = results
        self._shared = shared
        self.budget = Budget()
        """What the run may spend, and has."""
        self._rungs = results.rungs
        self._rung_fits = asyncio.Event()
        self._rung_is_kept = False
        """Whether an earlier run found out by which rung the server is asked, and the others are still to be looked up."""
        self._held_up = False
        """Whether the lane was stopped although the run goes on."""
        self.columns = columns
        self._lane: Lane | None = None
        self._lanes: list[Lane] = []
        self._feed: ClaimedFeed | None = None
        self._inherited = 0
        self._cancelling = False
        self._announced = False
        self.refused = False
        """Whether the call is refused before anything is sent, although its arguments are valid."""

    @property
    def unfinished(self) -> int:
        """The requests without an outcome, and those that are still to be asked again."""
        without = sum(not self._results.has_outcome(number) for number in range(len(self._plan.keys)))
        return without + self._results.to_reask

    @property
    def inherited(self) -> int:
        """Requests that a run which no longer exists had claimed, and may have paid without keeping the answers."""
        return self._inherited + (self._feed.inherited if self._feed is not None else 0)

    @property
    def traffic(self) -> Traffic:
        return Traffic(*map(sum, zip(*(astuple(lane.traffic) for lane in self._lanes), strict=True)))

    @property
    def limit_wait(self) -> LimitWait | None:
        return self._lane.limit_wait if self._lane is not None else None

    @property
    def waited_seconds(self) -> float:
        return sum(lane.waited_seconds for lane in self._lanes)

    @property
    def batches(self) -> Sequence[str]:
        """The batches that were open when the work ended, by id."""
        return self._lane.batches if self._lane is not None else ()

    def cancel_batches(self) -> None:
        """Cancel the open batches when the run is cancelled."""
        self._cancelling = True
        if self._lane is not None:
            self._lane.cancel_batches()

    async def carry_out(self, counts: Callable[[], dict[str, Any]]) -> None:
        """Execute the plan; `counts` returns the numbers that the journal keeps of the run at its end."""
        async with self._open_session(counts) as (journal, session):
            await self._set_cap(journal, session)
            await self._ask_all(journal, session)

    async def _ask_all(self, journal: Journal, session: Session) -> None:
        try:
            await self._ask_by_rungs(journal, session)
        finally:
            self._results.close_again()
            self._results.restore_kept()
        while self.stop is None and (corrections := self._results.reopen()):
            await self._ask_again(journal, session, corrections)

    async def _set_cap(self, journal: Journal, session: Session) -> None:
        try:
            self.budget = await make_budget(
                self._settings, self._plan, self._results.account.prices, journal, session
            )
        except ValueError:
            self.refused = True
            raise
        if self._shared is not None:
            self.budget = self._shared.budget_of(self.budget)

    async def _ask_by_rungs(self, journal: Journal, session: Session) -> None:
        """Ask by the best rung that the server holds to, as far as that is known; find it out live."""
        rungs, settings = self._rungs, self._settings
        if settings.rungs:
            kept = await journal.kept_rung(settings.server, settings.model)
            self._rung_is_kept = kept is not None
            rungs.begin(kept, fixed=settings.mode != "live")
            rungs.on_fit = self._rung_fits.set
        if rungs.at:
            await self._ask_by(settings.rungs[rungs.at])
        await self._ask(journal, session, range(len(self._plan.keys)))
        while self.stop is None and (unanswered := await self._numbers_of_next_rung()) is not None:
            await self._ask(journal, session, unanswered)

    async def _numbers_of_next_rung(self) -> Sequence[int] | None:
        """Move on to the next rung if this one is left; return the requests that are still to be asked; `None`: there are none."""
        results, rungs = self._results, self._rungs
        held_up, self._held_up = self._held_up, False
        if (why := rungs.leave()) is not None:
            rung = self._settings.rungs[rungs.at]
            self._tell(f"llmframe: the server {why}; asking {rung.way}")
            await self._ask_by(rung)
            return results.reopen_all()
        if held_up:  # the last answers to come back were the first that fit
            return [number for number in range(len(self._plan.keys)) if not results.has_outcome(number)]
        return None

    async def _ask_by(self, rung: Rung) -> None:
        self._settings = self._settings.asked_by(rung)
        recipes = self._settings.recipes
        context = self._settings.context.with_examples_of(self._plan.context)
        self._plan = await asyncio.to_thread(self._plan.asked_as, recipes, self._plan.spec, context)

    async def _ask(self, journal: Journal, session: Session, numbers: Sequence[int]) -> None:
        wanted = await self._look_up(journal, session, numbers)
        if self._rung_is_kept:
            wanted = await self._look_up_by_other_rungs(journal, session, wanted)
        if not self._lanes:
            await self._refuse_other_engine(journal, session, wanted)
        if self._settings.mode == "offline":
            for number in wanted:
                self._results.add_failure(number, _NOT_IN_JOURNAL)
        elif len(wanted) and self._rungs.stop is None:
            await self._send_if_possible(journal, session, wanted)

    async def _refuse_other_engine(self, journal: Journal, session: Session, wanted: Sequence[int]) -> None:
        """Refuse to ask where the engine that was not chosen has answered rows of the column, which would mix two engines."""
        rival, chosen, plan = self._settings.rival, self._settings.engine, self._plan
        if rival is None or not len(wanted):
            return
        asked = sorted({number // plan.draws for number in wanted})
        found = await self._count_answered_by(rival, plan, asked, journal, session)
        if not found and rival.kept_rows is not None:
            kept = await asyncio.to_thread(plan.of_rows, rival.kept_rows)
            found = await self._count_answered_by(rival, kept, range(kept.distinct), journal, session)
        if found:
            self.refused = True
            reason = self._settings.engine_reason
            without = (
                f" without {reason}" if "=" in reason else ""
            )  # an argument that the other engine does not take
            raise ValueError(
                f"engine: {rival.engine} has answered {counted(found, 'request')} of these rows, and this call would ask "
                f"{chosen} ({reason}): one column never mixes two engines; pass engine={rival.engine!r}{without} to go on "
                f"with it, or engine={chosen!r} to ask all rows anew"
            )

    @staticmethod
    async def _count_answered_by(
        asking: Asking, plan: Plan, numbers: Sequence[int], journal: Journal, session: Session
    ) -> int:
        """Count these requests of a plan (draws aside) that the journal has answers to, asked in another way."""
        plan = await asyncio.to_thread(plan.asked_as, asking.recipes, asking.spec, asking.context)
        found = 0
        for start in range(0, len(numbers), LOOKUP_ROWS):
            block = [plan.keys[number] for number in numbers[start : start + LOOKUP_ROWS]]
            found += len(await journal.lookup(session, block))
        return found

    async def _look_up_by_other_rungs(
        self, journal: Journal, session: Session, wanted: Sequence[int]
    ) -> Sequence[int]:
        """Read answers that earlier runs got by the rungs below, when this one was refused; return the numbers of the others.

        Live that is done only where a part of the call is answered: other rows have no earlier run.
        """
        self._rung_is_kept = False
        below = self._settings.rungs[self._rungs.at + 1 :]
        if self._settings.mode == "live" and not self._results.from_journal:
            return wanted
        for rung in below if len(wanted) else ():
            asking = self._settings.asked_by(rung)
            context = rung.context.with_examples_of(self._plan.context)
            plan = await asyncio.to_thread(self._plan.asked_as, asking.recipes, self._plan.spec, context)
            missing = array("i")
            async for number, found in self._stored(plan, wanted, journal, session):
                if found is None or found[0].value is None or self._asks_again(number, found[0]):
                    missing.append(number)
                else:
                    self._results.add_stored(number, *found)
            wanted = missing
        return wanted

    async def _stored(
        self, plan: Plan, numbers: Sequence[int], journal: Journal, session: Session
    ) -> AsyncIterator[tuple[int, tuple[Verdict, StoredAnswer] | None]]:
        """Yield these requests of a plan, each with its answer in the journal and the verdict on it; `None`: there is none."""
        for start in range(0, len(numbers), LOOKUP_ROWS):
            block = numbers[start : start + LOOKUP_ROWS]
            keys = [plan.keys[number] for number in block]
            known = {stored.key: stored for stored in await journal.lookup(session, keys)}
            for number, key in zip(block, keys, strict=True):
                found = None
                if (stored := known.get(key)) is not None:
                    verdict = self._results.judge(stored)
                    if self._settings.is_served_by(stored, verdict):
                        found = verdict, stored
                    else:
                        self._note_cut_off(number, stored)
                yield number, found

    def _note_cut_off(self, number: int, stored: StoredAnswer) -> None:
        """Note a stored answer that was cut off by a lower bound than this call's (a dry run counts them)."""

    async def _ask_again(
        self, journal: Journal, session: Session, corrections: Mapping[int, tuple[str, str]]
    ) -> None:
        """Ask for answers that fit where they did not: with the answer and what is wrong with it after the messages."""
        self._plan = self._plan.corrected(corrections)
        try:
            wanted = await self._look_up(journal, session, sorted(corrections))
            if len(wanted) and self._settings.mode != "offline":
                await self._send_if_possible(journal, session, wanted)
        finally:
            self._results.close_again()

    def _bar(self) -> AbstractAsyncContextManager[object]:
        if not self._settings.progress:
            return AsyncExitStack()
        title = f"{self.columns} · {self._settings.model}"
        known = (self._results.finished, self._results.failed)
        return progress_bar(title, self._results.unfinished, partial(self.progress, *known))

    def progress(self, known: int = 0, known_failures: int = 0) -> Progress:
        """Return the progress of the sending, beyond what was known before it."""
        results = self._results
        failed = results.failed - known_failures
        done = results.finished - known
        cap = self.budget.cap
        cost = self.budget.spent if self.budget.capped else results.cost
        if self._lane is None:
            return Progress(done, failed, 0, cost, unpriced=results.unpriced, cap=cap)
        waiting = self._lane.waiting()
        limit = self._lane.limit_wait
        if limit is not None and limit.until is not None:
            waiting = f"waiting for the rate limit until {limit.until.astimezone():%H:%M:%S}: {short(limit.words, 80)}"
        if not waiting and self._feed is not None and self._feed.waiting_for_others:
            waiting = "waiting for another run"
        done += min(results.unfinished, self._lane.ahead)
        in_flight = self._lane.in_flight
        return Progress(done, failed, in_flight, cost, waiting, results.unpriced, cap)

    @asynccontextmanager
    async def _open_session(
        self, counts: Callable[[], dict[str, Any]]
    ) -> AsyncIterator[tuple[Journal, Session]]:
        """Yield an open journal, and the run's session in it."""
        settings, plan = self._settings, self._plan
        recipe = plan.recipe_digest, plan.recipes[0].describe()
        fresh = b""
        if settings.fresh:
            fresh = _set_hash(plan.all_keys) if self._shared is None else self._shared.identity
        if self._shared is not None:
            self._shared.recipe = recipe
        async with open_journal(settings.journal, settings.tuning) as journal:
            session = await journal.begin(
                *recipe,
                fresh=fresh,
                sends=settings.mode == "live",
            )
            if settings.fresh_since is not None:
                session = replace(session, since=settings.fresh_since)
            try:
                yield journal, replace(session, until=settings.answers_until)
            finally:
                with suppress(JournalError):
                    await through(journal.end(session, counts(), finished=self._is_finished(session)))

    def _is_finished(self, session: Session) -> bool:  # noqa: ARG002 (a dry run looks at it)
        """Return whether a fresh run like this one begins anew; otherwise it goes on with what is answered."""
        begins_anew = (
            self._shared is None or not self._settings.fresh
        )  # a chunk's does not: the file's may go on
        return begins_anew and self.stop is None and not self._results.unfinished and not self._plan.is_part

    async def _look_up(self, journal: Journal, session: Session, numbers: Sequence[int]) -> Sequence[int]:
        """Read the known answers to these requests from the journal; return the numbers of the others."""
        missing = array("i")
        async for number, found in self._stored(self._plan, numbers, journal, session):
            if found is None:
                missing.append(number)
            elif self._asks_again(number, found[0]) and not self._is_of_this_call(found[1].created):
                self._rungs.on_verdict(found[0], stored=True)
                self._results.keep(number, *found)
                missing.append(number)
            else:
                self._results.add_stored(number, *found)
        return missing

    def _is_of_this_call(self, kept_at: float) -> bool:
        """Return whether an answer was given to another chunk of the file, whose failures this one reports."""
        return self._shared is not None and kept_at >= self._shared.began

    def _asks_again(self, number: int, verdict: Verdict) -> bool:
        """Return whether the same request is sent again; one with a correction is not: the answer to that may be there and fit."""
        return self._settings.asks_again(verdict) and self._results.correction_of(number, verdict) is None

    async def _send_if_possible(self, journal: Journal, session: Session, wanted: Sequence[int]) -> None:
        if session.obstacle is not None:
            message = f"answers could not be kept, so nothing was sent: {session.obstacle}"
            self.stop_run(Stop("journal", message, "mend that; the answers so far are in the column"))
        elif not self._settings.account.has_key:
            self.stop_run(NO_KEY)
        else:
            await self._send(journal, session, wanted)

    async def _send(self, journal: Journal, session: Session, wanted: Sequence[int]) -> None:
        client, transport = self._connect()
        tuning = self._settings.tuning
        recorder = Recorder(journal, session, tuning.commit_seconds, self._journal_failed)
        lease = Lease(journal, session, tuning.lease_seconds, self._journal_failed)
        sink = OutcomeSink(self._results, recorder, self._settings.most_output)
        plan = self._plan
        if self._settings.caches_explicitly:
            plan = plan.cached(breakpoints=self._settings.mode == "live")
        context = LaneContext(
            settings=self._settings,
            plan=plan,
            columns=self.columns,
            results=self._results,
            journal=journal,
            session=session,
            lease=lease,
            recorder=recorder,
            sink=sink,
            collected=CollectedResults(self._plan, self._results, sink, session.since),
            stop=self.stop_run,
            journal_failed=self._journal_failed,
            client=client,
            transport=transport,
            budget=self.budget,
            shared=self._shared,
        )
        try:
            async with beside(lease.keep()), beside(self._keep_rung_that_fits(journal)), self._bar():
                await self._run_lane(context, wanted)
                await self._keep_rung(journal)
        except StopRun as stopped:
            self.stop_run(stopped.stop)
        except JournalError as error:
            self._journal_failed(error)
        finally:
            self._take_stop()
            await through(_finish(transport, recorder))

    async def _keep_rung_that_fits(self, journal: Journal) -> None:
        await self._rung_fits.wait()
        await self._keep_rung(journal)

    async def _keep_rung(self, journal: Journal) -> None:
        if self._rung_fits.is_set():
            await journal.keep_rung(self._settings.server, self._settings.model, self._rungs.name)
            self._rung_fits.clear()

    def _take_stop(self) -> None:
        """End the run as its lane was stopped, unless that only ends the asking by this rung."""
        stopped = self._lane.stopped if self._lane is not None else None
        if self.stop is None and stopped is OVER_BUDGET:
            self.stop = cost_limit(self.budget, self.unfinished)
        elif self.stop is None and stopped is not None:
            self.stop = self._rungs.on_stop(stopped)
            self._held_up = self.stop is None

    def _connect(self) -> tuple[Client, Transport]:
        settings, account = self._settings, self._settings.account
        client, owned = connect(
            account,
            timeout=settings.timeout,
            connect_seconds=settings.tuning.connect_seconds,
        )
        sdk = SdkTransport(
            client,
            settings.verb.endpoint,
            owned=owned,
            timeout=settings.timeout,
            headers=settings.headers,
        )
        if account.asynchronous:
            return client, sdk
        return client, HttpTransport(sdk, timeout=settings.timeout, tuning=settings.tuning)

    async def _run_lane(self, context: LaneContext, wanted: Sequence[int]) -> None:
        async with AsyncExitStack() as stack:
            lane: Lane
            if self._settings.mode == "batch":
                lane, self._feed = await make_batch_lane(context, wanted, self._announce)
            else:
                lane, self._feed, running = await make_live_lane(context, wanted)
                self._lane = lane
                await stack.enter_async_context(running)
            self._lane = lane
            self._lanes.append(lane)
            if self._cancelling:
                lane.cancel_batches()
            if self.stop is not None:
                lane.stop(self.stop)
            with raised_gc_threshold():
                await lane.run(self._feed)

    def _announce(self) -> None:
        """Tell the user once how long batches may take."""
        if not self._announced:
            self._announced = True
            self._tell(
                "llmframe: batches may take up to 24 hours; interrupting is safe: run the cell again to come back"
            )

    def _tell(self, line: str) -> None:
        if self._settings.progress:
            say(line)

    def stop_run(self, reason: Stop) -> None:
        self.stop = self.stop or reason
        if self._lane is not None:
            self._lane.stop(reason)

    def _journal_failed(self, error: JournalError) -> None:
        """Stop the run: answers could not be kept."""
        self.stop_run(Stop("journal", str(error), "mend that; the answers so far are in the column"))


def _set_hash(keys: Sequence[Key]) -> bytes:
    """Return a hash of a set of requests, in any order."""
    return blake2b(b"".join(sorted(keys)), digest_size=16).digest()


async def _finish(transport: Transport, recorder: Recorder) -> None:
    try:
        await recorder.finish()
    finally:
        await transport.close_connections()
