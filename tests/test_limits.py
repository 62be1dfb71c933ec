"""The pace of a run, against simulated servers: a seeded clock, no sleeping and no network."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from dataclasses import dataclass, field
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmframe._pacing.pace import Pace, RateHeaders, retry_after


@dataclass
class Allowance:
    """One limit of a server: a bucket of some seconds' allowance, or a fixed window of them."""

    rate: float  # per second
    seconds: float = 60.0
    fixed: bool = False
    others: float = 0.0  # per second, what other clients take
    level: float = field(init=False)
    at: float = 0.0

    def __post_init__(self):
        self.level = self.capacity = max(1.0, self.rate * self.seconds)

    def refill(self, now):
        if not self.fixed:
            self.level = min(self.capacity, self.level + (now - self.at) * (self.rate - self.others))
        elif now // self.seconds > self.at // self.seconds:
            self.level = self.capacity
        self.at = now

    def wait(self, cost):
        if self.level >= cost:
            return 0.0
        return self.seconds - self.at % self.seconds if self.fixed else (cost - self.level) / self.rate

    def headers(self, scaled):
        limit = round(self.rate * 60)
        whole = (
            self.seconds - self.at % self.seconds if self.fixed else (self.capacity - self.level) / self.rate
        )
        remaining = self.level / self.capacity * limit if scaled else self.level
        return limit, min(limit, int(remaining)), whole


@dataclass
class Server:
    requests: Allowance | None = None
    tokens: Allowance | None = None
    latency: float = 0.05
    spread: float = 0.0  # sigma of the log-normal latency
    refusal: float | None = None  # a 429's latency; None: the same
    headers: bool = True
    scaled: bool = False
    retry: str | None = None  # "float", "int"
    fault: object = None  # of (now, rng): whether a request fails
    strays: float = 0.0  # share of requests that are refused at any pace
    dice: random.Random = field(default_factory=lambda: random.Random(5))
    count_refused: bool = False

    def decide(self, now, cost):
        if self.dice.random() < self.strays:
            return 1.0
        limits = [(a, c) for a, c in ((self.requests, 1.0), (self.tokens, cost)) if a is not None]
        for a, _ in limits:
            a.refill(now)
        wait = max((a.wait(c) for a, c in limits), default=0.0)
        for a, c in limits:
            if wait == 0.0:
                a.level -= c
            elif self.count_refused:  # down to one bucket of debt, as `llmframe.testing` does
                a.level = min(a.level, max(a.level - c, -a.capacity))
        return wait

    def stated(self):
        if not self.headers:
            return None
        r = self.requests.headers(self.scaled) if self.requests else (None, None, None)
        t = self.tokens.headers(self.scaled) if self.tokens else (None, None, None)
        return RateHeaders(r[0], t[0], r[1], t[1], r[2], t[2])


