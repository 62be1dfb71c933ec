"""All benchmarks, one after another, each in a process of its own, and one table.

    python tests/bench/all.py [cpu limits ...] [--save]

Takes about half an hour. What each measures, against what, and how is in its own docstring; the targets are those
of DESIGN.md, section 7. `--save` keeps the figures in `results.json` beside this file, those of the benchmarks that
were not run as they were, and makes `results.md` and `results.svg` of all of them.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import measure

SCRIPTS = (
    "small_jobs", "importing", "cpu", "throughput", "sweeps", "memory", "typed", "limits", "sharing", "machines", "cluster", "peers",
    "caching", "streaming",
)  # fmt: skip
_HERE = Path(__file__).parent


def _lines(name: str) -> list[measure.Line]:
    print(f"{name} ...", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, str(_HERE / f"{name}.py"), "--json"], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        return [measure.Line(f"{name}.py", f"failed with code {done.returncode}", "", met=False)]
    return [measure.Line(**line) for line in json.loads(done.stdout.splitlines()[-1])]


def _save(found: dict[str, list[measure.Line]]) -> None:
    file = _HERE / "results.json"
    kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    kept |= {name: [asdict(line) for line in lines] for name, lines in found.items()}
    file.write_text(json.dumps({name: kept[name] for name in SCRIPTS if name in kept}, indent=1) + "\n")
    lines = [measure.Line(**line) for name in SCRIPTS for line in kept.get(name, ())]
    _write(lines)
    if {"small_jobs", "cpu", "sweeps", "peers"} <= kept.keys():
        _draw(lines)


def _write(lines: list[measure.Line]) -> None:
    packages = ", ".join(f"{name} {version(name)}" for name in ("openai", "aiohttp", "pandas"))
    table = [
        f"Two shared cores of a cloud machine, {platform.system()}, Python {platform.python_version()}, {packages}.",
        "Medians, with the range of the rounds. Made by `python tests/bench/all.py --save`.",
        "",
        "| what | measured | target | met |",
        "|---|---|---|---|",
        *(
            f"| {line.what.strip()} | {line.measured} | {line.target} | "
            f"{ {True: 'yes', False: 'no', None: ''}[line.met] } |"
            for line in lines
        ),
    ]
    (_HERE / "results.md").write_text("\n".join(table) + "\n", encoding="utf-8")


def _draw(lines: list[measure.Line]) -> None:
    """Draw rows done over time, what a row costs, and rows per second against requests in flight."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "llmframe"
    from matplotlib import pyplot as plt

    bars = {title: us for line in lines for title, us in line.numbers.items() if title.startswith("us: ")}
    points = [line.numbers for line in lines if "in_flight" in line.numbers]
    figure, (first, left, right) = plt.subplots(1, 3, figsize=(14, 3.2), layout="constrained")
    curves = [line for line in lines if "done: 0" in line.numbers]
    for line, style in zip(curves, ("o-", "s--"), strict=True):
        done = [int(key.removeprefix("done: ")) for key in line.numbers]
        first.plot(list(line.numbers.values()), done, style, label=line.what.rpartition(", ")[2])
    first.set_xlim(left=0)
    first.set_xlabel("seconds (300 rows, 4 s latency, first call)")
    first.set_ylabel("rows done")
    first.legend()
    ordered = sorted(bars, key=bars.__getitem__, reverse=True)
    shown = left.barh(
        [title.removeprefix("us: ") for title in ordered], [bars[title] for title in ordered], color="#4c78a8"
    )
    left.bar_label(shown, fmt=" {:,.0f}")
    left.margins(x=0.15)
    left.set_xlabel("CPU per row, µs")
    for name, style in (("ours", "o-"), ("bare", "s--")):
        label = {"ours": "llmframe, all in", "bare": "bare aiohttp + orjson"}[name]
        right.plot(
            [point["in_flight"] for point in points], [point[name] for point in points], style, label=label
        )
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_xlabel("requests in flight (50 ms latency)")
    right.set_ylabel("rows per second")
    right.legend()
    figure.savefig(_HERE / "results.svg", metadata={"Date": None})


if __name__ == "__main__":
    chosen = [word for word in sys.argv[1:] if word in SCRIPTS] or SCRIPTS
    found = {name: _lines(name) for name in chosen}
    measure.report([line for lines in found.values() for line in lines])
    if "--save" in sys.argv:
        _save(found)
