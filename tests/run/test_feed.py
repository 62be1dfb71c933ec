"""How requests are claimed before they are fed to a lane, and what comes of those that others answered."""

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

import orjson
import pytest
from helpers import MODEL, asked, tune

from llmframe._api import Refused
from llmframe._batch.lines import BatchResult
from llmframe._columns import TEXT, Plan
from llmframe._journal import Journal, Lease, PartLabel, Recorder, Session, open_journal
from llmframe._journal.sqlite import SqliteJournal
from llmframe._run import Prices, Results
from llmframe._run.feed import LARGEST_CLAIM, ClaimedFeed, JournaledTransport
from llmframe._run.results import CollectedResults, OutcomeSink
from llmframe._values import Answer, FaultKind, Request, RequestFault, Usage


@pytest.fixture
def claim_sizes(monkeypatch):
    """Note how many requests each claim is for."""
    sizes = []
    untouched = SqliteJournal.claim

    async def claim(journal, session, keys, **settings):
        sizes.append(len(keys))
        return await untouched(journal, session, keys, **settings)

    monkeypatch.setattr(SqliteJournal, "claim", claim)
    return sizes


def test_claims_grow_as_fast_as_requests_leave(llm, claim_sizes):
    """They are not made one by one where answers come fast, and none is larger than the largest block."""
    tune(claim_ahead_seconds=3600.0)
    asked(3000).llm.complete("q", max_concurrency=20)
    assert sum(claim_sizes) == 3000
    assert all(
        size <= 2 * sum(before) for size, before in zip(claim_sizes[1:], ahead_of(claim_sizes), strict=False)
    )
    assert claim_sizes[0] <= 20 < max(claim_sizes) <= LARGEST_CLAIM
    assert len(claim_sizes) <= 8 + 3000 // 256


def ahead_of(sizes):
    """Return what was claimed before each but the first."""
    return [sizes[:number] for number in range(1, len(sizes))]


@pytest.fixture
def still(monkeypatch):
    """Stop the clock by which the pace of a feed is judged; the list's last time is now."""
    times = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: times[-1])
    return times


def test_as_many_are_claimed_ahead_as_leave_in_a_moment(tmp_path, claim_sizes, still):
    """The window does not count: at first few, then what the lane took lately, and one at a slow limit."""

    async def main():
        async with run_context(tmp_path / "journal.sqlite", 600) as here:
            feed = here.feed(window=lambda: 512, ahead_seconds=0.05, looked_up=True)

            async def take(count, seconds):
                for _ in range(count):
                    still.append(still[-1] + seconds)
                    assert feed.next_ready() or await feed.next()
                return sum(claim_sizes) - len(still) + 1

            assert await take(1, 0.0) <= 3
            assert 0 < await take(300, 0.001) <= 50
            assert len(claim_sizes) < 30
            assert 25 <= feed.ahead <= 50
            assert await take(80, 0.2) <= 1
            assert claim_sizes[-8:] == [1] * 8
            assert feed.ahead == 1
            assert 0 < await take(150, 0.001) <= 50

    asyncio.run(main())


def test_rows_that_others_have_answered_are_passed_over_in_growing_blocks(tmp_path, claim_sizes, still):
    async def main():
        async with run_context(tmp_path / "journal.sqlite", 600) as here:
            other = await here.journal.begin(b"recipe", {})
            answers = [(answer_to(key), None) for key in here.plan.keys[:-1]]
            await here.journal.record(other, answers, [])
            assert await numbers_fed(here.feed(ahead_seconds=0.05)) == [599]
            assert here.results.answered == 599
            assert len(claim_sizes) < 12

    asyncio.run(main())