@dataclass
class Engine:
    """A run as the live lane plays it: one line of senders, a window, retries of 429s and faults."""

    server: Server
    rows: int
    pace: Pace = field(default_factory=Pace)
    seed: int = 0
    estimate: object = None  # of (rng): a request's estimated and true tokens
    deaf: float = 0.0  # seconds in which one answer's headers are read
    heard_at: float = -math.inf
    answered: int = 0
    refusals: int = 0
    faults: int = 0
    used: int = 0
    first_arrival: float = math.inf
    first_answer: float = math.inf
    ended: float = 0.0
    most_in_flight: int = 0
    sent_at: list = field(default_factory=list)

    def __post_init__(self):
        self.rng = random.Random(self.seed)
        self.events, self.order = [], itertools.count()
        self.retries = []
        self.head = None
        self.asleep = False
        self.estimate = self.estimate or tokens_estimated(1, 0.0)

    def at(self, when, kind, *args):
        heapq.heappush(self.events, (when, next(self.order), kind, args))

    def run(self):
        self.fill(0.0)
        while self.events:
            now, _, kind, args = heapq.heappop(self.events)
            getattr(self, kind)(now, *args)
            self.fill(now)
        return self

    def wake(self, _now):
        self.asleep = False

    def ready(self, _now, request):
        self.retries.append(request)

    def next_request(self):
        if self.retries:
            return self.retries.pop()
        if not self.rows:
            return None
        self.rows -= 1
        return *self.estimate(self.rng), 0

    def fill(self, now):
        """Send until the pace, the window or the rows say stop."""
        while not self.asleep and self.pace.in_flight < self.pace.window:
            self.head = self.head or self.next_request()
            if self.head is None:
                return
            wait = self.pace.delay(now, self.head[0])
            assert 0.0 <= wait <= 1.0
            if wait:
                hiccup = 0.03 if self.rng.random() < 0.002 else 0.0
                self.asleep = True
                self.at(now + wait + self.rng.expovariate(2_000) + hiccup, "wake")
                return
            ticket = self.pace.sent(now, self.head[0])
            self.most_in_flight = max(self.most_in_flight, self.pace.in_flight)
            self.sent_at.append(now)
            self.at(now + self.rng.expovariate(4_000), "arrive", ticket, self.head)
            self.head = None

    def arrive(self, now, ticket, request):
        server, rng = self.server, self.rng
        self.first_arrival = min(self.first_arrival, now)
        faulty = server.fault is not None and server.fault(now, rng)
        wait = 0.0 if faulty else server.decide(now, request[1])
        latency = server.refusal if wait and server.refusal is not None else server.latency
        if server.spread:
            latency *= rng.lognormvariate(0, server.spread)
        if faulty:
            self.at(now + latency, "fault", ticket, request)
        elif wait:
            self.at(now + latency, "refuse", ticket, request, wait, server.stated())
        else:
            self.ended = now
            self.used += request[1]
            self.at(now + latency, "answer", ticket, request, server.stated())

    def answer(self, now, ticket, request, headers):
        self.answered += 1
        self.first_answer = min(self.first_answer, now)
        headers = headers if now - self.heard_at > self.deaf else None
        self.heard_at = self.heard_at if headers is None else now
        self.pace.answered(now, ticket, headers, request[1])

    def refuse(self, now, ticket, request, wait, headers):
        self.refusals += 1
        self.first_answer = min(self.first_answer, now)
        hint = {None: None, "float": wait, "int": math.ceil(wait)}[self.server.retry]
        self.pace.limited(now, ticket, headers, hint)
        self.retry(now, request, hint or 0.0)

    def fault(self, now, ticket, request):
        self.faults += 1
        self.pace.faulted(now, ticket)
        self.retry(now, request, 0.0)

    def retry(self, now, request, least):
        *tokens, attempt = request
        backoff = min(8.0, 0.5 * 2 ** min(attempt, 10)) * self.rng.uniform(0.5, 1.0)
        self.at(now + max(least, backoff), "ready", (*tokens, attempt + 1))

    @property
    def share(self):
        """What was accepted since the first answer, over what the tightest limit allows."""
        seconds = self.ended - self.first_answer
        requests, tokens = self.server.requests, self.server.tokens
        shares = [self.answered / seconds / requests.rate] if requests else []
        return max(shares + ([self.used / seconds / tokens.rate] if tokens else []))

    @property
    def share_and_bucket(self):
        """What was accepted since the first arrival, over all that the limit in requests could have given."""
        requests = self.server.requests
        given = requests.rate * (self.ended - self.first_arrival) + requests.capacity
        return self.answered / given

    @property
    def refused(self):
        """The share of 429s among the answers."""
        return self.refusals / (self.refusals + self.answered)


def tokens_estimated(factor, noise):
    """Requests of 100 to 400 estimated tokens that cost `factor` times that, more or less."""

    def draw(rng):
        estimate = rng.randint(100, 400)
        return estimate, max(1, round(estimate * factor * rng.lognormvariate(0, noise)))

    return draw


