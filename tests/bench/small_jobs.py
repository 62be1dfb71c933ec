"""What most people run: a few hundred rows at seconds of latency, over a plain gather with the SDK.

What: `llmframe.complete` with its defaults, its journal included, in a fresh process, twice. Against what: the same
requests in `asyncio.gather` over `AsyncOpenAI`, in a fresh process of its own. Both import their library before the
clock starts. The server (own process) counts as a provider's, although its address is this machine's.

    python tests/bench/small_jobs.py

`all.py --save` draws how many of 300 rows are done over time, in one run of each.

Targets (DESIGN.md, section 7): 300 rows at 4 s: <= 1.1 times the gather's time, the second call <= 1.0; the same told
`max_concurrency=300` <= 1.05; 100 rows at 0.3 s, second call <= 1.5; one row in a warm process <= 20 ms above the
latency; 3,000 rows under 10,000 requests a minute with a minute saved up <= 1.2 times as long as without a limit.
"""

from __future__ import annotations

import json
import subprocess
import sys

import measure

ROUNDS = 3
_OURS = """
import json, sys, time
import openai, llmframe
from llmframe._run import lanes
lanes.is_local = lambda address: False
rows, calls, settings = json.loads(sys.argv[1])
took = []
for call in range(calls):
    prompts = [f"{call}-{number} " + "soup " * 20 for number in range(rows)]
    began = time.perf_counter()
    llmframe.complete(prompts, progress=False, **settings)
    took.append(time.perf_counter() - began)
print(json.dumps(took))
"""
_OVER_TIME = """
import json, sys, time
import openai, llmframe
from llmframe._run import lanes
lanes.is_local = lambda address: False
rows, calls, settings = json.loads(sys.argv[1])
began = time.perf_counter()
run = llmframe.complete([f"{number} " + "soup " * 20 for number in range(rows)], progress=False, wait=False, **settings)
took = [0.0] * rows
done = 0
while not run.done():
    answered, now = run.answered, time.perf_counter() - began
    took[done:answered] = [now] * (answered - done)
    done = max(done, answered)
    time.sleep(0.02)
took[done:] = [time.perf_counter() - began] * (rows - done)
print(json.dumps(took))
"""
_GATHER_OVER_TIME = """
import asyncio, json, sys, time
import openai
rows, calls, settings = json.loads(sys.argv[1])

async def main():
    async with openai.AsyncOpenAI(base_url=settings["base_url"], api_key="any") as client:
        began, took = time.perf_counter(), []

        async def one(number):
            await client.chat.completions.create(
                model=settings["model"], messages=[{"role": "user", "content": f"{number} " + "soup " * 20}]
            )
            took.append(time.perf_counter() - began)

        await asyncio.gather(*map(one, range(rows)))
        return took

print(json.dumps(asyncio.run(main())))
"""
_GATHER = """
import asyncio, json, sys, time
import openai
rows, calls, settings = json.loads(sys.argv[1])

async def main():
    async with openai.AsyncOpenAI(base_url=settings["base_url"], api_key="any") as client:
        began = time.perf_counter()
        await asyncio.gather(*(
            client.chat.completions.create(
                model=settings["model"], messages=[{"role": "user", "content": f"{number} " + "soup " * 20}]
            )
            for number in range(rows)
        ))
        return time.perf_counter() - began

print(json.dumps([asyncio.run(main())]))
"""


def _seconds(code: str, rows: int, calls: int, settings: dict) -> list[float]:
    command = [sys.executable, "-c", code, json.dumps([rows, calls, settings])]
    done = subprocess.run(
        command, env=measure.clean_environment(), stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout)


def _over_gather(folder: str, rows: int, latency: float, **more) -> tuple[list[float], list[float]]:
    """Give the first and the second call's time over the gather's."""
    first, second = [], []
    with measure.server(latency=latency) as server:
        for _ in range(ROUNDS):
            settings = measure.settings(server.base_url, folder, **more)
            ours = _seconds(_OURS, rows, 2, settings)
            (gather,) = _seconds(_GATHER, rows, 1, settings)
            first.append(ours[0] / gather)
            second.append(ours[1] / gather)
    return first, second


def _over_time(folder: str) -> list[measure.Line]:
    """Give the seconds until each tenth of 300 rows is done."""
    lines = []
    with measure.server(latency=4.0) as server:
        settings = measure.settings(server.base_url, folder)
        for name, code in (("llmframe", _OVER_TIME), ("gather", _GATHER_OVER_TIME)):
            took = sorted(_seconds(code, 300, 1, settings))
            tenths = {f"done: {number}": took[max(0, number - 1)] for number in range(0, 301, 30)}
            half = f"{took[149]:.1f} s, {took[-1]:.1f} s"
            lines.append(
                measure.Line(f"information: half and all of 300 rows done, {name}", half, numbers=tenths)
            )
    return lines


def _one_row(folder: str, latency: float = 0.3) -> list[float]:
    """Give the milliseconds above the latency of one-row calls in a warm process."""
    with measure.server(latency=latency) as server:
        took = _seconds(_OURS, 1, 12, measure.settings(server.base_url, folder))
    return [1_000 * (seconds - latency) for seconds in took[2:]]


def _under_a_limit(folder: str) -> tuple[list[float], list[float]]:
    """Give the time under a limit over the time without, and the share of 429s."""
    took, refused = [], []
    for _ in range(ROUNDS):
        found = []
        for limits in ({"requests_per_minute": 10_000, "burst": 60.0}, None):
            with measure.server(latency=1.0, limits=limits) as server:
                settings = measure.settings(server.base_url, folder)
                found.append(_seconds(_OURS, 3_000, 1, settings)[0])
                ledger = server.ledger()
            if limits is not None:
                refused.append(ledger["statuses"].get("429", 0) / ledger["requests"])
        took.append(found[0] / found[1])
    return took, refused


def main() -> list[measure.Line]:
    with measure.scratch() as folder:
        first, second = _over_gather(folder, 300, 4.0)
        told, _ = _over_gather(folder, 300, 4.0, max_concurrency=300)
        _, quick = _over_gather(folder, 100, 0.3)
        limited, refused = _under_a_limit(folder)
        return [
            measure.at_most("300 rows at 4 s over a gather: first call", first, 1.1),
            measure.at_most("the same, second call", second, 1.0),
            measure.at_most("the same told max_concurrency=300, first call", told, 1.05),
            measure.at_most("100 rows at 0.3 s over a gather: second call", quick, 1.5),
            measure.at_most(
                "one row in a warm process, above the latency", _one_row(folder), 20, ".0f", " ms"
            ),
            measure.at_most("3,000 rows under 10,000 a minute, over no limit", limited, 1.2),
            measure.at_most("the same: answered 429", refused, 0.01, ".4f"),
            *_over_time(folder),
        ]


if __name__ == "__main__":
    measure.report(main())
