"""What goes out in a batch run: parts are written, entered in the journal, uploaded, and submitted when they may be."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4

from llmframe._api.batch_api import COLUMN, PART, RECIPE, Gone
from llmframe._batch.collection import file_name
from llmframe._batch.enqueued_limit import LAG_SECONDS, Halve, Queue, Size
from llmframe._batch.lines import LARGEST_PART_BYTES, LARGEST_PART_REQUESTS, request_line
from llmframe._journal import registry
from llmframe._pacing.retry import Halt
from llmframe._spool import Spool
from llmframe._values import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmframe._batch.collection import Harvester
    from llmframe._batch.enqueued_limit import Refusal
    from llmframe._journal.sqlite.batch_store import Label, Part, Parts
    from llmframe._lane import Feed
    from llmframe._values import BatchState, Key, Request

_BREATH_REQUESTS = 500
_BYTES_PER_TOKEN = 4
UNDECIDED = frozenset({"intended", "validating"})
"""States in which it is open whether the account takes a part."""


@dataclass(frozen=True, slots=True)
class Submitter:
    """Who submits, and what is the same in all parts of a run."""

    label: Label
    digest: bytes
    """The recipe, as all journals know it."""
    agent: int
    """Who submits and harvests, as the journal knows it."""
    endpoint: str
    keys: Sequence[Key]
    """The identities of the plan's requests, by number."""


@dataclass(eq=False, slots=True)
class Sent:
    """A part that this run submits, or one that it waits for."""

    part: Part
    indices: array[int] = field(default_factory=lambda: array("i"))
    """This run's requests, in the order of the file; none for a part of an earlier run."""
    size: Size = field(default_factory=lambda: Size(0, 0))
    state: str = "intended"
    done: int = 0
    """Requests that the batch has finished, as far as is known."""
    since: float = 0.0
    """When it was submitted, by the monotonic clock."""
    refusals: int = 0
    lonely: int = 0
    """Refusals in succession while nothing else of the account was enqueued."""
    not_before: float = 0.0
    beside: bool = False
    """Whether others were enqueued in its time."""
    ends: int = -1
    """How many of this run's batches had ended when it was refused beside others."""