BUCKETS = [(60, False), (1, False), (0.1, False)]
WINDOWS = [(60, True), (10, True)]
LATENCIES = [(0.005, 0.0, None), (0.05, 0.5, None), (2.0, 0.5, 0.05), (2.0, 0.5, None)]


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize(("seconds", "fixed"), BUCKETS + WINDOWS)
@pytest.mark.parametrize("rate", [5, 20, 200, 1_000])
def test_stated_request_limits_are_used_and_kept(rate, seconds, fixed, latency):
    """With headers, 97 % of a limit in requests is used and under 1 % of the answers are 429."""
    if rate * latency[0] > 1_000:
        pytest.skip("the window of 1,000 is the limit")
    rows = max(2_000, rate * 10)
    allowance = Allowance(rate, seconds, fixed)
    run = Engine(Server(allowance, None, *latency, scaled=rate == 20, retry="int"), rows).run()
    assert run.answered == rows
    assert run.share >= 0.97
    assert run.refused < 0.01


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("factor", [1 / 3, 1, 3])
@pytest.mark.parametrize("latency", [(0.05, 0.5, None), (2.0, 0.5, 0.05)])
@pytest.mark.parametrize(("rate", "seconds"), [(20, 60), (20, 1), (200, 1), (200, 0.1)])
def test_stated_token_limits_are_used_and_kept(rate, seconds, latency, factor, noise):
    """The same holds for a limit in tokens when estimates are off by a factor of 3 either way."""
    allowance = Allowance(rate * 250 * factor, seconds)
    server = Server(None, allowance, *latency, retry="int")
    run = Engine(server, max(2_000, rate * 30), estimate=tokens_estimated(factor, noise)).run()
    blind = noise and seconds < 1 < latency[0]  # costs are known 20 times later than the bucket lasts
    assert run.share >= (0.96 if blind else 0.97)
    assert run.refused < 0.01


@pytest.mark.parametrize("factor", [1 / 3, 1, 3])
@pytest.mark.parametrize("tighter", ["requests", "tokens", "both"])
@pytest.mark.parametrize(("seconds", "fixed"), [(60, False), (1, False), (0.1, False), (10, True)])
@pytest.mark.parametrize("rate", [2_000, 10_000])
def test_high_limits_are_used_and_kept(rate, seconds, fixed, tighter, factor):
    """Where many requests are paid for at once, both limits are still kept and the tighter one is used."""
    mean = 250 * factor
    requests = Allowance(rate * (2 if tighter == "tokens" else 1), seconds, fixed)
    tokens = Allowance(rate * mean * (2 if tighter == "requests" else 1), seconds, fixed)
    server = Server(requests, tokens, 0.01, 0.5, retry="int")
    run = Engine(server, rate * 5, estimate=tokens_estimated(factor, 0.3), deaf=0.005).run()
    assert run.share >= 0.97
    assert run.refused < 0.01


def test_a_high_limit_that_becomes_a_low_one_is_followed_at_once():
    """What was paid ahead at the high rate does not leave at the low one."""
    pace, high, low = Pace(1_000), RateHeaders(10**7, None, 10**6), RateHeaders(60, None, 1)
    pace.answered(0.0, pace.sent(0.0, 100), high, 100)
    for _ in range(10):
        ticket = pace.sent(0.0, 100)
    pace.answered(0.0, ticket, low, 100)
    assert pace.delay(0.01, 100) == 0.0
    pace.sent(0.01, 100)
    assert pace.delay(0.01, 100) > 0.5


def test_the_tighter_of_two_limits_decides():
    """With limits in requests and tokens, the run keeps to both and uses the tighter one."""
    for requests, tokens in ((100, 60_000), (400, 25_000)):
        server = Server(Allowance(requests, 1), Allowance(tokens, 1))
        run = Engine(server, 3_000, estimate=tokens_estimated(1, 0.3)).run()
        assert run.share >= 0.97
        assert run.refused < 0.01


@pytest.mark.parametrize("retry", [None, "int"])
@pytest.mark.parametrize("latency", LATENCIES[:3])
@pytest.mark.parametrize(("seconds", "fixed"), BUCKETS + WINDOWS)
@pytest.mark.parametrize("rate", [5, 20, 100])
def test_unstated_limits_are_learnt(rate, seconds, fixed, latency, retry):
    """Without headers, 85 % of a limit is used and about 5 % of the answers at most are 429."""
    rows = int(max(2_000, rate * 60, min(rate * seconds * 10, 12_000)))
    allowance = Allowance(rate, seconds, fixed)
    run = Engine(Server(allowance, None, *latency, headers=False, retry=retry), rows).run()
    assert run.answered == rows
    slow_news = latency[0] > 1 and fixed  # what was accepted is known late: a window's end costs more
    assert run.share >= 0.85
    assert run.refused < (0.12 if slow_news else 0.065 if rate == 5 else 0.05)


