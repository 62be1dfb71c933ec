"""A file through the command line, chunk by chunk against whole: speed, and memory whatever the file's size.

What: (1) `llmframe complete IN OUT` over 120,000 different rows of Parquet, live, with the chunks of 50,000 rows that a user has,
against the same with one chunk: rows a second, alternating rounds, each with a journal of its own; (2) the same rows again, all from
the journal, as after a crash; (3) files of 100 and 300 MB of CSV with few different rows: the peak RSS of the process above one that
has imported pandas and pyarrow. Each process is fresh.

    python tests/bench/streaming.py

Targets (issue 19): >= 97 % of the whole file's speed; at most three chunks of 64 MB and 200 MiB of memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import measure
import pandas as pd

ROWS, ROUNDS, FEW = 120_000, 3, 2_000
_MIB = 2**20
_RUN = """
import json, resource, sys, time
import pandas, pyarrow.parquet
unit = 1 if sys.platform == "darwin" else 1024
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
import llmframe
source, target, url, journal, whole = sys.argv[1:]
if whole == "whole":
    llmframe.options._tuning = llmframe.options._tuning._replace(file_chunk_rows=10**9, file_chunk_bytes=10**15)
began = time.perf_counter()
run = llmframe.complete_file(
    source, target, "review", into="answer", force=True, base_url=url, api_key="any", model="gpt-6-luna", journal=journal,
    progress=False,
)
seconds = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
print(json.dumps({"seconds": seconds, "bytes": peak - before, "answered": run.answered}))
"""


def _process(source: Path, url: str, journal: Path, whole: str) -> dict:
    target = source.with_name(f"out{source.suffix}")
    words = [sys.executable, "-c", _RUN, str(source), str(target), url, str(journal), whole]
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _speed(folder: Path, url: str) -> tuple[list[float], list[float]]:
    """Return how fast chunks are as a share of the whole file's speed, live and from the journal."""
    source = folder / "in.parquet"
    pd.DataFrame({"review": [f"Review {row}: the hinge broke." for row in range(ROWS)]}).to_parquet(source)
    live, stored = [], []
    for number in range(ROUNDS):
        found = {}
        for whole in ("whole", "chunks") if number % 2 else ("chunks", "whole"):
            journal = folder / f"{whole}-{number}.sqlite"
            found[whole] = [_process(source, url, journal, whole)["seconds"] for _ in range(2)]
        live.append(found["whole"][0] / found["chunks"][0])
        stored.append(found["chunks"][1] / ROWS * 1e6)
    return live, stored


def _memory(folder: Path, url: str, megabytes: int) -> float:
    source, filler = folder / f"{megabytes}.csv", "soup " * 40
    rows = megabytes * 1_000_000 // 220
    with source.open("w") as file:
        file.write("id,review,body\n")
        file.writelines(f"{row},Review {row % FEW},{filler}\n" for row in range(rows))
    return _process(source, url, folder / "memory.sqlite", "chunks")["bytes"] / _MIB


def main() -> list[measure.Line]:
    with measure.scratch() as folder, measure.server(latency=0.05) as server:
        live, stored = _speed(Path(folder), server.base_url)
        memory = {size: _memory(Path(folder), server.base_url, size) for size in (100, 300)}
    return [
        measure.at_least("a file by chunks, share of the whole file's speed, live", live, 0.97, ".2f"),
        measure.Line(
            "  information: per row of it, all in the journal", measure.spread(stored, ".1f", " us")
        ),
        *(
            measure.at_most(f"memory of a streamed CSV of {size} MB", [above], 392, ".0f", " MiB")
            for size, above in memory.items()
        ),
    ]


if __name__ == "__main__":
    measure.report(main())
