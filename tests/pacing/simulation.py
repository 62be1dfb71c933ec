"""Simulated servers, and runs against them: a seeded clock, no sleeping and no network."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from dataclasses import dataclass, field

from llmframe._pacing import Pace, RateHeaders, RunPace
from llmframe._pacing.window import START_SECONDS


def spread(*levels):
    """Return every seventh case of a table, which has each level of each factor: all of them take minutes."""
    return list(itertools.product(*levels))[::7]


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

    def take(self, cost):
        self.level -= cost

    def headers(self, scaled):
        limit = round(self.rate * 60)
        whole = (
            self.seconds - self.at % self.seconds if self.fixed else (self.capacity - self.level) / self.rate
        )
        remaining = self.level / self.capacity * limit if scaled else self.level
        return limit, min(limit, int(remaining)), whole


@dataclass
class BySecond(Allowance):
    """A limit whose headers state a minute's bucket, and that is enforced second by second."""

    def __post_init__(self):
        super().__post_init__()
        self.second = Allowance(self.rate, 1.0)

    def refill(self, now):
        super().refill(now)
        self.second.refill(now)

    def wait(self, cost):
        return max(super().wait(cost), self.second.wait(cost))

    def take(self, cost):
        super().take(cost)
        self.second.take(cost)


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
    fault: object = None  # of (now, rng): whether a request meets a passing fault
    stray_429s: float = 0.0  # share of requests that are refused at any pace
    chance: random.Random = field(default_factory=lambda: random.Random(5))
    count_refused: bool = False

    def decide(self, now, cost):
        if self.chance.random() < self.stray_429s:
            return 1.0
        limits = [(a, c) for a, c in ((self.requests, 1.0), (self.tokens, cost)) if a is not None]
        for a, _ in limits:
            a.refill(now)
        wait = max((a.wait(c) for a, c in limits), default=0.0)
        for a, c in limits:
            if wait == 0.0:
                a.take(c)
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
class SimulatedRun:
    """A run with the live lane's rules: one queue of senders, a window, retries of 429s and faults."""

    server: Server
    rows: int
    pace: RunPace = field(default_factory=lambda: Pace().join())
    seed: int = 0
    estimate: object = None  # of (rng): a request's estimated tokens, its charge, and what it uses
    began: float = 0.0
    pause: tuple = (math.inf, math.inf)  # from when until when the client processes nothing
    same_limits_seconds: float = 0.0  # seconds in which the headers of one answer only are read
    read_at: float = -math.inf
    answered: int = 0
    refusals: int = 0
    blind_refusals: int = 0  # of requests that were sent before anything was answered
    faults: int = 0
    used: int = 0
    first_arrival: float = math.inf
    first_answer: float = math.inf
    first_response: float = math.inf
    ended: float = 0.0
    most_in_flight: int = 0
    sent_at: list = field(default_factory=list)
    accepted: list = field(default_factory=list)  # when, requests, tokens

    def __post_init__(self):
        self.rng = random.Random(self.seed)
        self.events, self.order = [], itertools.count()
        self.retries = []
        self.first_in_line = None
        self.asleep = False
        self.estimate = self.estimate or tokens_estimated(1, 0.0)

    def at(self, when, kind, *args):
        heapq.heappush(self.events, (when, next(self.order), kind, args))

    def run(self):
        self.fill(self.began)
        while self.events:
            now, _, kind, args = heapq.heappop(self.events)
            paused = self.pause[0] <= now < self.pause[1]
            if paused and kind != "arrive":
                self.at(self.pause[1], kind, *args)
                continue
            getattr(self, kind)(now, *args)
            if not paused:
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
        """Send until the pace or the window holds the next request back, or no row is left."""
        while not self.asleep and self.pace.in_flight < self.pace.window:
            self.first_in_line = self.first_in_line or self.next_request()
            if self.first_in_line is None:
                return
            wait = self.pace.admit(now, self.first_in_line[0])
            assert 0.0 <= wait <= 1.0
            if wait:
                hiccup = 0.03 if self.rng.random() < 0.002 else 0.0
                self.asleep = True
                self.at(now + wait + self.rng.expovariate(2_000) + hiccup, "wake")
                return
            ticket = self.pace.send(now, self.first_in_line[0])
            self.most_in_flight = max(self.most_in_flight, self.pace.in_flight)
            self.sent_at.append(now)
            self.at(now + self.rng.expovariate(4_000), "arrive", ticket, self.first_in_line)
            self.first_in_line = None

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
            self.accepted.append((now, 1, request[1]))
            self.at(now + latency, "answer", ticket, request, server.stated())

    def answer(self, now, ticket, request, headers):
        self.answered += 1
        self.first_answer = min(self.first_answer, now)
        self.first_response = min(self.first_response, now)
        headers = headers if now - self.read_at > self.same_limits_seconds else None
        self.read_at = self.read_at if headers is None else now
        self.pace.on_answer(now, ticket, headers, request[2])

    def refuse(self, now, ticket, request, wait, headers):
        self.refusals += 1
        self.first_response = min(self.first_response, now)
        self.blind_refusals += ticket.sent_at < self.first_response
        hint = {None: None, "float": wait, "int": math.ceil(wait)}[self.server.retry]
        self.pace.on_limit(now, ticket, headers, hint)
        self.retry(now, request, hint or 0.0)

    def fault(self, now, ticket, request):
        self.faults += 1
        self.pace.on_fault(now, ticket)
        self.retry(now, request, 0.0)

    def retry(self, now, request, least):
        *tokens, attempt = request
        backoff = min(8.0, 0.5 * 2 ** min(attempt, 10)) * self.rng.uniform(0.5, 1.0)
        self.at(now + max(least, backoff), "ready", (*tokens, attempt + 1))

    @property
    def share(self):
        """Requests (or tokens) accepted, over what the tightest limit allows: with the start, or without it."""
        without = max(self.first_response, self.first_arrival + START_SECONDS)
        return max(self.share_since(self.first_arrival), self.share_since(without))

    def share_since(self, began):
        accepted = [(requests, tokens) for at, requests, tokens in self.accepted if at > began]
        limits = [self.server.requests, self.server.tokens]
        used = [sum(amounts) for amounts in zip(*accepted, strict=True)]
        seconds = self.ended - began
        return max(amount / seconds / limit.rate for amount, limit in zip(used, limits, strict=True) if limit)

    @property
    def share_and_bucket(self):
        """Requests accepted since the first arrival, over all that the limit allowed since then, its full bucket included."""
        requests = self.server.requests
        given = requests.rate * (self.ended - self.first_arrival) + requests.capacity
        return self.answered / given

    @property
    def refused(self):
        """The share of 429s among the answers, without those of the start."""
        return (self.refusals - self.blind_refusals) / (self.refusals + self.answered)