@pytest.mark.parametrize("seconds", [1, 0.1])
@pytest.mark.parametrize("latency", LATENCIES[:2])
def test_high_unstated_limits_are_learnt(latency, seconds):
    """The same holds at 1,000 requests per second."""
    run = Engine(Server(Allowance(1_000, seconds), None, *latency, headers=False, retry="int"), 20_000).run()
    assert run.share >= 0.85
    assert run.refused < 0.05


QUICK = [(0.005, 0.2, None), (0.05, 0.2, None)]
SHORT_RUNS = [*itertools.product([20, 50, 100, 200, 500], [0.1, 0.5, 1], QUICK)]
SHORT_RUNS += [*itertools.product([50, 100], [0.1, 0.5, 1], [(1.0, 0.2, 0.05)])]


@pytest.mark.parametrize("retry", [None, "float", "int"])
@pytest.mark.parametrize("count_refused", [True, False])
@pytest.mark.parametrize(("rate", "seconds", "latency"), SHORT_RUNS)
def test_unstated_limits_are_learnt_within_short_runs(rate, seconds, latency, count_refused, retry):
    """From a cold start, 2,000 rows take 85 % of all that a limit could have given, with about 5 % 429s."""
    server = Server(
        Allowance(rate, seconds), None, *latency, headers=False, retry=retry, count_refused=count_refused
    )
    run = Engine(server, 2_000).run()
    assert run.answered == 2_000
    assert run.share_and_bucket >= 0.85
    # what is in flight when a bucket of 1 s is used up cannot be called back
    assert run.refused < (0.08 if rate * seconds * latency[0] > 20 else 0.05)


@pytest.mark.parametrize("headers", [True, False])
@pytest.mark.parametrize("seconds", [1, 0.1])
@pytest.mark.parametrize("others", [30, 50])
def test_other_clients_lower_our_share(others, seconds, headers):
    """What other clients take of a limit of 100/s is left to them, whatever the headers say."""
    allowance = Allowance(100, seconds, others=others)
    run = Engine(Server(allowance, spread=0.5, headers=headers, retry="int"), 5_000).run()
    assert run.share >= 0.9 * (1 - others / 100)
    assert run.refused < 0.03


@pytest.mark.parametrize("headers", [True, False])
@pytest.mark.parametrize("after", [50, 200])
def test_a_limit_that_changes_in_mid_run_is_followed(after, headers):
    """A limit of 100/s that becomes half or twice as much after 20 seconds is used and kept."""
    server = Server(Allowance(100, 1), spread=0.3, headers=headers, retry="int")
    run = Engine(server, 2_000 + after * 60)

    def change(now):
        server.requests.refill(now)
        server.requests.rate, server.requests.capacity = after, after

    run.change = change
    run.at(20.0, "change")
    run.run()
    allowed = 100 * (20 - run.first_arrival) + after * (run.ended - 20)
    assert run.answered / allowed >= (0.95 if headers else 0.8)
    assert run.refused < (0.02 if headers else 0.05)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("latency", [0.02, 0.05])
@pytest.mark.parametrize("strays", [0.005, 0.01, 0.02, 0.05])
def test_refusals_that_no_pace_avoids_hardly_slow_a_run(strays, latency, seed):
    """A proxy that answers 429 now and then is no limit: the run is many times faster than one that backs off each time."""
    server = Server(latency=latency, spread=0.5, headers=False, retry="int", strays=strays)
    run = Engine(server, 6_000, seed=seed).run()
    assert run.answered == 6_000
    assert run.answered / run.ended > 200
    assert run.refused < 2 * strays


