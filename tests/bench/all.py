"""All benchmarks, one after another, each in a process of its own, and one table.

    python tests/bench/all.py [cpu limits ...]

Takes about fifteen minutes. What each measures, against what, and how is in its own docstring; the targets are
those of DESIGN.md, section 7.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import measure

SCRIPTS = ("importing", "cpu", "throughput", "memory", "limits")


def _lines(name: str) -> list[measure.Line]:
    script = str(Path(__file__).with_name(f"{name}.py"))
    print(f"{name} ...", file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, script, "--json"], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return [measure.Line(f"{name}.py", f"failed with code {done.returncode}", "", met=False)]
    return [measure.Line(**line) for line in json.loads(done.stdout.splitlines()[-1])]


if __name__ == "__main__":
    chosen = [word for word in sys.argv[1:] if word in SCRIPTS] or SCRIPTS
    measure.report([line for name in chosen for line in _lines(name)])
