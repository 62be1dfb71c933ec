"""Runs together: rows that two processes want are paid once, and a limit is kept by all that share it.

What: (1) two processes run `df.llm.complete` at the same time over rows of which half are the same; the server's
ledger says what was billed twice. (2) Two processes under one key start together on rows of their own,
against a stated limit of 200 requests per second (a bucket of one second's allowance), for 20 s; the ledger says how
much of the limit was used, and how much was refused. (3) Three runs of one process in the background, and eight
threads with a run each, under that limit, over what one run of as many rows uses of it.

    python tests/bench/sharing.py

Targets: nothing is paid twice; two processes >= 95 % of the limit, < 2 % of the requests answered 429; three runs and
eight threads >= 97 % of one run's rate.
"""

from __future__ import annotations

import json
import subprocess
import sys

import measure

RATE = 200
_LIMITS = {"requests_per_minute": RATE * 60, "burst": 1.0}
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


_RUNS = """
import json, sys, threading
sys.path.insert(0, sys.argv[1])
import measure
import llmframe
count, rows, threads, settings = json.loads(sys.argv[2])
parts = [measure.reviews(rows).iloc[number::count].copy() for number in range(count)]
if threads:
    def work(part):
        part.llm.complete("review", measure.PROMPT, into="summary", progress=False, **settings)
    workers = [threading.Thread(target=work, args=(part,)) for part in parts]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
else:
    runs = [
        part.llm.complete("review", measure.PROMPT, into="summary", progress=False, wait=False, **settings)
        for part in parts
    ]
    [run.result() for run in runs]
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


def _share(ledger: dict) -> float:
    return ledger["answered"] / (RATE * (ledger["last_arrival"] - ledger["first_arrival"]))


def _processes(folder: str) -> list[measure.Line]:
    with measure.server(limits=_LIMITS, latency=0.05) as server:
        settings = measure.settings(server.base_url, folder)
        both = [_start(0, 2_000, settings), _start(2_000, 4_000, settings)]
        for process in both:
            _sent(process)
        ledger = server.ledger()
    refused = [ledger["statuses"].get("429", 0) / ledger["requests"]]
    return [
        measure.at_least("two processes under one limit: share used", [_share(ledger)], 0.95, ".3f"),
        measure.at_most("two processes under one limit: answered 429", refused, 0.02, ".4f"),
    ]


def _in_one_process(folder: str) -> list[measure.Line]:
    shares = []
    for count, threads in ((1, False), (3, False), (8, True)):
        with measure.server(limits=_LIMITS, latency=0.05) as server:
            settings = measure.settings(server.base_url, folder)
            words = [
                sys.executable, "-c", _RUNS, __file__.rpartition("/")[0],
                json.dumps([count, 4_000, threads, settings]),
            ]  # fmt: skip
            subprocess.run(words, check=True, timeout=300)
            shares.append(_share(server.ledger()))
    one, three, eight = shares
    return [
        measure.at_least("three overlapping runs of one process over one run", [three / one], 0.97, ".3f"),
        measure.at_least("eight threads with a run each over one run", [eight / one], 0.97, ".3f"),
    ]


def main() -> list[measure.Line]:
    with measure.scratch() as folder:
        return [*_overlapping(folder), *_processes(folder), *_in_one_process(folder)]


if __name__ == "__main__":
    measure.report(main())
