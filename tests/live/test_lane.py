"""The live lane by itself: how many requests are in flight, and which ones wait."""

import asyncio
import random

import pytest

from llmframe._api import CHAT_COMPLETIONS, Refused, Reply
from llmframe._live import LiveLane
from llmframe._pacing import Pace, Patience, RateHeaders, RetryPolicy, RunPace
from llmframe._values import FaultKind, Request, RequestFault, Stop

DATA = {"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}]}


class Sender:
    """A transport that answers when `answer` is called, or at once, and counts what is in flight."""

    def __init__(self, *, at_once=False):
        self.at_once = at_once
        self.sent = self.in_flight = self.most = 0
        self._answers = asyncio.Event()

    async def send(self, request):
        self.sent += 1
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        await (asyncio.sleep(0) if self.at_once or request.number == 0 else self._answers.wait())
        self.in_flight -= 1
        return Reply(b"{}", DATA, None)

    def answer(self):
        """Answer all that wait."""
        self._answers.set()
        self._answers.clear()


class Gate(RunPace):
    """A pace that admits nothing while it is closed."""

    closed = False

    def __init__(self, most):
        super().__init__(Pace(), most, b"", (None, None))

    def admit(self, now, tokens):
        return 0.001 if self.closed else super().admit(now, tokens)


class Feed:
    def __init__(self, count):
        self._requests = iter([Request(b"%016d" % index, index, b"{}") for index in range(count)])

    ahead = 1_000

    def next_ready(self):
        return None

    async def next(self, **_):
        return next(self._requests, None)

    def lapsed_since(self, _):
        return False

    def end(self):
        self._requests = iter(())


def lane_of(sender, pace, emit):
    policy = RetryPolicy(6, random.Random(0))
    return LiveLane(sender, pace, policy, endpoint=CHAT_COMPLETIONS, emit=emit)


async def running(sender, pace, rows, emit=None):
    outcomes = []
    lane = lane_of(sender, pace, emit or outcomes.append)
    return asyncio.create_task(lane.run(Feed(rows))), outcomes


async def until(true):
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 (what happens in the lane sets no event)
            await asyncio.sleep(0.001)


async def let_all_wait(sender, pace, workers):
    """Let so many workers wait for the pace while it is closed, and open it."""
    await until(lambda: sender.in_flight == workers)
    pace.closed = True
    sender.answer()
    await until(lambda: sender.in_flight == 0)
    pace.closed = False


def test_the_pool_grows_to_what_is_allowed_also_where_answers_come_in_bursts():
    async def run():
        sender = Sender()
        work, outcomes = await running(sender, Pace().join(300), 3_000)
        while not work.done():
            await asyncio.sleep(0.03)
            sender.answer()
        assert len(outcomes) == 3_000
        return sender.most

    assert asyncio.run(run()) == 300


def test_no_more_are_in_flight_than_keep_the_loop_busy():
    """Where answers come at once, more connections would only wait."""

    async def run():
        sender = Sender(at_once=True)
        work, outcomes = await running(sender, Pace().join(1_000), 5_000)
        await work
        assert len(outcomes) == 5_000
        return sender.most

    assert 30 < asyncio.run(run()) < 500


def test_waiting_requests_leave_together_when_the_pace_admits_them():
    """They do not leave one in each turn of the loop, as waiters for a lock would."""

    async def run():
        sender, pace = Sender(), Gate(200)
        work, _ = await running(sender, pace, 401)
        await let_all_wait(sender, pace, 200)
        turns = 0
        async with asyncio.timeout(60):
            while sender.in_flight < 200:
                await asyncio.sleep(0)
                turns += bool(sender.in_flight)
        sender.answer()
        await work
        return turns

    assert asyncio.run(run()) < 20


@pytest.mark.parametrize("at_once", [True, False], ids=["claimed", "claimed later"])
def test_no_more_requests_are_taken_than_may_leave_soon(at_once):
    """While the pace holds requests back, few are held by the lane; it takes the rest when they may leave."""

    class Claiming(Feed):
        ahead = 3

        def __init__(self, count):
            super().__init__(count)
            self.returned = []
            self.taken = 0

        def next_ready(self):
            return self.take() if at_once else None

        async def next(self, **_):
            await asyncio.sleep(0)
            return self.take()

        def take(self):
            request = self.returned.pop() if self.returned else next(self._requests, None)
            self.taken += request is not None
            return request

        def return_ready(self, request):
            self.taken -= 1
            self.returned.append(request)

    async def run():
        sender, pace, feed, outcomes = Sender(), Gate(200), Claiming(401), []
        work = asyncio.create_task(lane_of(sender, pace, outcomes.append).run(feed))
        await until(lambda: sender.in_flight == 200)
        pace.closed = True
        sender.answer()
        await until(lambda: sender.in_flight == 0)
        for _ in range(100):
            await asyncio.sleep(0)
        held, sender.at_once, pace.closed = feed.taken - sender.sent, True, False
        await work
        return held, len(outcomes)

    held, outcomes = asyncio.run(run())
    assert 1 <= held <= 3
    assert outcomes == 401


def test_an_error_at_one_answer_loses_none_that_came_together_with_it():
    taken = []

    def take(outcome):
        taken.append(outcome.request.number)
        if outcome.request.number == 3:
            raise ZeroDivisionError

    async def run():
        sender = Sender()
        work, _ = await running(sender, Pace().join(20), 11, take)
        await until(lambda: sender.in_flight == 10)
        sender.answer()
        await work

    with pytest.raises(ZeroDivisionError):
        asyncio.run(run())
    assert sorted(taken) == list(range(11))


def test_no_waiting_request_leaves_once_the_run_is_stopped():
    """After a fatal fault, no request leaves that was waiting for the pace."""

    class Refusing(Sender):
        async def send(self, request):
            if request.number > 20:
                self.sent += 1
                return Refused(RequestFault(FaultKind.FATAL, "invalid_api_key", "no"))
            return await super().send(request)

    async def run():
        sender, pace = Refusing(), Gate(20)
        work, _ = await running(sender, pace, 100)
        await let_all_wait(sender, pace, 20)
        await work
        return sender.sent, pace.in_flight

    assert asyncio.run(run()) == (22, 0)


def test_a_run_whose_last_requests_wait_to_be_sent_again_says_so():
    """A wait of a day that the server asked for one row is shown as the reason why nothing moves."""

    class Refusing(Sender):
        async def send(self, request):
            await super().send(request)
            return Refused(
                RequestFault(FaultKind.LIMIT, "rate_limit_exceeded", "later", retry_after=86_400.0)
            )

    async def run():
        live = lane_of(Refusing(at_once=True), Pace().join(4), lambda _: None)
        work = asyncio.create_task(live.run(Feed(1)))
        await until(lambda: live.waiting() == "waiting to try again")
        live.stop(Stop("cancelled", "enough", ""))
        await work

    asyncio.run(run())


def test_a_request_that_others_may_have_asked_while_it_waited_is_given_back():
    """Its claim lapsed meanwhile: it is claimed again before it is sent."""

    class Lapsed(Feed):
        back = ()

        def lapsed_since(self, _):
            return not self.back

        def put_back(self, numbers):
            self.back = tuple(numbers)

    class Refusing(Sender):
        async def send(self, request):
            await super().send(request)
            return Refused(RequestFault(FaultKind.LIMIT, "rate_limit_exceeded", "later", retry_after=1.2))

    async def run():
        sender, feed, pace, emitted = Refusing(at_once=True), Lapsed(1), Pace().join(4), []
        await lane_of(sender, pace, emitted.append).run(feed)
        return sender.sent, feed.back, pace.in_flight, emitted

    assert asyncio.run(run()) == (1, (0,), 0, [])


def test_a_limit_whose_headers_alone_state_a_reset_in_hours_ends_the_run():
    """Without `retry-after`, and whatever its words."""

    class Exhausted(Sender):
        async def send(self, _):
            fault = RequestFault(FaultKind.LIMIT, "http_429", "Slow down.")
            return Refused(fault, RateHeaders(1_000, None, 0, None, 28_800.0, None))

    policy = RetryPolicy(5, random.Random(0), patience=Patience(lasting=0.1))
    lane = LiveLane(Exhausted(), Pace().join(), policy, endpoint=CHAT_COMPLETIONS, emit=lambda _: None)
    asyncio.run(asyncio.wait_for(lane.run(Feed(3)), 60))
    assert "28,800 s: Slow down." in lane.stopped.message
