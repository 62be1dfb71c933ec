"""The construction of both lanes: open batches are handled first, and the other requests are fed to a lane."""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from llmframe._addresses import is_local
from llmframe._batch import (
    MOST_ROUNDS,
    BatchLane,
    Collector,
    SubmissionContext,
    collect_before_live,
    reattach,
)
from llmframe._journal import PartLabel
from llmframe._json import load
from llmframe._live import AccountPace, LiveLane
from llmframe._options import DEFAULT_MAX_RETRIES
from llmframe._pacing import RetryPolicy
from llmframe._run.feed import LARGEST_CLAIM, ClaimedFeed, JournaledTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from llmframe._api import BatchApi, Client, Transport
    from llmframe._columns import Plan
    from llmframe._errors import JournalError
    from llmframe._journal import Journal, Lease, Recorder, Session, StoredAnswer
    from llmframe._pacing import Budget
    from llmframe._run.chunks import SharedByChunks
    from llmframe._run.results import CollectedResults, OutcomeSink, Results
    from llmframe._run.settings import AccountSettings, RunSettings
    from llmframe._values import AnswerKind, Endpoint, Key, Stop

_BATCH_CLAIM = 2_000
"""At most this many requests of a batch are claimed in one transaction."""
_BATCH_AHEAD_SECONDS = 3_600.0
"""The requests of a batch leave together, so no pace limits how many are claimed ahead."""


@dataclass(frozen=True)
class LaneContext:
    """The parts of a lane."""

    settings: RunSettings
    plan: Plan
    columns: str
    """The columns' names, for display."""
    results: Results
    journal: Journal
    session: Session
    lease: Lease
    recorder: Recorder
    sink: OutcomeSink
    collected: CollectedResults
    stop: Callable[[Stop], object]
    """Stops the run."""
    journal_failed: Callable[[JournalError], object]
    client: Client
    transport: Transport
    budget: Budget
    shared: SharedByChunks | None = None

    @property
    def label(self) -> PartLabel:
        return PartLabel(self.session.recipe, self.settings.server, self.settings.model, self.columns)

    @property
    def policy(self) -> RetryPolicy:
        settings = self.settings
        return RetryPolicy(
            settings.max_retries,
            random.Random(),  # noqa: S311 (for jitter)
            settings.verb.endpoint.content,
            patience=settings.patience,
            key=settings.account.key_remedy,
            proven=self.results.answered > 0,
            rungs=self.results.rungs,
        )

    def collector(self) -> Collector:
        verb, api = self.settings.verb, self.settings.batch_api(self.client)
        return make_collector(
            self.settings, verb.endpoint, verb.kind, api, self.journal, self.session, self.recorder
        )

    def keys(self, wanted: Sequence[int]) -> Iterator[Key]:
        """Yield the identities of these requests."""
        return (self.plan.keys[number] for number in wanted)

    def live_feed(self, wanted: Sequence[int], window: Callable[[], int]) -> ClaimedFeed:
        return self._feed(
            wanted,
            window=window,
            largest=LARGEST_CLAIM,
            ahead_seconds=self.settings.tuning.claim_ahead_seconds,
            on_late=self.recorder.add_unsent,
            looked_up=True,
        )

    def batch_feed(self, wanted: Sequence[int]) -> ClaimedFeed:
        return self._feed(
            wanted,
            window=lambda: _BATCH_CLAIM,
            largest=_BATCH_CLAIM,
            ahead_seconds=_BATCH_AHEAD_SECONDS,
        )

    def _feed(self, wanted: Sequence[int], **settings: Any) -> ClaimedFeed:
        left = array("i", (number for number in wanted if not self.results.has_outcome(number)))
        return ClaimedFeed(
            self.plan,
            left,
            self.journal,
            self.session,
            lease=self.lease,
            results=self.results,
            stop=self.stop,
            waits_for_batches=self.settings.mode == "batch",
            journal_failed=self.journal_failed,
            is_failure=self._is_failure,
            again=self.sink.asked_once,
            **settings,
        )

    def _is_failure(self, stored: StoredAnswer) -> bool:
        verdict = self.settings.verb.kind.judge(load(stored.body))
        earlier = stored.created < (self.session.began if self.shared is None else self.shared.began)
        return not self.settings.is_served_by(stored, verdict) or (
            earlier and self.settings.asks_again(verdict)
        )


