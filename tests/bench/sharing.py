"""Two processes on one journal: rows that both want are paid once, and a limit is kept by both together.

What: (1) two processes run `df.llm.complete` at the same time over rows of which half are the same; the server's
ledger says what was billed twice. (2) Two processes under one key start together on rows of their own,
against a limit of 200 requests per second (a bucket of one second's allowance), for 20 s where headers state it and
for 60 s where it must be learnt; the ledger says how much of the limit was used, and how much was refused. Against
what: the limit.

    python tests/bench/sharing.py

Targets: nothing is paid twice; >= 95 % of the limit, < 2 % of the requests answered 429.
"""

from __future__ import annotations

import json
import subprocess
import sys

import measure

RATE = 200
_CALL = """
import json, sys
sys.path.insert(0, sys.argv[1])
import measure
import llmframe
first, last, settings = int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
frame = measure.reviews(last).iloc[first:]
frame.llm.complete("review", measure.PROMPT, into="summary", progress=False, **settings)
assert frame["summary"].notna().all()
print(llmframe.last_run().sent)
"""


def _start(first: int, last: int, settings: dict) -> subprocess.Popen:
    folder = __file__.rpartition("/")[0]
    words = [sys.executable, "-c", _CALL, folder, str(first), str(last), json.dumps(settings)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def _sent(process: subprocess.Popen) -> int:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return int(out)


def _overlapping(folder: str) -> list[measure.Line]:
    with measure.server(latency=0.05) as server:
        settings = measure.settings(server.base_url, folder)
        both = [_start(0, 6_000, settings), _start(3_000, 9_000, settings)]
        sent = [_sent(process) for process in both]
        ledger = server.ledger()
    twice = ledger["billed"] - ledger["distinct_billed"]
    return [
        measure.at_most("9,000 rows, a third wanted by two processes: paid twice", [twice], 0, ".0f"),
        measure.Line("  information: sent by the one and the other", f"{sent[0]:,} and {sent[1]:,}"),
    ]


def _limited(folder: str, name: str, seconds: int, *, headers: bool) -> list[measure.Line]:
    rows = RATE * seconds // 2
    limits = {"requests_per_minute": RATE * 60, "burst": 1.0}
    with measure.server(limits=limits, latency=0.05, headers=headers) as server:
        settings = measure.settings(server.base_url, folder)
        both = [_start(0, rows, settings), _start(rows, 2 * rows, settings)]
        for process in both:
            _sent(process)
        ledger = server.ledger()
    took = ledger["last_arrival"] - ledger["first_arrival"]
    used = [ledger["answered"] / (RATE * took)]
    refused = [ledger["statuses"].get("429", 0) / ledger["requests"]]
    return [
        measure.at_least(f"two processes under one {name}: share used", used, 0.95, ".3f"),
        measure.at_most(f"two processes under one {name}: answered 429", refused, 0.02, ".4f"),
    ]


def main() -> list[measure.Line]:
    with measure.scratch() as folder:
        stated = _limited(folder, "limit", 20, headers=True)
        learnt = _limited(folder, "limit that nobody states", 60, headers=False)
        return [*_overlapping(folder), *stated, *learnt]


if __name__ == "__main__":
    measure.report(main())
