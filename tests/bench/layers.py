"""What each layer costs: CPU per row of ever more of a call, whose differences add up to the whole.

What: `df.llm.complete` taken apart: the client alone sends all rows from 100 workers; then the live lane with its
limits and retries does; then with requests that are rendered from the plan and claimed; then answers are scored;
then it is the whole call (plan, results, progress bar); then with the journal. Against what: the step before.
Beside it, bare aiohttp + orjson on the same rows. CPU time of this process only, all its threads; the server has
its own process and core, and no latency. Steps alternate, fifteen rounds; shown are medians and their differences.

    python tests/bench/layers.py

Target (issue "Ten times the SDK"): everything above the client within 20 us a row.
"""

from __future__ import annotations

import asyncio
import random
from statistics import median

import cpu
import measure

from llmframe._api import http_client, sdk_client
from llmframe._api.account import Account
from llmframe._journal import registry
from llmframe._journal.protocol import NoJournal
from llmframe._live.lane import LiveLane
from llmframe._loop import tasks
from llmframe._loop.gc_threshold import raised_gc_threshold
from llmframe._pacing.pace import Pace
from llmframe._pacing.retry import RetryPolicy
from llmframe._run.feed import ClaimedFeed
from llmframe._run.outcome_sink import OutcomeSink
from llmframe._run.prices import Prices
from llmframe._run.results import Results

ROWS, ROUNDS, IN_FLIGHT = 8_000, 15, 100


class _Ready:
    """Feeds requests that are ready."""

    def __init__(self, requests) -> None:
        self._requests = iter(requests)

    def ready(self):
        return next(self._requests, None)

    async def next(self, **_):
        """Have no more than what is ready."""

    def lapsed_since(self, _) -> bool:
        return False

    def end(self) -> None:
        """Have no more."""


class Steps:
    """The ever larger parts of a call over one frame."""

    def __init__(self, frame, base_url: str, folder: str) -> None:
        self._frame, self._url, self._folder = frame, base_url, folder
        call = measure.settings(base_url, folder, journal=False, progress=False, mode="offline", wait=False)
        self._plan = frame.copy().llm.complete("review", measure.PROMPT, into="summary", **call)._plan
        self._requests = list(self._plan.requests(range(len(self._plan.keys))))

    def _on_loop(self, work) -> None:
        async def done() -> None:
            account = Account.of(None, "any", self._url)
            client, owned = sdk_client.connect(account, timeout=600.0, shared_loop=False)
            slow = sdk_client.SdkTransport(client, owned=owned, timeout=600.0, headers={})
            transport = http_client.HttpTransport(slow, timeout=600.0)
            try:
                with raised_gc_threshold():
                    await work(transport)
            finally:
                await transport.close()

        tasks.submit(done).wait()

    def client(self) -> None:
        async def work(transport) -> None:
            waiting = iter(self._requests)

            async def send() -> None:
                for request in waiting:
                    await transport.send(request)

            await asyncio.gather(*(send() for _ in range(IN_FLIGHT)))

        self._on_loop(work)

    def _lane(self, transport, pace, emit) -> LiveLane:
        return LiveLane(transport, pace, RetryPolicy(6, random.Random()), emit)

    def lane(self) -> None:
        self._on_loop(
            lambda transport: self._lane(transport, Pace(IN_FLIGHT), lambda _: None).run(
                _Ready(self._requests)
            )
        )

    def fed(self, *, scored: bool = False) -> None:
        async def work(transport) -> None:
            journal = NoJournal()
            session = await registry.on_thread(journal.begin, b"", {})
            score = Results(self._plan, Prices({}), measure.MODEL)
            intake = OutcomeSink(self._plan, score, journal, session, print, waits_for_batches=False)
            pace = Pace(IN_FLIGHT)
            feed = ClaimedFeed(
                self._plan,
                range(len(self._plan.keys)),
                journal,
                session,
                intake,
                window=lambda: pace.window,
                retry_failed=False,
                looked_up=True,
            )
            await self._lane(transport, pace, intake.hear if scored else lambda _: None).run(feed)
            await intake.recorder.close()

        self._on_loop(work)

    def scored(self) -> None:
        self.fed(scored=True)

    def call(self, **more) -> None:
        cpu.complete(self._frame, self._url, self._folder, max_concurrency=IN_FLIGHT, **more)

    def unjournaled(self) -> None:
        self.call(journal=False)

    def bare(self) -> None:
        asyncio.run(cpu.bare(cpu.prompts(self._frame), self._url))


NAMES = {
    "client": "client (SDK's request, aiohttp, reading the answer)",
    "lane": "lane: workers, limits, retries",
    "fed": "feed: requests rendered and claimed",
    "scored": "score: text, tokens, dollars",
    "unjournaled": "plan, results, progress, starting up",
    "call": "journal",
}


def main() -> list[measure.Line]:
    with measure.server() as server, measure.scratch() as folder:
        frame, few = measure.reviews(ROWS), measure.reviews(300, seed=1)

        def sides(rows):
            steps = Steps(rows, server.base_url, folder)
            return {name: measure.cpu_per_row(getattr(steps, name), len(rows)) for name in ("bare", *NAMES)}

        measure.alternate(sides(few), 1)
        found = measure.alternate(sides(frame), ROUNDS)
    lines, before = [], 0.0
    for name, title in NAMES.items():
        us = median(found[name])
        lines.append(measure.Line(f"CPU per row, {title}", f"{us - before:+.0f} us = {us:.0f} us"))
        before = us
    above = [whole - client for whole, client in zip(found["call"], found["client"], strict=True)]
    return [
        *lines,
        measure.at_most("CPU per row, all above the client", above, 20.0, ".0f", " us"),
        measure.Line("  information: bare aiohttp + orjson", measure.spread(found["bare"], ".0f", " us")),
    ]


if __name__ == "__main__":
    measure.report(main())
