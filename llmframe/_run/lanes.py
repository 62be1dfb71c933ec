"""The two lanes made ready: what is under way is settled first, and the rest is fed to a lane."""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from llmframe._api.batch_api import BatchApi
from llmframe._batch.collection import Harvester
from llmframe._batch.lane import Batch
from llmframe._batch.reattach import reattach, take_back
from llmframe._batch.submission import Submitter
from llmframe._journal.sqlite.batch_store import Label
from llmframe._live.lane import Live
from llmframe._live.limit_exchange import Neighbours
from llmframe._options import options
from llmframe._pacing.pace import Pace
from llmframe._pacing.retry import Watch
from llmframe._run.feed import LARGEST_CLAIM, ClaimedFeed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from llmframe._api.sdk_client import Client
    from llmframe._columns.plan import Plan
    from llmframe._journal.protocol import Journal, Session
    from llmframe._lane import Lane
    from llmframe._live.attempt import Sender
    from llmframe._run.outcome_sink import Intake
    from llmframe._run.results import Score
    from llmframe._values import Key
    from llmframe._verbs.arguments import Call

_BATCH_CLAIM = 2_000
"""So many requests of a batch are claimed in one transaction."""


@dataclass(frozen=True)
class Work:
    """What a lane is made of."""

    call: Call
    plan: Plan
    score: Score
    journal: Journal
    session: Session
    intake: Intake
    client: Client
    sender: Sender
    title: str
    """The columns, as a person calls them."""

    @property
    def label(self) -> Label:
        return Label(self.session.recipe, self.call.server, self.call.model, self.title)

    @property
    def watch(self) -> Watch:
        return Watch(self.call.max_retries, random.Random())  # noqa: S311 (for jitter)

    def harvester(self) -> Harvester:
        api = BatchApi(
            self.client,
            timeout=self.call.timeout,
            headers=self.call.headers,
            max_retries=self.call.max_retries,
        )
        return Harvester(
            api,
            self.journal,
            self.session,
            self.intake.recorder,
            keep_files=options.keep_batch_files,
            strict=options.reattach,
        )

    def keys(self, wanted: Sequence[int]) -> Iterator[Key]:
        """Give the identities of these requests, one after the other."""
        return (self.plan.keys[index] for index in wanted)

    def feed(
        self, wanted: Sequence[int], window: Callable[[], int], largest: int, *, looked_up: bool
    ) -> ClaimedFeed:
        left = array("i", (index for index in wanted if not self.score.settled(index)))
        return ClaimedFeed(
            self.plan,
            left,
            self.journal,
            self.session,
            self.intake,
            window=window,
            retry_failed=self.call.retry_failed,
            looked_up=looked_up,
            largest=largest,
        )


async def live(work: Work, wanted: Sequence[int]) -> tuple[Lane, ClaimedFeed, Neighbours]:
    """Make the live lane ready, and those known that share its limits; rows in open batches end the run."""
    await take_back(work.harvester(), work.label, work.keys(wanted), work.intake.take)
    pace = Pace(work.call.max_concurrency)
    lane = Live(work.sender, pace, work.watch, work.intake.hear)
    pool = blake2b(work.call.account.pool + work.call.model.encode(), digest_size=16).digest()
    neighbours = Neighbours(work.journal, work.session, pool, pace, work.intake.journal_failed)
    return lane, work.feed(wanted, lambda: pace.window, LARGEST_CLAIM, looked_up=True), neighbours


async def batch(work: Work, wanted: Sequence[int], announce: Callable[[], None]) -> tuple[Batch, ClaimedFeed]:
    """Make the batch lane ready; what the account has under way of this call is found first."""
    harvester, label, session = work.harvester(), work.label, work.session
    if options.reattach:
        await harvester.find(label, session.digest, session.since)
    await reattach(harvester, label, work.keys(wanted), work.intake.take)
    submitter = Submitter(label, session.digest, session.owner, work.call.recipe.endpoint, work.plan.keys)
    lane = Batch(
        harvester,
        work.journal.parts,
        submitter,
        work.watch,
        emit=work.intake.hear,
        take=work.intake.take,
        announce=announce,
        most_rounds=work.call.max_retries,
    )
    return lane, work.feed(wanted, lambda: _BATCH_CLAIM, _BATCH_CLAIM, looked_up=False)
