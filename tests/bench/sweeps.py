"""Throughput against concurrency and against latency, beside a bare client.

What: rows per second of `df.llm.complete`, journal and bar on, (1) with 1, 10, 100, 300 and 1,000 requests in flight
at 50 ms latency, (2) with 1,000 in flight at 0 ms and at log-normal latencies with a median of 2 s and a long tail.
Against what: bare aiohttp + orjson with as many workers on the same rows. Wall time;
the server has its own process and core. Sides alternate, two rounds. Also: seconds until the first answer was
there, from the call on, over the server's latency.

    python tests/bench/sweeps.py

No targets of their own; `throughput.py` judges 1,000 in flight at 50 ms.
"""

from __future__ import annotations

import asyncio
import time
from statistics import median

import cpu
import measure

ROUNDS, LATENCY = 2, 0.05
CONCURRENCY = {1: 60, 10: 600, 100: 4_000, 300: 8_000, 1_000: 12_000}
"""Requests in flight, and rows enough to keep them there."""
TAIL = {"lognormal": [2.0, 0.6]}
LATENCIES = (("0 ms", 0.0, 10_000), ("2 s, long tail", TAIL, 6_000))


def _line(what: str, latency, in_flight: int, rows: int, folder: str) -> list[measure.Line]:
    with measure.server(latency=latency) as server:
        frame, url = measure.reviews(rows), server.base_url
        texts = cpu.prompts(frame)
        sides = {
            "ours": lambda: cpu.complete(frame, url, folder, max_concurrency=in_flight),
            "bare": lambda: asyncio.run(cpu.bare(texts, url, in_flight)),
        }
        found = measure.alternate(
            {name: measure.rows_per_second(work, rows) for name, work in sides.items()}, ROUNDS
        )
    return [
        measure.Line(
            f"rows/s / bare, {what}",
            f"{measure.spread(measure.ratios(found['ours'], found['bare']))}, "
            f"{median(found['ours']):,.0f} / {median(found['bare']):,.0f}",
            numbers={"in_flight": in_flight, **{side: median(found[side]) for side in ("ours", "bare")}}
            if latency == LATENCY
            else {},
        )
    ]


def _first_answer(folder: str) -> measure.Line:
    latency, found = 0.05, []
    with measure.server(latency=latency) as server:
        frame = measure.reviews(20_000)
        for _ in range(5):
            began = time.perf_counter()
            call = measure.settings(server.base_url, folder, progress=False, wait=False)
            run = frame.llm.complete("review", measure.PROMPT, into="summary", **call)
            while not run.answered:
                time.sleep(0.002)
            found.append((time.perf_counter() - began) / latency)
            run.cancel()
            run._wait(30)
    return measure.Line("first answer of 20,000 rows, in latencies of 50 ms", measure.spread(found, ".1f"))


def main() -> list[measure.Line]:
    lines = []
    with measure.scratch() as folder:
        _warm_up(folder)
        lines.append(_first_answer(folder))
        for in_flight, rows in CONCURRENCY.items():
            lines += _line(f"{in_flight:,} in flight, 50 ms", LATENCY, in_flight, rows, folder)
        for what, latency, rows in LATENCIES:
            lines += _line(f"1,000 in flight, {what}", latency, 1_000, rows, folder)
    return lines


def _warm_up(folder: str) -> None:
    with measure.server() as server:
        cpu.complete(measure.reviews(300, seed=1), server.base_url, folder)


if __name__ == "__main__":
    measure.report(main())
