"""Answers on their way into the journal."""

import asyncio
import time

import pytest
from helpers import about, asked
from journal.files import sql
from journal.stores import KEYS, priced

import llmframe
from llmframe._journal import Recorder
from llmframe.testing import Fault


class Store:
    """Notes what is recorded, and fails as long as it is told to."""

    def __init__(self, error=None):
        self.error = error
        self.commits = []
        self.spent = []

    async def record(self, _, answers, released, spent):
        if self.error is not None:
            raise self.error
        self.commits.append((list(answers), list(released)))
        self.spent += spent


def test_answers_that_arrive_within_a_moment_are_committed_together():
    store = Store()

    async def main():
        recorder = Recorder(store, None, 0.01, print)
        for number in range(5):
            recorder.add_answer(*priced(number))
        recorder.release_claim(KEYS[0])
        await recorder.flush()
        recorder.release_claim(KEYS[1])
        await recorder.finish()
        await recorder.finish()

    asyncio.run(main())
    assert store.commits == [([priced(number) for number in range(5)], [KEYS[0]]), ([], [KEYS[1]])]


def test_the_last_answers_are_committed_at_once():
    """Whoever waits for the commit knows that no further answer joins it: a call of one row does not wait."""
    store = Store()

    async def main():
        recorder = Recorder(store, None, 3_600.0, print)
        for number in range(3):
            recorder.add_answer(*priced(number))
            await asyncio.wait_for(recorder.flush(), 60)

    asyncio.run(main())
    assert [answers for answers, _ in store.commits] == [[priced(number)] for number in range(3)]


def test_a_journal_that_fails_is_told_once_and_gets_a_second_chance_in_the_end():
    """A disk that was full meanwhile may take at the end what it refused."""
    failures, store = [], Store(llmframe.JournalError("full"))

    async def main():
        recorder = Recorder(store, None, 0.001, failures.append)
        recorder.add_answer(*priced(1))
        await recorder.flush()
        recorder.add_answer(*priced(2))
        recorder.release_claim(KEYS[0])
        await recorder.flush()
        store.error = None
        await recorder.finish()

    asyncio.run(main())
    assert failures == [failures[0]]
    assert str(failures[0]) == "full"
    assert store.commits == [([priced(1), priced(2)], [KEYS[0]])]


class Claims(Store):
    """Notes which requests count as possibly sent."""

    def __init__(self):
        super().__init__()
        self.noted = []

    async def mark_unsent(self, _, keys):
        self.noted.append(("unsent", list(keys)))

    async def claim(self, _, keys, **__):
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.noted.append(("claimed", list(keys)))


def test_requests_that_waited_are_claimed_together_before_they_are_sent():
    """What is sent before its waiting was written costs nothing, and so does what never waited."""
    store, (first, second, third) = Claims(), KEYS

    async def main():
        recorder = Recorder(store, None, 0.001, print)
        for key in (first, second, b"early", third):
            recorder.add_unsent(key)
        assert await recorder.before_send(b"early")
        await recorder.flush()
        assert all(await asyncio.gather(*map(recorder.before_send, [*KEYS, b"never"])))
        assert await recorder.before_send(KEYS[0])
        await recorder.finish()
        recorder.add_unsent(KEYS[0])
        await recorder.finish()

    asyncio.run(main())
    assert store.noted == [("unsent", KEYS), ("claimed", [first]), ("claimed", [second, third])]
    assert store.commits == []


def test_a_request_that_cannot_be_claimed_again_is_not_sent():
    failures, store = [], Claims()

    async def main():
        recorder = Recorder(store, None, 0.001, failures.append)
        recorder.add_unsent(KEYS[0])
        recorder.add_unsent(KEYS[1])
        await recorder.flush()
        store.error = llmframe.JournalError("full")
        return await asyncio.gather(*map(recorder.before_send, KEYS[:2]))

    assert asyncio.run(main()) == [False, False]
    assert [str(error) for error in failures] == ["full"]


@pytest.mark.parametrize("meanwhile", [0, 0.05])
def test_what_nobody_foresaw_ends_the_run_and_loses_no_answer(meanwhile):
    """An error that is not the journal's is told as one, and what it kept from being written is written in the end."""
    failures, store = [], Store(TypeError("odd"))

    async def main():
        recorder = Recorder(store, None, 0.001, failures.append)
        recorder.add_answer(*priced(1))
        await asyncio.sleep(meanwhile)
        with pytest.raises(TypeError, match="odd"):
            await recorder.flush()
        store.error = None
        await recorder.finish()

    asyncio.run(main())
    assert [type(error) for error in failures] == [llmframe.JournalError]
    assert store.commits == [([priced(1)], [])]


def test_answers_are_on_disk_soon_after_they_arrive(llm, tmp_path):
    """While a run works, the journal holds what came more than a moment ago."""
    path = tmp_path / "journal.sqlite"
    llm.faults = [Fault("hang", when=about(9))]
    run = asked(10).llm.complete("q", wait=False)
    assert llm.ledger.wait_for(lambda ledger: ledger.answered == 9, timeout=30)
    deadline = time.monotonic() + 20
    count = 0
    while count < 9 and time.monotonic() < deadline:
        time.sleep(0.05)
        with sql(path) as journal:
            count = journal.execute("SELECT count(*) FROM answer").fetchone()[0]
    assert count == 9
    assert not run.done()
    run.cancel()
    with pytest.raises(llmframe.StoppedError):
        run.result(30)