@pytest.mark.parametrize("strays", [0.005, 0.01, 0.02])
def test_a_limit_is_found_among_refusals_that_no_pace_avoids(strays):
    """Both at once: most of the limit is used, and few more are refused than must be."""
    server = Server(Allowance(100, 1), spread=0.5, headers=False, retry="int", strays=strays)
    run = Engine(server, 6_000).run()
    assert run.share >= 0.85
    assert run.refused < strays + 0.12


@pytest.mark.parametrize("headers", [True, False])
def test_a_limit_that_count_refused_is_kept(headers):
    """A server that counts refused requests against the limit is not pushed below it."""
    server = Server(Allowance(100, 1), spread=0.5, headers=headers, retry="int", count_refused=True)
    run = Engine(server, 5_000).run()
    assert run.share >= 0.85
    assert run.refused < 0.05


def test_the_first_requests_are_spaced_until_the_first_answer():
    """About 20 requests a second leave, and 20 at most, until the first answer is there."""
    run = Engine(Server(latency=0.8), 300, Pace(500)).run()
    early = [at for at in run.sent_at if at < 0.8]
    assert 14 <= len(early) <= 17
    assert all(b - a >= 0.05 - 1e-9 for a, b in itertools.pairwise(early))
    assert run.most_in_flight > 200
    assert Engine(Server(latency=5.0), 300, Pace(500)).run().sent_at[20] > 5.0


def test_the_window_doubles_each_round_trip():
    """Without any limit the window grows from 20 to 1,000 in about six round trips."""
    run = Engine(Server(latency=1.0, spread=0.1), 8_000).run()
    assert run.most_in_flight == 1_000
    assert run.ended < 15


def test_a_stated_window_is_the_ceiling_at_once():
    """`max_concurrency` is the window from the first success on, and is never exceeded."""
    for most in (1, 7, 300):
        run = Engine(Server(latency=0.1), 1_000, Pace(most)).run()
        assert run.most_in_flight == most
        assert run.pace.window == most


def test_sporadic_faults_do_not_shrink_the_window():
    """One fault in ten answers leaves a run at full width."""
    run = Engine(Server(latency=0.2, spread=0.5, fault=lambda _, rng: rng.random() < 0.1), 20_000).run()
    assert run.pace.window == 1_000
    assert run.ended < 20


def test_many_faults_shrink_the_window():
    """When most answers are faults the window falls, though not below 4."""
    pace, now = Pace(), 0.0
    for turn in range(4_000):
        now += 0.05
        ticket = pace.sent(now, 1)
        (pace.answered(now, ticket, None, 1) if turn < 500 or turn % 3 == 0 else pace.faulted(now, ticket))
    assert pace.window == 4


def test_an_outage_slows_to_probes_and_ends_at_once():
    """While everything fails a few probes a second leave; after it the run is as wide as before."""
    server = Server(latency=0.2, spread=0.3, fault=lambda now, _: 10 < now < 60)
    run = Engine(server, 100_000).run()
    assert 3 <= sum(20 < at < 60 for at in run.sent_at) / 40 <= 5
    assert sum(61 < at < 62 for at in run.sent_at) > 1_000


def test_a_limit_per_day_is_used_up_and_then_refilled():
    """With a reset far over a minute, what remains is used, and then what flows back."""
    day = 86_400
    allowance = Allowance(1_440 / day, day)
    allowance.level = 100.0
    pace, now, sent = Pace(), 0.0, 0
    while now < 7_200:
        if wait := pace.delay(now, 1):
            now += wait
            continue
        ticket, sent = pace.sent(now, 1), sent + 1
        allowance.refill(now)
        allowance.level -= 1
        assert allowance.level >= -0.01
        headers = RateHeaders(1_440, None, int(allowance.level), None, (1_440 - allowance.level) * 60, None)
        pace.answered(now, ticket, headers, 1)
    assert 210 <= sent <= 221


def test_an_exhausted_window_is_waited_for():
    """When nothing remains of a window that resets in 20 s, nothing leaves before that."""
    pace = Pace()
    pace.answered(1.0, pace.sent(0.0, 1), RateHeaders(600, None, 0, None, 20.0, None), 1)
    assert pace.delay(1.0, 1) == 1.0
    assert pace.waiting_for_limit(1.0)
    assert pace.delay(20.9, 1) > 0
    assert pace.delay(21.1, 1) == 0
    pace.sent(21.1, 1)
    assert pace.waited_seconds == pytest.approx(20.1)
    assert not pace.waiting_for_limit(30.0)


