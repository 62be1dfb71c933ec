"""What the prompt cache saves, by the benchmark of it on fewer rows: ratios of money are no times."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[1] / "bench" / "caching.py"


@pytest.mark.slow
def test_rows_cost_what_the_benchmark_promises_beside_a_plain_loop():
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--rows", "100", "--json"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    lines = json.loads(done.stdout.splitlines()[-1])
    assert [line["target"] for line in lines if line["target"]] == ["<= 0.35", "<= 0.36"]
    assert all(line["met"] is not False for line in lines)
