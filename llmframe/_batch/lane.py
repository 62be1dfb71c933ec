"""The batch lane: requests go out in parts, and come back when their batches have ended.

Parts that earlier runs left under way are waited for as well. What a batch has not answered goes
back into the feed, a bounded number of times.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from llmframe._api.batch_api import Gone
from llmframe._api.faults import classify
from llmframe._batch.enqueued_limit import Size, refusal
from llmframe._batch.submission import UNDECIDED, Outbox, Sent, Submitter
from llmframe._errors import JournalError
from llmframe._journal import registry
from llmframe._lane import Traffic
from llmframe._loop.tasks import through
from llmframe._pacing.retry import Halt, Stop, Tries, remedy
from llmframe._values import BatchError, Failure, Outcome, Request, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmframe._batch.collection import Harvester, Take
    from llmframe._batch.lines import Result
    from llmframe._journal.sqlite.batch_store import Part, Parts
    from llmframe._lane import Feed
    from llmframe._pacing.retry import Watch
    from llmframe._values import BatchState

FIRST_POLL_SECONDS = 1.0
LONGEST_POLL_SECONDS = 60.0
_POLL_GROWTH = 1.5
MOST_ROUNDS = 3
"""So often, at most, a request is submitted again that a batch ended without answering."""
_CREATE_SECONDS = 1.5
_CANCEL_SECONDS = 8.0
"""How long a cancelled run still waits for the answer to a creation, and to its cancellations."""
_HOPELESS = ("model", "billing", "quota")
"""In the code of a batch that failed: no other batch would do better."""

_BROKEN = BatchError("batch_failed", "another line of the batch's file is wrong")


class Batch:
    """Runs a feed's requests through the Batch API and emits an outcome for each.

    Parameters
    ----------
    emit
        Called with each outcome, on the loop; it returns what the answer cost.
    take
        Takes the results of parts of earlier runs.
    announce
        Says to the user, once, that something is under way.
    most_rounds
        How often a request may be submitted again; never more than `MOST_ROUNDS`.
    """

    def __init__(
        self,
        harvester: Harvester,
        parts: Parts,
        submitter: Submitter,
        watch: Watch,
        *,
        emit: Callable[[Outcome], float | None],
        take: Take,
        announce: Callable[[], None],
        most_rounds: int,
    ) -> None:
        self.traffic = Traffic()
        self.stopped: Stop | None = None
        self.cancelling = False
        """Whether what is under way is to be cancelled at the end, and not only left."""
        self._harvester = harvester
        self._parts = parts
        self._submitter = submitter
        self._watch = watch
        self._emit = emit
        self._take = take
        self._announce = announce
        self._outbox = Outbox(harvester, parts, submitter, self._fail)
        self._open: list[Sent] = []
        self._rounds: Counter[int] = Counter()
        self._most_rounds = min(MOST_ROUNDS, most_rounds)
        self._interval = FIRST_POLL_SECONDS
        self._waking = asyncio.Event()

    @property
    def in_flight(self) -> int:
        return sum(sent.part.requests - sent.done for sent in self._open)

    @property
    def ahead(self) -> int:
        return sum(sent.done for sent in self._open if sent.indices)

    @property
    def waited_seconds(self) -> float:
        return 0.0

    @property
    def batches(self) -> list[str]:
        """The batches that are under way, by id."""
        return [sent.part.batch for sent in self._open if sent.part.batch]

    def waiting(self) -> str:
        """Say which states the parts are in, and for how long the oldest has been under way."""
        states = Counter(sent.state for sent in self._open)
        states["held back"] += len(self._outbox.waiting)
        told = ", ".join(f"{count} {state}" for state, count in states.items() if count)
        if not self._open:
            return told
        return f"batches: {told}, since {_ago(time.monotonic() - min(sent.since for sent in self._open))}"

    def stop(self, reason: Stop) -> None:
        """Submit nothing more; what is under way goes on, and is harvested by a later run."""
        if self.stopped is None:
            self.stopped = reason
            self._waking.set()

    async def run(self, feed: Feed) -> None:
        """Work until the feed is exhausted or the run is stopped; batches go on when it is cancelled."""
        try:
            while self.stopped is None and await self._step(feed):
                pass
        except Halt as halt:
            self.stop(halt.stop)
        finally:
            await through(self._leave())

    async def _step(self, feed: Feed) -> bool:
        """Do what can be done now, or wait; false when there is nothing left to wait for."""
        if await self._submit(feed) or await self._attach(feed) or await self._harvest(feed):
            self._interval = FIRST_POLL_SECONDS
            return True
        if self._open or self._outbox.waiting:
            await self._pause()
            return True
        return feed.more and self._outbox.keep(await feed.next())

    async def _pause(self) -> None:
        seconds = self._interval
        if not self._open:
            seconds = max(0.0, self._outbox.waiting[0].not_before - time.monotonic())
        self._interval = min(LONGEST_POLL_SECONDS, self._interval * _POLL_GROWTH)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._waking.wait()

    async def _submit(self, feed: Feed) -> bool:
        sent = await self._outbox.next(feed, self._open)
        if sent is None:
            return False
        self._announce()
        state = await self._create(sent)
        self._count(sent, 1)
        if not state.id:
            await self._failed(sent, state, feed)
        return True

    async def _create(self, sent: Sent) -> BatchState:
        """Create a batch; when the run is cancelled meanwhile, it is still made known if its id comes soon."""
        sent.beside = bool(self._open)
        for other in self._open:
            other.beside = True
        creating = asyncio.ensure_future(self._outbox.create(sent))
        try:
            state = await asyncio.shield(creating)
        except asyncio.CancelledError:
            await asyncio.wait({creating}, timeout=_CREATE_SECONDS)
            creating.cancel()
            raise
        finally:
            if sent.part.batch is not None:
                self._open.append(sent)
        return state

    def _count(self, sent: Sent, sign: int) -> None:
        again = sum(self._rounds[index] > 0 for index in sent.indices) if self._rounds else 0
        self.traffic.retries += sign * again
        self.traffic.sent += sign * (len(sent.indices) - again)

    async def _attach(self, feed: Feed) -> bool:
        """Wait also for parts of earlier runs that hold requests of this one."""
        mine = {sent.part.nonce for sent in (*self._open, *self._outbox.waiting)}
        attached = False
        for nonce in sorted(feed.parts - mine):
            if await registry.on_thread(self._parts.seize, nonce, self._submitter.agent):
                attached = True
                await self._attach_to(await registry.on_thread(self._parts.get, nonce))
        return attached

    async def _attach_to(self, part: Part) -> None:
        if part.batch is None:
            await self._harvester.settle_intention(part)
            return
        self._announce()
        since = time.monotonic() - max(0.0, time.time() - part.created)
        self._open.append(Sent(part, size=Size(part.requests, 0), state=part.state, since=since))

    async def _harvest(self, feed: Feed) -> bool:
        """Look at all that is under way, and take in what has ended."""
        ended = False
        for sent in list(self._open):
            state = await self._harvester.look(sent.part)
            sent.state, sent.done = state.status, state.completed + state.failed
            if state.status not in {*UNDECIDED, "failed"}:
                self._outbox.accepted(sent)
            if not state.final:
                continue
            ended = True
            if state.status == "failed":
                self._open.remove(sent)
                await self._failed(sent, state, feed)
            else:
                await self._take_in(sent, state, feed)
                self._open.remove(sent)
                self._outbox.ends += 1
        return ended

    async def _take_in(self, sent: Sent, state: BatchState, feed: Feed) -> None:
        part = await registry.on_thread(self._parts.get, sent.part.nonce)
        if not sent.indices:
            await self._harvester.harvest(part, state, self._take)
            return
        places = {self._submitter.keys[index]: index for index in sent.indices}
        missing: dict[int, Failure] = {}

        def take(result: Result, part: Part) -> float | None:
            index = places.pop(result.key, None)
            return None if index is None else self._hear(index, result, part, missing)

        await self._harvester.harvest(part, state, take)
        unanswered = _unanswered(state, cancelled=part.cancelled)
        missing.update(dict.fromkeys(places.values(), unanswered))
        self._submit_again(missing, feed, wanted=not part.cancelled)

    def _hear(self, index: int, result: Result, part: Part, missing: dict[int, Failure]) -> float | None:
        if result.answer is not None:
            request = Request(result.key, index, b"")
            answer = result.answer._replace(asked=part.created)
            seconds = max(0.0, time.time() - part.created)
            reason = self._watch.answered(answer)
            if reason is not None:
                self.stop(reason)
            return self._emit(Outcome(request, answer, None, self._rounds[index] + 1, seconds))
        fault = result.fault
        if fault is not None and fault.trouble in {Trouble.PASSING, Trouble.LIMIT, Trouble.UNREACHABLE}:
            missing[index] = Failure(fault.code, fault.message)
        elif fault is not None:
            decision = self._watch.faulted(fault, Tries(faults=1), time.monotonic())
            self._fail(index, Failure(fault.code, fault.message))
            if isinstance(decision, Stop):
                self.stop(decision)
        return None

    def _submit_again(self, missing: Mapping[int, Failure], feed: Feed, *, wanted: bool = True) -> None:
        """Feed requests again that a batch has not answered, unless it was often enough or they are not wanted."""
        again = [index for index in missing if wanted and self._rounds[index] < self._most_rounds]
        self._rounds.update(again)
        feed.put_back(again)
        for index in missing.keys() - set(again):
            self._fail(index, missing[index])

    def _fail(self, index: int, failure: Failure) -> None:
        attempts = self._rounds[index] + 1
        request = Request(self._submitter.keys[index], index, b"")
        self._emit(Outcome(request, None, replace(failure, attempts=attempts), attempts))

    async def _failed(self, sent: Sent, state: BatchState, feed: Feed) -> None:
        """Take a batch that did no work: too much for the account, or named lines of it are wrong."""
        refused = refusal(state.errors)
        if not sent.indices:
            await self._harvester.close(sent.part)
        elif refused is not None:
            self._count(sent, -1)
            await self._outbox.refused(sent, refused, state, self._open, feed)
        else:
            await self._harvester.close(sent.part)
            self._take_errors(sent, state, feed)

    def _take_errors(self, sent: Sent, state: BatchState, feed: Feed) -> None:
        named = {error.line: error for error in state.errors if error.line}
        whole = next((error for error in state.errors if not error.line), None)
        hopeless = next(
            (error for error in state.errors if any(word in error.code for word in _HOPELESS)), None
        )
        if hopeless is not None:
            fault = classify(404, {"error": {"code": hopeless.code, "message": hopeless.message}}, None)
            self.stop(Stop(fault.code, fault.message, remedy(fault)))
            return
        rest: dict[int, Failure] = {}
        for line, index in enumerate(sent.indices, 1):
            if line in named:
                self._refuse(index, named[line])
            else:
                told = whole or _BROKEN
                rest[index] = Failure(told.code, told.message)
        self._submit_again(rest, feed)

    def _refuse(self, index: int, error: BatchError) -> None:
        fault = classify(400, {"error": {"code": error.code, "message": error.message}}, None)
        decision = self._watch.faulted(fault, Tries(faults=1), time.monotonic())
        self._fail(index, Failure(fault.code, fault.message))
        if isinstance(decision, Stop):
            self.stop(decision)

    async def _leave(self) -> None:
        """Let others harvest what is under way, or cancel it where that is wanted."""
        if self.cancelling:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CANCEL_SECONDS):
                    await self._cancel_open()
        for sent in (*self._open, *self._outbox.waiting):
            with suppress(JournalError):
                await registry.on_thread(self._parts.leave, sent.part.nonce)

    async def _cancel_open(self) -> None:
        for sent in self._open:
            with suppress(Gone, Halt):
                await self._harvester.cancel(sent.part)


def _unanswered(state: BatchState, *, cancelled: bool) -> Failure:
    code = "batch_cancelled" if cancelled else f"batch_{state.status}"
    return Failure(code, f"the batch {state.id} ended ({state.status}) without an answer to this row")


def _ago(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
