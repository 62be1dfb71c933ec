"""What the benchmarks share: the server on its own core, the rows, alternating rounds, and the table.

A script's `main()` returns `Line`s; `report` prints them. Ratios are taken round by round, of neighbours in
time, so that a slow minute of the machine slows both sides; what is shown is their median and their range.
"""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from urllib.request import urlopen

import pandas as pd

MODEL = "gpt-6-luna"
PROMPT = "Summarise this review in one line: {review}"
_SERVE = """
import json, os, sys, threading
from llmframe.testing import Fault, Limits, serve
settings = json.loads(sys.argv[1])
if isinstance(settings.get("latency"), dict):
    middle, sigma = settings["latency"]["lognormal"]
    settings["latency"] = lambda chance: middle * chance.lognormvariate(0, sigma)
settings["limits"] = Limits(**settings["limits"]) if settings.get("limits") else None
settings["faults"] = [Fault(**fault) for fault in settings.get("faults", ())]
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
serve(0, ready=lambda url: print(url, flush=True), keep_bodies=False, **settings)
"""  # it ends with whoever started it: its standard input ends then
_WORDS = tuple("soup hot spoon cold waiter brought bread twice never smiled rain fell".split())  # noqa: SIM905


@dataclass(frozen=True)
class Line:
    """One row of the table; `met` is None where the figure is information only."""

    what: str
    measured: str
    target: str = ""
    met: bool | None = None
    numbers: dict[str, float] = field(default_factory=dict)
    """What a plot needs."""


@dataclass(frozen=True)
class Server:
    """A local server in a process of its own."""

    base_url: str

    def ledger(self, *, full: bool = False) -> dict:
        address = self.base_url.removesuffix("/v1") + "/llmframe/ledger" + ("?full=1" if full else "")
        with urlopen(address, timeout=60) as answer:
            return json.load(answer)


@contextmanager
def server(**settings):
    """Run a server on the last core, and this process on the others, where cores can be chosen."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if len(cores) > 1:  # a process starts on the cores of the thread that starts it
        os.sched_setaffinity(0, {max(cores)})
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE, json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if len(cores) > 1:
        os.sched_setaffinity(0, cores - {max(cores)})
    try:
        yield Server(process.stdout.readline().strip())
    finally:
        process.terminate()
        process.wait()
        if cores:
            os.sched_setaffinity(0, cores)


def reviews(rows: int, seed: int = 0) -> pd.DataFrame:
    """Give distinct rows of about 200 characters."""
    chance = random.Random(seed)
    texts = (f"{number:07d} " + " ".join(chance.choices(_WORDS, k=40)) for number in range(rows))
    return pd.DataFrame({"review": [text[:200] for text in texts]})


_journal = count()


def settings(base_url: str, folder: str, **more) -> dict:
    """Give the settings of a call with a fresh journal and everything switched on."""
    journal = str(Path(folder) / f"journal-{next(_journal)}.sqlite")
    return {"base_url": base_url, "api_key": "any", "model": MODEL, "journal": journal, **more}


def clean_environment(**more: str) -> dict[str, str]:
    """Give this process's environment without what would choose a model, a server or a journal."""
    chosen = ("OPENAI_", "LLMFRAME_")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(chosen)}, **more}


def scratch():
    """Make a folder for journals that goes away."""
    return tempfile.TemporaryDirectory(prefix="llmframe-bench-", ignore_cleanup_errors=True)


class Terminal(io.StringIO):
    """Takes the progress bar as a terminal would, so that it is drawn as often as for a person."""

    def isatty(self) -> bool:
        return True


def cpu_per_row(work, rows: int):
    """Make a measurement of CPU time, in us a row."""

    def measured() -> float:
        before = time.process_time()
        work()
        return (time.process_time() - before) / rows * 1e6

    return measured


def rows_per_second(work, rows: int):
    """Make a measurement of throughput."""

    def measured() -> float:
        before = time.perf_counter()
        work()
        return rows / (time.perf_counter() - before)

    return measured


def alternate(sides, rounds: int) -> dict[str, list[float]]:
    """Measure each side once a round, in an order that turns about, and return the figures by side."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides) if number % 2 == 0 else reversed(list(sides)):
            found[name].append(sides[name]())
    return found


def ratios(ours: list[float], theirs: list[float]) -> list[float]:
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def spread(values: list[float], form: str = ".2f", unit: str = "") -> str:
    """Write the median and the range."""
    return f"{median(values):{form}}{unit} ({min(values):{form}} to {max(values):{form}})"


def at_most(what: str, values: list[float], most: float, form: str = ".2f", unit: str = "") -> Line:
    return Line(what, spread(values, form, unit), f"<= {most:g}{unit}", median(values) <= most)


def at_least(what: str, values: list[float], least: float, form: str = ".2f", unit: str = "") -> Line:
    return Line(what, spread(values, form, unit), f">= {least:g}{unit}", median(values) >= least)


def report(lines: list[Line]) -> None:
    """Print the table, or with `--json` what `all.py` reads."""
    if "--json" in sys.argv:
        print(json.dumps([asdict(line) for line in lines]))
        return
    cells = [("what", "measured: median (range)", "target", "met?")]
    cells += [
        (line.what, line.measured, line.target, {True: "yes", False: "NO", None: ""}[line.met])
        for line in lines
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    for row in cells:
        print(" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