def test_a_long_retry_after_is_respected_when_everything_is_refused():
    """A server that refuses everything and asks for 100 s gets its 100 s after a few requests."""
    pace, now, sent = Pace(), 0.0, 0
    while now < 100:
        if wait := pace.delay(now, 1):
            now += wait
            continue
        pace.limited(now + 0.01, pace.sent(now, 1), None, 100.0 - now)
        sent += 1
    assert sent <= 10


def test_what_one_answer_says_it_cost_does_not_hold_up_the_run():
    """At most all that a minute allows is taken for it, and the others are taken for as dear as before."""
    pace = Pace()
    headers = RateHeaders(limit_tokens=600_000)
    for number in range(100):
        pace.answered(number / 10, pace.sent(number / 10, 100), headers, 100)
    pace.answered(11.0, pace.sent(10.9, 100), headers, 10**9)
    now = 72.0
    assert pace.delay(now, 100) == 0
    for _ in range(100):
        pace.answered(now, pace.sent(now, 100), headers, 100)
        now += 0.02
        while pace.delay(now, 100):
            now += 0.01
    assert now < 80


def test_a_cancelled_request_leaves_the_window():
    """An abandoned request is no longer in flight, and nothing is learnt from it."""
    pace = Pace(1)
    ticket = pace.sent(0.0, 1)
    assert pace.in_flight == 1
    assert pace.delay(10.0, 1) > 0
    pace.abandoned(10.0, ticket)
    assert pace.in_flight == 0
    assert pace.delay(10.0, 1) == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("120ms", 0.12),
        ("6m0s", 360.0),
        ("1h2m3.5s", 3_723.5),
        ("1d1s", 86_401.0),
        ("12", 12.0),
        ("0s", 0.0),
        ("-1s", None),
        ("", None),
        ("soon", None),
        ("1s!", None),
        ("nan", None),
        ("1700000000", None),
    ],
)
def test_durations(text, seconds):
    """Resets are read as durations; anything else is absent."""
    headers = RateHeaders.parse({"x-ratelimit-limit-requests": "60", "x-ratelimit-reset-requests": text})
    assert headers.reset_requests == (None if seconds is None else pytest.approx(seconds))


def test_all_headers_are_read():
    """The six headers give the six values."""
    names = [
        f"x-ratelimit-{what}-{unit}" for what in ("limit", "remaining") for unit in ("requests", "tokens")
    ]
    headers = dict(zip(names, ("60", "9000", "59", "0"), strict=True))
    headers |= {"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "1m0s"}
    assert RateHeaders.parse(headers) == RateHeaders(60, 9_000, 59, 0, 1.0, 60.0)


@pytest.mark.parametrize(
    ("limit", "remaining"),
    [
        ("-1", "-1"),
        ("0", "0"),
        ("many", "1"),
        ("10", "11"),
        ("60", "-1"),
        ("60", "x"),
        ("1.5", "1"),
        ("", ""),
    ],
)
def test_nonsense_headers_are_absent(limit, remaining):
    """Limits that are negative, zero, text or below what remains are as good as none."""
    headers = {"x-ratelimit-limit-requests": limit, "x-ratelimit-remaining-requests": remaining}
    assert RateHeaders.parse(headers) is None
    both = RateHeaders.parse(headers | {"x-ratelimit-limit-tokens": "100"})
    assert both == RateHeaders(limit_tokens=100)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
        ({"retry-after": formatdate(1_030, usegmt=True)}, 30.0),
        ({"retry-after": formatdate(970, usegmt=True)}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "86400"}, 86_400.0),
        ({"retry-after": "1800000000"}, None),
        ({"retry-after-ms": "1800000000000"}, None),
        ({"retry-after": "Fri, 01 Jan 2100 00:00:00 GMT"}, None),
        ({"retry-after": "later"}, None),
    ],
)
def test_retry_after(headers, seconds):
    """Milliseconds, seconds and dates are read; anything else is absent."""
    assert retry_after(headers, 1_000.0) == seconds