def make_collector(  # noqa: PLR0917 (the parts of a collector)
    settings: AccountSettings,
    endpoint: Endpoint,
    kind: AnswerKind,
    api: BatchApi,
    journal: Journal,
    session: Session,
    recorder: Recorder | None,
) -> Collector:
    """Make the collector of an account's batches; without a recorder it only finds them."""
    return Collector(
        api,
        endpoint,
        journal,
        session,
        recorder,
        keep_files=settings.keep_batch_files,
        strict=settings.reattach,
        is_good=lambda body: kind.judge(body).value is not None,
        tuning=settings.tuning,
    )


def limit_group(settings: RunSettings) -> bytes:
    """Identify the limits of a call: those of its account for its model."""
    return blake2b(settings.account.limit_group + settings.model.encode(), digest_size=16).digest()


async def make_live_lane(
    context: LaneContext, wanted: Sequence[int]
) -> tuple[LiveLane, ClaimedFeed, AbstractAsyncContextManager[None]]:
    """Make the live lane, and its part in its account's pace; requests in open batches stop the run."""
    add_result = context.collected.add_result
    await collect_before_live(context.collector(), context.label, context.keys(wanted), add_result)
    settings, verb, journal = context.settings, context.settings.verb, context.journal
    account = await AccountPace.of(limit_group(settings), journal, local=is_local(settings.account.base_url))
    cache = context.plan.cache
    warming = None if cache is None else account.warming(cache.digests)
    pace = account.pace.join(
        settings.max_concurrency,
        recipe=context.session.digest,
        requests_per_minute=settings.requests_per_minute,
        tokens_per_minute=settings.tokens_per_minute,
        rungs=context.results.rungs,
        warming=warming,
        call=context.shared,
    )
    feed = context.live_feed(wanted, lambda: pace.window)
    lane = LiveLane(
        JournaledTransport(context.transport, context.recorder, feed.unsent),
        pace,
        context.policy,
        endpoint=verb.endpoint,
        emit=context.sink.add_outcome,
        most_output=settings.most_output or 0,
        budget=context.budget,
        warming=warming,
        warming_seconds=settings.tuning.warming_seconds,
    )
    running = account.running(
        pace,
        journal,
        context.session,
        seconds=settings.tuning.exchange_seconds,
        journal_failed=context.journal_failed,
    )
    return lane, feed, running


async def make_batch_lane(
    context: LaneContext, wanted: Sequence[int], announce: Callable[[], None]
) -> tuple[BatchLane, ClaimedFeed]:
    """Make the batch lane; the account's open batches of this call are found first."""
    collector, label = context.collector(), context.label
    session, settings = context.session, context.settings
    if settings.reattach:
        await collector.find_batches(label, session.digest, session.since)
    submission = SubmissionContext(
        label,
        session.digest,
        session.owner,
        settings.verb.endpoint,
        context.plan.keys,
        settings.tuning,
        context.budget,
    )
    lane = BatchLane(
        collector,
        context.journal.batches,
        submission,
        context.policy,
        emit=context.sink.add_outcome,
        add_result=context.collected.add_result,
        announce=announce,
        asked_once=context.sink.asked_once,
        most_rounds=MOST_ROUNDS if settings.max_retries == DEFAULT_MAX_RETRIES else settings.max_retries,
    )
    await reattach(collector, label, context.keys(wanted), lane.add_earlier_result)
    return lane, context.batch_feed(wanted)