def tokens_estimated(factor, noise):
    """Draw requests of 100 to 400 estimated tokens that use, and are charged, `factor` times that, more or less."""

    def draw(rng):
        estimate = rng.randint(100, 400)
        used = max(1, round(estimate * factor * rng.lognormvariate(0, noise)))
        return estimate, used, used

    return draw


BUCKETS = [(60, False), (1, False), (0.1, False)]
WINDOWS = [(60, True), (10, True)]
LATENCIES = [(0.005, 0.0, None), (0.05, 0.5, None), (2.0, 0.5, 0.05), (2.0, 0.5, None)]


class SimulatedRuns:
    """Runs of several processes against one server; each has its own events, and they exchange usage reports."""

    def __init__(self, server, *starts, seed=0):
        self.runs = [
            SimulatedRun(server, rows, seed=seed + number) for number, (_, rows) in enumerate(starts)
        ]
        self.joins = [at for at, _ in starts]
        self.reports, self.known = {}, set()
        self.server = server

    def run(self):
        for run, at in zip(self.runs, self.joins, strict=True):
            run.asleep = True
            run.exchange = lambda now, run=run: self.exchange(run, now)
            run.at(at, "exchange")
        while going := [run for run in self.runs if run.events]:
            run = min(going, key=lambda one: one.events[0][0])
            now, _, kind, args = heapq.heappop(run.events)
            getattr(run, kind)(now, *args)
            run.fill(now)
        return self

    def exchange(self, run, now):
        number = self.runs.index(run)
        if not (run.rows or run.retries or run.pace.in_flight or run.first_in_line):
            self.reports.pop(number, None)
            return
        mine = run.pace.account.usage_report(now)
        others = {other: report for other, report in self.reports.items() if other != number}
        if number not in self.known:
            self.known.add(number)
            run.at(now + (0.6 if others else 0.0), "wake")
        self.reports[number] = mine
        if mine is None:
            del self.reports[number]
        run.pace.account.divide(mine, list(others.values()))
        run.at(now + 0.5, "exchange")

    @property
    def refused(self):
        return sum(run.refusals - run.blind_refusals for run in self.runs) / sum(
            run.refusals + run.answered for run in self.runs
        )

    def share(self):
        first = min(run.first_arrival for run in self.runs)
        last = max(run.ended for run in self.runs)
        used = sum(run.answered for run in self.runs)
        limit = self.server.requests
        return used / (limit.rate * (last - first))