TEXTS = st.text(max_size=30) | st.from_regex(r"-?[0-9]{0,40}(\.[0-9]*)?(ms|s|m|h|d)?", fullmatch=True)
NAMES = [f"x-ratelimit-{a}-{b}" for a in ("limit", "remaining", "reset") for b in ("requests", "tokens")]


@given(st.dictionaries(st.sampled_from(NAMES), TEXTS), TEXTS, TEXTS)
def test_parsing_never_raises(headers, after, after_ms):
    """Whatever a server writes into its headers is read as sane values or as nothing."""
    parsed = RateHeaders.parse(headers)
    if parsed is not None:
        for limit, remaining, reset in (parsed.requests, parsed.tokens):
            assert limit is None or limit > 0
            assert remaining is None or 0 <= remaining <= limit
            assert reset is None or reset >= 0
    seconds = retry_after({"retry-after": after, "retry-after-ms": after_ms}, 0.0)
    assert seconds is None or 0 <= seconds < math.inf


COUNTS = st.none() | st.integers(0, 10**12)
RESETS = st.none() | st.floats(0, 10**6)
HEADERS = st.none() | st.builds(
    RateHeaders, *[st.none() | st.integers(1, 10**12)] * 2, COUNTS, COUNTS, RESETS, RESETS
)
STEPS = st.tuples(
    st.sampled_from(["send", "send", "answered", "limited", "faulted", "abandoned"]),
    st.floats(0, 100),
    st.integers(0, 10**7),
    HEADERS,
    RESETS,
)


@settings(deadline=None)
@given(st.none() | st.integers(1, 2_000), st.lists(STEPS, max_size=100), st.randoms())
def test_the_pace_keeps_its_bounds(most, steps, rng):
    """Whatever happens in whatever order, delays, window and count in flight stay within bounds."""
    pace, now, tickets = Pace(most), 0.0, []
    for kind, seconds, tokens, headers, pause in steps:
        now += seconds
        if kind == "send":
            wait = pace.delay(now, tokens)
            assert 0.0 <= wait <= 1.0
            if not wait:
                tickets.append(pace.sent(now, tokens))
                assert pace.in_flight <= pace.window
        elif tickets:
            ticket = tickets.pop(rng.randrange(len(tickets)))
            last = {"answered": (headers, tokens), "limited": (headers, pause), "faulted": (headers,)}
            getattr(pace, kind)(now, ticket, *last.get(kind, ()))
        assert pace.in_flight == len(tickets)
        assert 1 <= pace.window <= (most or 1_000)
        assert pace.waited_seconds >= 0


# --- several runs under one limit -----------------------------------------------------------------


class Together:
    """Runs of several processes against one server; each has its own clockwork, and they exchange reports."""

    def __init__(self, server, *runs, seed=0):
        self.engines = [Engine(server, rows, seed=seed + number) for number, (_, rows) in enumerate(runs)]
        self.joins = [at for at, _ in runs]
        self.reports, self.known = {}, set()
        self.server = server

    def run(self):
        for engine, at in zip(self.engines, self.joins, strict=True):
            engine.asleep = True
            engine.exchange = lambda now, engine=engine: self.exchange(engine, now)
            engine.at(at, "exchange")
        while going := [engine for engine in self.engines if engine.events]:
            engine = min(going, key=lambda one: one.events[0][0])
            now, _, kind, args = heapq.heappop(engine.events)
            getattr(engine, kind)(now, *args)
            engine.fill(now)
        return self

    def exchange(self, engine, now):
        number = self.engines.index(engine)
        if not (engine.rows or engine.retries or engine.pace.in_flight or engine.head):
            self.reports.pop(number, None)
            return
        mine = engine.pace.report(now)
        others = {other: report for other, report in self.reports.items() if other != number}
        if number not in self.known:
            self.known.add(number)
            engine.at(now + (0.6 if others else 0.0), "wake")
        self.reports[number] = mine
        if mine is None:
            del self.reports[number]
        engine.pace.divide(now, mine, others)
        engine.at(now + 0.5, "exchange")

    @property
    def refused(self):
        return sum(e.refusals for e in self.engines) / sum(e.refusals + e.answered for e in self.engines)

    def share(self):
        first = min(e.first_arrival for e in self.engines)
        last = max(e.ended for e in self.engines)
        used = sum(e.answered for e in self.engines)
        limit = self.server.requests
        return used / (limit.rate * (last - first))


