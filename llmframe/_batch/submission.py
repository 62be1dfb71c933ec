"""The submission of a batch run's parts: written, added to the journal, uploaded, and submitted when permitted."""

from __future__ import annotations

import asyncio
import tempfile
import time
from array import array
from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import IO, TYPE_CHECKING
from uuid import uuid4

from llmframe._api import COLUMN_KEY, PART_KEY, RECIPE_KEY, BatchSize
from llmframe._batch.collection import file_name
from llmframe._batch.enqueued_limit import LAG_SECONDS, EnqueuedLimit, Halve
from llmframe._batch.lines import request_line
from llmframe._pacing import Budget, Fit, StopRun
from llmframe._values import Failure, LimitWait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from llmframe._api import BatchRefusal
    from llmframe._batch.collection import Collector
    from llmframe._journal import BatchPart, BatchStore, PartLabel
    from llmframe._options import Tuning
    from llmframe._values import BatchState, Endpoint, Feed, Key, Request

_MOST_SHRUNK = 5
"""At most this many parts are made smaller for the cap's sake: each may spend what the one before has left."""
_REQUESTS_PER_TURN = 500
"""After this many requests, other tasks of the loop may run."""
_BYTES_PER_TOKEN = 4
UNDECIDED = frozenset({"intended", "validating"})
"""States in which the account has not yet accepted or refused a part."""


@dataclass(frozen=True, slots=True)
class SubmissionContext:
    """The submitting run, and what all of its parts have in common."""

    label: PartLabel
    digest: bytes
    """The recipe's digest, equal in all journals."""
    owner: int
    """The run's owner number in the journal."""
    endpoint: Endpoint
    keys: Sequence[Key]
    """The identities of the plan's requests, by number."""
    tuning: Tuning
    budget: Budget = field(default_factory=Budget)
    """What the run may spend."""


@dataclass(eq=False, slots=True)
class SubmittedPart:
    """A part that this run submits or waits for."""

    part: BatchPart
    numbers: array[int] = field(default_factory=lambda: array("i"))
    """This run's requests, in the order of the file; none for a part of an earlier run."""
    size: BatchSize = field(default_factory=lambda: BatchSize(0, 0))
    state: str = "intended"
    done: int = 0
    """Requests that the batch had finished when it was last polled."""
    since: float = 0.0
    """When it was submitted, by the monotonic clock."""
    refusals: int = 0
    refused_alone: int = 0
    """Refusals in succession while no other batch of the account was enqueued."""
    not_before: float = 0.0
    enqueued_with_others: bool = False
    """Whether other parts of this run were enqueued at the same time."""
    ends: int = -1
    """The number of ended batches of this run when the part was refused beside others."""


