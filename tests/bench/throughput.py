"""Rows per second at 1,000 in flight, against a bare client.

What: `df.llm.complete(max_concurrency=1000)`, journal and bar on. Against what: bare aiohttp + orjson with 1,000
workers and as many connections, on the same rows, alternating. The server answers after 50 ms, in a process and
on a core of its own; each client has what cores are left. Wall time, so other jobs disturb it: each round's
ratio is of neighbours in time, and the range tells how noisy it was.

    python tests/bench/throughput.py

Target (DESIGN.md, section 7): >= 95 % of the bare client's.
"""

from __future__ import annotations

import asyncio

import cpu
import measure

ROWS, ROUNDS, IN_FLIGHT = 12_000, 5, 1_000


def main() -> list[measure.Line]:
    with measure.server(latency=0.05) as server, measure.scratch() as folder:
        frame, few, url = measure.reviews(ROWS), measure.reviews(2_000, seed=1), server.base_url

        def sides(rows):
            texts = cpu.prompts(rows)
            works = {
                "ours": lambda: cpu.complete(rows, url, folder, max_concurrency=IN_FLIGHT),
                "bare": lambda: asyncio.run(cpu.bare(texts, url, IN_FLIGHT)),
            }
            return {name: measure.rows_per_second(work, len(rows)) for name, work in works.items()}

        measure.alternate(sides(few), 1)
        found = measure.alternate(sides(frame), ROUNDS)
        most = server.ledger()["max_in_flight"]
    return [
        measure.at_least(
            "rows/s at 1,000 in flight / bare aiohttp", measure.ratios(found["ours"], found["bare"]), 0.95
        ),
        *(
            measure.Line(f"  information: rows/s, {name}", measure.spread(values, ",.0f"))
            for name, values in found.items()
        ),
        measure.Line("  information: most in flight at the server", f"{most:,}"),
    ]


if __name__ == "__main__":
    measure.report(main())