class Outbox:
    """Holds the parts that are still to be submitted.

    Parameters
    ----------
    fail
        Takes a request that no part can hold.
    """

    def __init__(
        self, harvester: Harvester, parts: Parts, submitter: Submitter, fail: Callable[[int, Failure], None]
    ) -> None:
        self.waiting: deque[Sent] = deque()
        self.ends = 0
        """How many of this run's batches have ended."""
        self._api = harvester.api
        self._harvester = harvester
        self._parts = parts
        self._submitter = submitter
        self._fail = fail
        self._queue = Queue()
        self._spare: Request | None = None
        self._quotas: deque[int] = deque()
        """How many requests the next parts may have: the halves of what was taken apart."""

    def keep(self, request: Request | None) -> bool:
        """Put a request aside for the next part; false when there is none."""
        self._spare = request
        return request is not None

    async def next(self, feed: Feed, enqueued: Sequence[Sent]) -> Sent | None:
        """Submit the next part if there is one and the account may take it beside those that are enqueued."""
        undecided = any(sent.state in UNDECIDED for sent in enqueued)
        if not self.waiting and not (self._queue.limited and undecided):
            sent = await self._prepare(feed)
            if sent is not None:
                self.waiting.append(sent)
        if not self.waiting or not self._may_go(self.waiting[0], enqueued, undecided=undecided):
            return None
        return self.waiting.popleft()

    def _may_go(self, sent: Sent, enqueued: Sequence[Sent], *, undecided: bool) -> bool:
        if not enqueued:
            return time.monotonic() >= sent.not_before
        if not self._queue.limited:
            return True
        held_back = undecided or sent.ends == self.ends
        return not held_back and self._queue.room(sent.size, [other.size for other in enqueued])

    async def _prepare(self, feed: Feed) -> Sent | None:
        """Collect the next part, enter it in the journal, and upload it."""
        with Spool() as spool:
            indices, size = await self._collect(feed, spool)
            if not indices:
                return None
            nonce = uuid4().hex
            keys = [self._submitter.keys[index] for index in indices]
            await registry.on_thread(
                self._parts.intend, nonce, self._submitter.agent, self._submitter.label, keys
            )
            file = await self._api.upload(file_name(nonce), spool)
        await registry.on_thread(self._parts.uploaded, nonce, file)
        return Sent(await registry.on_thread(self._parts.get, nonce), indices, size)

    async def _collect(self, feed: Feed, spool: Spool) -> tuple[array[int], Size]:
        """Write requests into a part's file until the next would not fit or there are no more."""
        indices, size = array("i"), Size(0, 0)
        quota = self._quotas.popleft() if self._quotas else LARGEST_PART_REQUESTS
        while len(indices) < quota and (request := await self._next(feed)) is not None:
            line = request_line(request, self._submitter.endpoint)
            grown = Size(size.requests + 1, size.tokens + max(1, len(request.body) // _BYTES_PER_TOKEN))
            if len(line) > LARGEST_PART_BYTES:
                self._fail(request.number, _too_large(line))
                continue
            if indices and not self._fits(grown, spool.size + len(line)):
                self._spare = request
                break
            spool.add(line)
            indices.append(request.number)
            size = grown
            if not len(indices) % _BREATH_REQUESTS:
                await asyncio.sleep(0)
        return indices, size

    async def _next(self, feed: Feed) -> Request | None:
        request, self._spare = self._spare, None
        return request if request is not None else await feed.next(patient=False)

    def _fits(self, size: Size, size_bytes: int) -> bool:
        within = size.requests <= LARGEST_PART_REQUESTS and size_bytes <= LARGEST_PART_BYTES
        return within and self._queue.fits(size)

    def accepted(self, sent: Sent) -> None:
        """Take note of a part that the account took."""
        if sent.indices:
            self._queue.accepted(sent.size)

    async def create(self, sent: Sent) -> BatchState:
        """Make a batch of an uploaded part; its id is in the journal before anybody waits for it."""
        part = sent.part
        metadata = {
            RECIPE: self._submitter.digest.hex(),
            PART: part.nonce,
            COLUMN: self._submitter.label.title,
        }
        state = await self._api.create(part.file or "", self._submitter.endpoint, metadata)
        if state.id:
            await registry.on_thread(self._parts.submitted, part.nonce, state.id)
            sent.part = part._replace(batch=state.id)
        sent.state, sent.since = state.status, time.monotonic()
        return state

    async def refused(
        self, sent: Sent, refusal: Refusal, state: BatchState, enqueued: Sequence[Sent], feed: Feed
    ) -> None:
        """Keep a part for later that was too much for the account, or let its requests go out in smaller ones."""
        lonely, lagging = (False, False) if enqueued or sent.beside else await self._alone(state)
        sent.beside = False
        sent.refusals += 1
        sent.lonely = sent.lonely + 1 if lonely else 0
        decision = self._queue.refused(
            refusal, sent.size, refusals=sent.refusals, lonely=sent.lonely, lagging=lagging
        )
        if isinstance(decision, Halve):
            await self._take_apart(sent, refusal, feed)
            return
        nonce = uuid4().hex
        await registry.on_thread(self._parts.again, sent.part.nonce, nonce)
        sent.part = sent.part._replace(nonce=nonce, batch=None)
        sent.state, sent.not_before = "intended", time.monotonic() + decision.seconds
        sent.ends = self.ends if enqueued else -1
        self.waiting.append(sent)

    async def _take_apart(self, sent: Sent, refusal: Refusal, feed: Feed) -> None:
        await self._harvester.drop(sent.part)
        if len(sent.indices) == 1:
            self._fail(
                sent.indices[0], Failure(refusal.code, f"this row alone is too large: {refusal.message}")
            )
        else:
            half = len(sent.indices) // 2
            self._quotas.extendleft((len(sent.indices) - half, half))
            feed.put_back(sent.indices)

    async def _alone(self, refused: BatchState) -> tuple[bool, bool]:
        """Tell whether nothing else of the account is enqueued, and whether something ended so lately that it may count."""
        try:
            states = await self._api.listed()
        except (Gone, Halt):
            return True, self.ends > 0
        model = self._submitter.label.model
        others = [state for state in states if state.id != refused.id and state.model in {None, "", model}]
        lately = any(
            state.ended is not None and refused.created - state.ended < LAG_SECONDS for state in others
        )
        return all(state.final for state in others), lately


def _too_large(line: bytes) -> Failure:
    return Failure(
        "request_too_large",
        f"the request has {len(line):,} bytes; a batch may have {LARGEST_PART_BYTES:,}",
    )
