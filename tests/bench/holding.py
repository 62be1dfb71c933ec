"""The processes that `memory.py` starts and measures: `python holding.py ROLE ROWS ARGUMENT` prints JSON.

Each imports and uses once all that a call does before it counts, so that only rows are counted.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
import time
from hashlib import blake2b
from pathlib import Path

import measure
import orjson
import psutil

import llmframe  # noqa: F401 (registers df.llm)
from llmframe._journal import open_journal
from llmframe._values import Answer, Usage
from llmframe.testing import LocalServer
from llmframe.testing._chat import Completion, answer_body

ADDRESS = "http://127.0.0.1:1/v1"
TEXT = "A made-up answer, {:012x}."
WAIT_SECONDS = 6.0
BODY = answer_body(Completion((TEXT.format(0),), 59, 9), {"model": measure.MODEL}, "0" * 24, 1_767_225_600)


def _warm_up() -> None:
    with LocalServer() as server, measure.scratch() as folder:
        call = measure.settings(server.base_url, folder, progress=False)
        frame = measure.reviews(50).llm.complete("review", into="summary", **call)
    assert frame["summary"].notna().all()


def _ask(frame, **settings):
    call = {"api_key": "any", "model": measure.MODEL, "progress": False, **settings}
    return frame.llm.complete("review", measure.PROMPT, into="summary", **call)


def baseline(rows: int, _: str) -> dict:
    """Hold the frame and its answers."""
    _warm_up()
    frame = measure.reviews(rows)
    frame["summary"] = [TEXT.format(number) for number in range(rows)]
    gc.collect()
    return {"bytes": psutil.Process().memory_info().rss}


def fill(rows: int, journal: str) -> dict:
    """Answer all rows in a journal, with the identities that the call will ask for."""
    frame = measure.reviews(rows)
    keys = _ask(frame, base_url=ADDRESS, journal=False, mode="offline", wait=False)._plan.keys
    asyncio.run(_fill(keys, Path(journal)))
    return {}


async def _fill(keys, path: Path) -> None:
    head, tail = BODY.split(b"000000000000.")
    async with open_journal(path) as journal:
        session = await journal.begin(b"bench", {})
        for start in range(0, len(keys), 5_000):
            part = enumerate(keys[start : start + 5_000], start)
            bodies = ((key, head + b"%012x." % number + tail) for number, key in part)
            await journal.record(
                session, [(Answer(key, body, Usage(59, 9)), None) for key, body in bodies], []
            )
        await journal.end(session, {}, finished=True)


def _yardstick(loops: int = 100_000) -> float:
    """Time what a row from the journal needs at the least, in us: hash it, read its answer, keep the text."""
    text, found = b"x" * 200, {}
    before = time.process_time()
    for number in range(loops):
        found[blake2b(text, digest_size=16).digest()] = orjson.loads(BODY)["choices"][0]["message"]["content"]
        found[number & 1023] = number
    return (time.process_time() - before) / loops * 1e6


def stored(rows: int, journal: str) -> dict:
    """Run over rows that the journal answers."""
    _warm_up()
    frame, yardstick = measure.reviews(rows), _yardstick()
    before, began = time.process_time(), time.perf_counter()
    _ask(frame, base_url=ADDRESS, journal=journal)
    cpu, wall = (time.process_time() - before) / rows * 1e6, (time.perf_counter() - began) / rows * 1e6
    assert frame["summary"].iloc[-1] == TEXT.format(rows - 1)
    return {"bytes": _peak(), "cpu": cpu, "wall": wall, "yardstick": (yardstick + _yardstick()) / 2}


def live(rows: int, base_url: str) -> dict:
    """Run over rows that the server answers."""
    _warm_up()
    frame = measure.reviews(rows)
    before, began = time.process_time(), time.perf_counter()
    with measure.scratch() as folder:
        _ask(frame, **measure.settings(base_url, folder))
    cpu, wall = (time.process_time() - before) / rows * 1e6, (time.perf_counter() - began) / rows * 1e6
    assert frame["summary"].notna().all()
    return {"bytes": _peak(), "cpu": cpu, "wall": wall}


def batched(rows: int, base_url: str) -> dict:
    """Run over rows that the server answers in batches."""
    _warm_up()
    frame = measure.reviews(rows)
    before = time.process_time()
    with measure.scratch() as folder:
        _ask(frame, mode="batch", **measure.settings(base_url, folder))
    assert frame["summary"].notna().all()
    return {"bytes": _peak(), "cpu": (time.process_time() - before) / rows * 1e6}


def waiting(rows: int, base_url: str) -> dict:
    """Run into a server that no longer answers, and see whether the process grows."""
    _warm_up()
    seen = []
    with measure.scratch() as folder:
        call = measure.settings(base_url, folder, max_concurrency=1000, wait=False)
        run = _ask(measure.reviews(rows), **call)
        while run.answered < 1_000:
            time.sleep(0.1)
        for _ in range(2):
            time.sleep(WAIT_SECONDS)
            seen.append(psutil.Process().memory_info().rss)
        in_flight = run._execution._lane.in_flight
        run.cancel()
        run._wait(10)
    return {"growth": seen[1] - seen[0], "in_flight": in_flight}


def _peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    roles = {role.__name__: role for role in (baseline, fill, stored, live, batched, waiting)}
    print(json.dumps(roles[sys.argv[1]](int(sys.argv[2]), sys.argv[3])))
