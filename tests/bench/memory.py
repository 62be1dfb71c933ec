"""Memory per row, flat memory while waiting, and what a row costs that the journal already answers.

What: (1) 1,000,000 rows, all answered from a journal that was filled beforehand with `SqliteJournal.record`;
(2) 1,000,000 rows live, from end to end, against the local server; (3) 100,000 rows of which only the first 1,000 are ever answered:
growth of the process while it waits with 1,000 in flight; (4) 1,000,000 rows by batch, in twenty parts.
Against what: a process that has imported the same and holds the same frame with the same answers as a column.
The figure is (peak RSS of the run - RSS of that process) / rows: temporary copies count against us. Each process
is fresh (`holding.py`), three rounds of (1).
(5) CPU per row of (1), over a yardstick that the same process times before and after it: hash 200 bytes, read
one answer with orjson, put its text into a dict, in plain Python. It takes 2.0 us on the machine on which
DESIGN.md's figures were measured, so the target of 15 us is 7.5 yardsticks; microseconds are information only.

    python tests/bench/memory.py

Targets (DESIGN.md, section 7): <= 300 bytes a row; flat while waiting; <= 15 us a row from the journal.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import measure

MILLION, WAITING, ROUNDS, YARDSTICKS = 1_000_000, 100_000, 3, 7.5


def _process(role: str, rows: int, argument: str = "") -> dict:
    words = [sys.executable, str(Path(__file__).with_name("holding.py")), role, str(rows), argument]
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _above(role: str, rows: int, argument: str) -> tuple[float, dict]:
    """Run one role and give its bytes a row above the baseline, and what else it said."""
    run = _process(role, rows, argument)
    return (run["bytes"] - _process("baseline", rows)["bytes"]) / rows, run


def main() -> list[measure.Line]:
    with measure.scratch() as folder:
        journal = str(Path(folder) / "full.sqlite")
        _process("fill", MILLION, journal)
        found = [_above("stored", MILLION, journal) for _ in range(ROUNDS)]
    with measure.server() as server:
        alive, live = _above("live", MILLION, server.base_url)
        batched, _ = _above("batched", MILLION, server.base_url)
    with measure.server(faults=[{"kind": "hang", "after": 1_000}]) as server:
        waited = _process("waiting", WAITING, server.base_url)
    memory, runs = [above for above, _ in found], [run for _, run in found]
    growth, yardsticks = [waited["growth"] / 2**20], [run["cpu"] / run["yardstick"] for run in runs]
    us = {
        name: measure.spread([run[name] for run in runs], ".1f", " us")
        for name in ("cpu", "wall", "yardstick")
    }
    return [
        measure.at_most("bytes a row above frame and answers, 1,000,000 stored", memory, 300, ".0f"),
        measure.at_most("bytes a row above frame and answers, 1,000,000 live", [alive], 300, ".0f"),
        measure.at_most("bytes a row above frame and answers, 1,000,000 by batch", [batched], 300, ".0f"),
        measure.at_most(f"growth while {waited['in_flight']:,} wait for 6 s", growth, 1, ".2f", " MiB"),
        measure.at_most("CPU per stored row, in yardsticks (7.5 = 15 us)", yardsticks, YARDSTICKS, ".1f"),
        measure.Line(
            "  information: 1,000,000 rows live, from end to end",
            f"{1e6 / live['wall']:,.0f} rows/s, {live['cpu']:.0f} us CPU a row",
        ),
        *(measure.Line(f"  information: per stored row, {name}", text) for name, text in us.items()),
    ]


if __name__ == "__main__":
    measure.report(main())