def test_a_request_is_not_reported_as_unsent_while_it_is_claimed_again():
    """It leaves as soon as that is done; afterwards it was refused, and an attempt that may have been billed stays one."""

    class Transport:
        fault = RequestFault(FaultKind.PASSING, "500", "why")

        async def send(self, _):
            return Refused(self.fault)

    class Recording:
        noted: ClassVar[list] = []

        async def before_send(self, key):
            self.noted.append(key in unsent)
            return True

        def add_unsent(self, key):
            self.noted.append(key)

    async def main():
        transport, recorder = Transport(), Recording()
        journaled = JournaledTransport(transport, recorder, unsent)
        request = Request(b"key", 0, b"")
        await journaled.send(request)
        transport.fault = replace(transport.fault, uncertain=True)
        await journaled.send(request)
        transport.fault = replace(transport.fault, uncertain=False)
        await journaled.send(request)
        return recorder.noted

    unsent = {b"key"}
    assert asyncio.run(main()) == [False, b"key", False, False]


def test_what_is_not_sent_in_time_is_reported(tmp_path):
    """Whether the lane has taken it or not."""

    async def main():
        async with run_context(tmp_path / "journal.sqlite") as here:
            late, all_late = [], asyncio.Event()

            def on_late(key):
                late.append(here.plan.keys.index(key))
                if len(late) == 2:
                    all_late.set()

            feed = here.feed(window=lambda: 3, on_late=on_late)
            taken = [await feed.next(), await feed.next()]
            feed.unsent.discard(taken[0].key)
            async with asyncio.timeout(60):
                await all_late.wait()
            feed.return_ready(taken[1])
            assert await numbers_fed(feed) == [1, 2, 3, 4, 5]
            assert late[:2] == [1, 2]

    asyncio.run(main())


