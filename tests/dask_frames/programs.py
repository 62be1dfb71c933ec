"""Programs that compute a Dask frame, and Ctrl-C in them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from helpers import MODEL

if TYPE_CHECKING:
    from pathlib import Path

    from llmframe.testing import LocalServer

PATIENCE = 60.0

_PROGRAM = """
import os, sys
import dask, dask.dataframe as dd, pandas as pd
import llmframe, llmframe.dask
from contextlib import nullcontext

def cluster(scheduler):
    if scheduler != "distributed":
        return nullcontext(), nullcontext()
    from distributed import Client, LocalCluster
    started = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    return started, Client(started)

def main():
    rows = pd.DataFrame({"q": [f"Tell me about the number {number}." for number in range(ROWS)]})
    ddf = dd.from_pandas(rows, npartitions=PARTITIONS)
    started, client = cluster("SCHEDULER")
    with started, client, dask.config.set(**CONFIG):
        answered = ddf.llm.complete("q", into="a", max_concurrency=20)
        print("begun", flush=True)
        try:
            print(answered.compute()["a"].notna().sum(), flush=True)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            if "HOLD":
                sys.stdin.readline()

if __name__ == "__main__":
    main()
"""
_CONFIG = {
    "synchronous": {"scheduler": "synchronous"},
    "threads": {"scheduler": "threads", "num_workers": 3},
    "processes": {"scheduler": "processes", "num_workers": 2},
    "distributed": {},
}


def started(
    path: Path, server: LocalServer, scheduler: str, *, rows: int, partitions: int
) -> subprocess.Popen[str]:
    """Start a program that computes, with the server and the journal of the test."""
    script = path / "program.py"
    text = _PROGRAM.replace("SCHEDULER", scheduler).replace("CONFIG", repr(_CONFIG[scheduler]))
    script.write_text(text.replace("ROWS", str(rows)).replace("PARTITIONS", str(partitions)))
    environment = {
        **os.environ,
        "OPENAI_BASE_URL": server.base_url,
        "OPENAI_API_KEY": "any",
        "LLMFRAME_MODEL": MODEL,
        "LLMFRAME_JOURNAL": str(path / "journal.sqlite"),
    }
    return subprocess.Popen(
        [sys.executable, script],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def interrupt(program: subprocess.Popen[str]) -> None:
    """Press Ctrl-C in the client alone, not in its workers."""
    os.kill(program.pid, signal.SIGINT)


def ended(program: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Let a program end, and return its code and what it printed."""
    out, err = program.communicate("\n", timeout=PATIENCE)
    return program.returncode, out, err


def end_all(program: subprocess.Popen[str]) -> None:
    """End what a killed program has left: processes of pools wait for ever."""
    with suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGKILL)
    program.communicate()