TOGETHER = {
    "at once": [(0, 6_000), (0, 6_000)],
    "nearly at once": [(0, 6_000), (0.2, 6_000)],
    "one joins who learns": [(0, 6_000), (1, 6_000)],
    "one joins": [(0, 9_000), (10, 3_000)],
    "three": [(0, 4_000), (5, 4_000), (10, 4_000)],
    "four at once": [(0, 3_000)] * 4,
    "short ones pass by": [(0, 9_000), (10, 600), (20, 600), (30, 600)],
}


@pytest.mark.parametrize("runs", TOGETHER.values(), ids=TOGETHER)
@pytest.mark.parametrize("seconds", [60, 1, 0.1])
def test_runs_that_share_a_stated_limit_keep_to_it_together(runs, seconds):
    """Runs under one key use 95 % of a limit together, and under 2 % of the answers are 429."""
    server = Server(Allowance(200, seconds), spread=0.3, retry="int")
    together = Together(server, *runs).run()
    assert [engine.answered for engine in together.engines] == [rows for _, rows in runs]
    assert together.share() >= 0.95
    assert together.refused < 0.02


@pytest.mark.parametrize("runs", TOGETHER.values(), ids=TOGETHER)
@pytest.mark.parametrize("seconds", [1, 0.1])
@pytest.mark.parametrize("count_refused", [False, True])
def test_runs_that_share_an_unstated_limit_learn_it_together(runs, seconds, count_refused):
    """Each meets refusals that another's haste has brought about: these are no proof that any pace is refused."""
    shares = []
    for seed in (0, 100, 200):
        limit = Allowance(200, seconds)
        server = Server(limit, spread=0.3, headers=False, retry="int", count_refused=count_refused)
        together = Together(server, *runs, seed=seed).run()
        assert [engine.answered for engine in together.engines] == [rows for _, rows in runs]
        assert together.refused < 0.02
        shares.append(together.share())
    assert min(shares) >= 0.85
    assert sum(shares) / len(shares) >= 0.93


@pytest.mark.parametrize("strays", [0.01, 0.05])
@pytest.mark.parametrize("slow", [False, True], ids=["two alike", "one sends one at a time"])
def test_refusals_that_no_pace_avoids_hardly_slow_runs_together(strays, slow):
    """A second run beside it costs the first no more than what it takes to find out what is whose."""
    server = Server(spread=0.5, headers=False, retry="int", strays=strays)
    together = Together(server, (0, 12_000), (0, 500 if slow else 6_000))
    if slow:
        together.engines[1].pace = Pace(1)
    first = together.run().engines[0]
    assert first.answered > 200 * first.ended
    assert together.refused < 2 * strays


@pytest.mark.parametrize("seed", range(0, 500, 100))
def test_runs_that_share_a_low_limit_end(seed):
    """Two answers in a minute tell little of a rate: a run does not stay at what they would make it."""
    limit = Allowance(5, 60)
    server = Server(limit, latency=0.02, spread=0.3, headers=False, retry="int", count_refused=True)
    together = Together(server, (0, 350), (0, 350), seed=seed).run()
    assert sum(engine.answered for engine in together.engines) == 700
    last = max(engine.ended for engine in together.engines)
    assert 700 / (5 * last + limit.capacity) > 0.7


def test_a_run_whose_requests_all_rest_is_still_there():
    """It tells the others so, as long as a refused request may come again; else they would take its share."""
    pace = Pace()
    pace.report(0.0)
    for now in (1.0, 1.1, 1.2):
        pace.limited(now + 0.05, pace.sent(now, 100), None, None)
    assert pace.report(2.0) is not None
    assert pace.report(9.0) is not None
    assert pace.report(20.0) is None