BODY = {"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}]}


def answer_to(key):
    return Answer(key, orjson.dumps(BODY), Usage(3, 1), "batch")


def result_for(key):
    return BatchResult(key, answer_to(key), BODY, None)


def fault_of(key, kind):
    return BatchResult(key, None, None, RequestFault(kind, "some_code", "why"))


@dataclass
class RunContext:
    """What a run has around its lane, on a journal of its own."""

    plan: Plan
    journal: Journal
    session: Session
    results: Results
    recorder: Recorder
    collected: CollectedResults
    waits_for_batches: bool
    stops: list

    def feed(self, **settings):
        lease = Lease(self.journal, self.session, 60.0, self.stops.append)
        return ClaimedFeed(
            self.plan,
            range(len(self.plan.keys)),
            self.journal,
            self.session,
            lease=lease,
            results=self.results,
            stop=self.stops.append,
            waits_for_batches=self.waits_for_batches,
            journal_failed=self.stops.append,
            **({"window": lambda: 2, "ahead_seconds": 0.0} | settings),
        )

    async def part(self):
        label = PartLabel(self.session.recipe, "server", MODEL, "q")
        await self.journal.batches.add_intent("part", self.session.owner, label, [])
        return await self.journal.batches.find_part("part")


@asynccontextmanager
async def run_context(path, rows=6, *, waits_for_batches=True, **settings):
    plan = asked(rows).llm.complete("q", mode="offline", journal=False, wait=False)._plan
    async with open_journal(path) as journal:
        session = await journal.begin(b"recipe", {}, **settings)
        results, stops = Results(plan, TEXT, Prices({}), MODEL), []
        recorder = Recorder(journal, session, 0.001, stops.append)
        sink = OutcomeSink(results, recorder)
        collected = CollectedResults(plan, results, sink, session.since)
        yield RunContext(plan, journal, session, results, recorder, collected, waits_for_batches, stops)
        await recorder.finish()


async def numbers_fed(feed):
    numbers = []
    while request := await feed.next(patient=False):
        numbers.append(request.number)
    return numbers


def test_what_a_run_collects_of_earlier_batches_is_not_fed(tmp_path):
    """A batch run may collect a part that it did not submit before it comes to the rows that the part has answered."""

    async def main():
        async with run_context(tmp_path / "journal.sqlite") as here:
            feed = here.feed(largest=2)
            first = (await feed.next(patient=False)).number
            here.collected.add_result(result_for(here.plan.keys[4]), await here.part())
            await here.recorder.flush()
            assert [first, *await numbers_fed(feed)] == [0, 1, 2, 3, 5]
            assert (here.results.answered, here.results.from_journal) == (1, 0)

    asyncio.run(main())


def test_what_another_run_answered_or_asks_is_not_fed(tmp_path):
    """Its answers are taken, and what it still asks is waited for; what it releases is fed."""

    async def main():
        async with run_context(tmp_path / "journal.sqlite") as here:
            other = await here.journal.begin(b"recipe", {})
            await here.journal.claim(other, here.plan.keys[:3])
            await here.journal.record(other, [(answer_to(here.plan.keys[0]), None)], [])
            feed = here.feed()
            assert await numbers_fed(feed) == [3, 4, 5]
            assert (here.results.answered, here.results.from_journal) == (1, 1)
            assert feed.more
            await here.journal.record(other, [(answer_to(here.plan.keys[1]), None)], [here.plan.keys[2]])
            assert await numbers_fed(feed) == [2]
            assert (here.results.answered, here.results.from_journal) == (2, 2)
            assert not feed.more
            assert here.stops == []

    asyncio.run(main())


def test_what_is_put_back_is_claimed_and_fed_once_more(tmp_path):
    async def main():
        async with run_context(tmp_path / "journal.sqlite", 4) as here:
            feed = here.feed(looked_up=True)
            assert await numbers_fed(feed) == [0, 1, 2, 3]
            feed.put_back([2, 0])
            assert await numbers_fed(feed) == [0, 2]
            feed.put_back([1])
            feed.end()
            assert await numbers_fed(feed) == []

    asyncio.run(main())


@pytest.mark.parametrize("waits", [True, False])
def test_rows_in_an_open_batch_end_a_run_that_does_not_wait_for_batches(tmp_path, waits):
    """Sent one by one they would be paid a second time."""

    async def main():
        async with run_context(tmp_path / "journal.sqlite", waits_for_batches=waits) as here:
            other = await here.journal.begin(b"recipe", {}, sends=False)
            await here.journal.claim(other, here.plan.keys[:2])
            label = PartLabel(other.recipe, "server", MODEL, "q")
            await here.journal.batches.add_intent("part", other.owner, label, here.plan.keys[:2])
            feed = here.feed()
            assert await numbers_fed(feed) == [2, 3, 4, 5]
            assert feed.parts == {"part"}
            codes = {stop.code for stop in here.stops}
            assert codes == (set() if waits else {"in_open_batch"})

    asyncio.run(main())


def test_results_that_the_run_does_not_ask_for_are_kept_all_the_same(tmp_path):
    """They are paid: of other rows, and of batches that are older than a fresh run."""

    async def main():
        async with run_context(tmp_path / "journal.sqlite", fresh=b"all") as here:
            part, keys = await here.part(), here.plan.keys
            older = part._replace(created=here.session.since - 10)
            here.collected.add_result(result_for(b"another request "), part)
            here.collected.add_result(result_for(keys[0]), older)
            here.collected.add_result(result_for(keys[1]), part)
            await here.recorder.flush()
            assert (here.results.answered, here.results.has_outcome(0), here.results.has_outcome(1)) == (
                1,
                False,
                True,
            )
            plain = await here.journal.begin(b"recipe", {})
            known = await here.journal.lookup(plain, [*keys, b"another request "])
            assert {stored.key: stored.created for stored in known} == {
                keys[0]: older.created,
                keys[1]: part.created,
                b"another request ": part.created,
            }

    asyncio.run(main())


def test_only_the_rows_own_faults_are_taken_from_earlier_batches(tmp_path):
    """A row that met a passing fault there is asked again."""

    async def main():
        async with run_context(tmp_path / "journal.sqlite") as here:
            part, keys = await here.part(), here.plan.keys
            for key, kind in zip(keys, FaultKind, strict=False):
                here.collected.add_result(fault_of(key, kind), part)
            here.collected.add_result(result_for(keys[0]), part)
            failures = here.results.reasons()
            assert {list(FaultKind)[position] for position in failures} == {
                FaultKind.ROW,
                FaultKind.PARAMETER,
            }
            assert {failure.code for failure in failures.values()} == {"some_code"}
            assert here.results.answered == 0

    asyncio.run(main())