class SubmissionQueue:
    """Prepares the parts and holds those that are still to be submitted.

    Parameters
    ----------
    add_failure
        Receives the number of each request that no part can hold.
    """

    def __init__(
        self,
        collector: Collector,
        store: BatchStore,
        context: SubmissionContext,
        add_failure: Callable[[int, Failure], None],
    ) -> None:
        self.waiting: deque[SubmittedPart] = deque()
        self.ends = 0
        """The number of this run's batches that have ended."""
        self.left_out = False
        """Whether requests were left out because they do not fit into the cap."""
        self.closed = False
        """Whether the cap allows no further part."""
        self._budget = context.budget
        self._shrunk = 0
        self._wanting_at = inf
        """No part is prepared before fewer reservations than these are open, since nothing would fit."""
        self._api = collector.api
        self._collector = collector
        self._store = store
        self._context = context
        self._tuning = context.tuning
        self._add_failure = add_failure
        self._limit = EnqueuedLimit(context.tuning)
        self._ahead: deque[Request] = deque()
        """Requests of the next part that were taken from the feed already."""
        self._quotas: deque[int] = deque()
        """The most requests of the next parts: the halves of a part that was too large."""

    @property
    def limit_wait(self) -> LimitWait | None:
        """The account's limit for which a refused part is held back; its end is known if no other part is open."""
        refusal = self._limit.refusal
        if not self.waiting or refusal is None or not self.waiting[0].refusals:
            return None
        seconds = self.waiting[0].not_before - time.monotonic()
        return LimitWait.of(refusal.message, seconds if self.waiting[0].ends < 0 else None)

    def keep_for_next(self, request: Request | None) -> bool:
        """Keep a request for the next part; false when there is none."""
        self._ahead.extend([] if request is None else [request])
        return request is not None

    def put_first(self, requests: Sequence[Request]) -> None:
        """Let these requests be a part of their own, which comes next."""
        self._ahead.extendleft(reversed(requests))
        self._quotas.appendleft(len(requests))

    async def next_part(self, feed: Feed, enqueued: Sequence[SubmittedPart]) -> SubmittedPart | None:
        """Return the next part if there is one and it may be submitted beside the enqueued ones."""
        undecided = any(submitted.state in UNDECIDED for submitted in enqueued)
        may_fit = not self.closed and self._budget.open < self._wanting_at
        if not self.waiting and may_fit and not (self._limit.limited and undecided):
            submitted = await self._prepare(feed)
            if submitted is not None:
                self.waiting.append(submitted)
        if not self.waiting or not self._may_submit(self.waiting[0], enqueued, undecided=undecided):
            return None
        return self.waiting.popleft()

    def _may_submit(
        self, submitted: SubmittedPart, enqueued: Sequence[SubmittedPart], *, undecided: bool
    ) -> bool:
        if not enqueued:
            return time.monotonic() >= submitted.not_before
        if not self._limit.limited:
            return True
        blocked = undecided or submitted.ends == self.ends
        return not blocked and self._limit.room(submitted.size, [other.size for other in enqueued])

    async def _prepare(self, feed: Feed) -> SubmittedPart | None:
        """Write the next part into a temporary file, add it to the journal, and upload it."""
        with tempfile.TemporaryFile() as lines:
            numbers, size = await self._write(feed, lines)
            if not numbers:
                return None
            context, nonce = self._context, uuid4().hex
            keys = [context.keys[number] for number in numbers]
            await self._store.add_intent(nonce, context.owner, context.label, keys)
            file = await self._api.upload(file_name(nonce, context.digest), lines, lines.tell())
        await self._store.set_file(nonce, file)
        part = await self._store.find_part(nonce)
        return None if part is None else SubmittedPart(part, numbers, size)

    async def _write(self, feed: Feed, lines: IO[bytes]) -> tuple[array[int], BatchSize]:
        """Write requests into a part's file until the next one does not fit or there are no more."""
        numbers, size = array("i"), BatchSize(0, 0)
        self._wanting_at = inf
        quota = self._quotas.popleft() if self._quotas else self._tuning.batch_requests
        while len(numbers) < quota and (request := await self._next_request(feed)) is not None:
            line = request_line(request, self._context.endpoint)
            grown = BatchSize(size.requests + 1, size.tokens + max(1, len(request.body) // _BYTES_PER_TOKEN))
            if len(line) > self._tuning.batch_bytes:
                self._add_failure(request.number, self._too_large(line))
                continue
            if numbers and not self._fits(grown, lines.tell() + len(line)):
                self._ahead.appendleft(request)
                break
            fit = self._budget.fit(len(request.body))
            if fit is Fit.LATER or (fit is Fit.NEVER and self._budget.used_up):
                self._ahead.appendleft(request)
                return self._shrink(numbers, feed, closes=fit is Fit.NEVER), size
            if fit is Fit.NEVER:
                self.left_out = True
                continue
            self._budget.reserve(request.number, len(request.body))
            lines.write(line)
            numbers.append(request.number)
            size = grown
            if not len(numbers) % _REQUESTS_PER_TURN:
                await asyncio.sleep(0)
        return numbers, size

    def _shrink(self, numbers: array[int], feed: Feed, *, closes: bool) -> array[int]:
        """End a part because of the cap; where other parts may still leave something of it, wait for these instead."""
        if closes:
            self.left_out = self.closed = True
        elif self._budget.open > len(numbers):
            self.release(numbers)
            feed.put_back(numbers)
            self._wanting_at = self._budget.open
            return array("i")
        self._shrunk += 1
        if self._shrunk >= _MOST_SHRUNK:
            self.left_out = self.closed = True
        return numbers

    def release(self, numbers: Iterable[int]) -> None:
        """Release what is reserved for requests that surely are not billed."""
        for number in numbers:
            self._budget.end(number, uncertain=False)

    async def _next_request(self, feed: Feed) -> Request | None:
        return self._ahead.popleft() if self._ahead else await feed.next(patient=False)

    def _fits(self, size: BatchSize, size_bytes: int) -> bool:
        within_limits = (
            size.requests <= self._tuning.batch_requests and size_bytes <= self._tuning.batch_bytes
        )
        return within_limits and self._limit.fits(size)

    def _too_large(self, line: bytes) -> Failure:
        most = self._tuning.batch_bytes
        return Failure("request_too_large", f"the request has {len(line):,} bytes; a batch may have {most:,}")

    def on_accepted(self, submitted: SubmittedPart) -> None:
        """Learn from a part that the account accepted."""
        if submitted.numbers:
            self._limit.on_accepted(submitted.size)

    async def create_batch(self, submitted: SubmittedPart) -> BatchState:
        """Create the batch of an uploaded part; its id is written to the journal before any process waits for it."""
        part, context = submitted.part, self._context
        metadata = {RECIPE_KEY: context.digest.hex(), PART_KEY: part.nonce, COLUMN_KEY: context.label.title}
        state = await self._api.create(part.file or "", context.endpoint.path, metadata)
        if state.id:
            await self._store.set_batch(part.nonce, state.id)
            submitted.part = part._replace(batch=state.id)
        submitted.state, submitted.since = state.status, time.monotonic()
        return state

    async def on_refused(
        self,
        submitted: SubmittedPart,
        refusal: BatchRefusal,
        state: BatchState,
        enqueued: Sequence[SubmittedPart],
        feed: Feed,
    ) -> None:
        """Submit a part that was too large for the account later, or its requests in smaller parts."""
        alone, lagging = False, False
        if not enqueued and not submitted.enqueued_with_others:
            alone, lagging = await self._alone(state)
        submitted.enqueued_with_others = False
        submitted.refusals += 1
        submitted.refused_alone = submitted.refused_alone + 1 if alone else 0
        decision = self._limit.on_refused(
            refusal,
            submitted.size,
            refusals=submitted.refusals,
            alone=submitted.refused_alone,
            lagging=lagging,
        )
        if isinstance(decision, Halve):
            await self._halve(submitted, refusal, feed)
            return
        nonce = uuid4().hex
        await self._store.reset_intent(submitted.part.nonce, nonce)
        submitted.part = submitted.part._replace(nonce=nonce, batch=None)
        submitted.state, submitted.not_before = "intended", time.monotonic() + decision.seconds
        submitted.ends = self.ends if enqueued else -1
        self.waiting.append(submitted)

    async def _halve(self, submitted: SubmittedPart, refusal: BatchRefusal, feed: Feed) -> None:
        await self._collector.delete_part(submitted.part)
        self.release(submitted.numbers)
        count = len(submitted.numbers)
        if count == 1:
            message = f"this row alone is too large: {refusal.message}"
            self._add_failure(submitted.numbers[0], Failure(refusal.code, message))
        else:
            self._quotas.extendleft((count - count // 2, count // 2))
            feed.put_back(submitted.numbers)

    async def _alone(self, refused: BatchState) -> tuple[bool, bool]:
        """Return whether no other batch of the account is enqueued, and whether one that ended lately may still count."""
        try:
            states = await self._api.listed()
        except StopRun:
            return True, self.ends > 0
        model = self._context.label.model
        others = [state for state in states if state.id != refused.id and state.model in {None, "", model}]
        ended_lately = any(
            state.ended is not None and refused.created - state.ended < LAG_SECONDS for state in others
        )
        return all(state.final for state in others), ended_lately
