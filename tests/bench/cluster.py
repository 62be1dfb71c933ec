"""Dask: a LocalCluster of two workers with a thread each against plain pandas, under one stated limit.

What: 4,000 rows against a stated limit of 200 requests per second (a bucket of one second's allowance), for 20 s: once
with `df.llm.complete`, and once with `ddf.llm.complete` over 16 partitions, whose workers share the limit through the
journal. The ledger says how much of the limit was used from the first request to the last, and how much was refused.

    python tests/bench/cluster.py

Targets: the cluster uses >= 90 % of what pandas uses; < 2 % of its requests answered 429; nothing is paid twice.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import measure

RATE = 200
ROWS = 4_000
_LIMITS = {"requests_per_minute": RATE * 60, "burst": 1.0}
_PANDAS = """
import json, sys
sys.path.insert(0, sys.argv[1])
import measure
import llmframe
frame = measure.reviews(int(sys.argv[2]))
frame.llm.complete("review", measure.PROMPT, into="summary", progress=False, **json.loads(sys.argv[3]))
assert frame["summary"].notna().all()
"""
_DASK = """
import json, sys
import dask.dataframe as dd
from distributed import Client, LocalCluster
import llmframe.dask

def main():
    sys.path.append(sys.argv[1])
    import measure
    frame = dd.from_pandas(measure.reviews(int(sys.argv[2])), npartitions=16)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster):
        answered = frame.llm.complete("review", measure.PROMPT, into="summary", **json.loads(sys.argv[3]))
        assert answered["summary"].notnull().all().compute()

if __name__ == "__main__":
    main()
"""


def _ledger(program: str, folder: str) -> dict:
    with measure.server(limits=_LIMITS, latency=0.05) as server:
        settings = measure.settings(server.base_url, folder)
        file = Path(folder) / "program.py"
        file.write_text(program, encoding="utf-8")
        words = [sys.executable, file, __file__.rpartition("/")[0], str(ROWS), json.dumps(settings)]
        subprocess.run(words, check=True, timeout=300)
        return server.ledger()


def _share(ledger: dict) -> float:
    return ledger["answered"] / (RATE * (ledger["last_arrival"] - ledger["first_arrival"]))


def main() -> list[measure.Line]:
    with measure.scratch() as folder:
        plain, cluster = _ledger(_PANDAS, folder), _ledger(_DASK, folder)
    refused = cluster["statuses"].get("429", 0) / cluster["requests"]
    twice = cluster["billed"] - cluster["distinct_billed"]
    return [
        measure.at_least(
            "Dask, LocalCluster 2 x 1, over plain pandas under one limit",
            [_share(cluster) / _share(plain)],
            0.9,
            ".3f",
        ),
        measure.at_most("the same: answered 429", [refused], 0.02, ".4f"),
        measure.at_most("the same: paid twice", [twice], 0, ".0f"),
        measure.Line(
            "  information: share of the limit, pandas and Dask",
            f"{_share(plain):.3f} and {_share(cluster):.3f}",
        ),
    ]


if __name__ == "__main__":
    measure.report(main())
