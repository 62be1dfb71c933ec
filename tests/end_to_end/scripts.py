"""Scripts that run in a process of their own, against the test's server and journal."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from helpers import MODEL

if TYPE_CHECKING:
    from pathlib import Path

    from llmframe.testing import LocalServer

ROWS = 400
QUICK = 150
"""Answers that come at once before the server falls silent."""
PATIENCE = 30.0
"""Seconds until a script is killed, on a machine that is busy with other things."""

PREAMBLE = f"""
import asyncio, os, signal, sys, threading, time
import pandas as pd
import llmframe
llmframe.options.model = {MODEL!r}
llmframe.options.max_concurrency = 400
df = pd.DataFrame({{"review": [f"review {{i}}" for i in range({ROWS})]}})
"""


def start_script(tmp_path: Path, server: LocalServer, body: str) -> subprocess.Popen[str]:
    """Start a script, with the server and the journal of the test."""
    environment = {
        **os.environ,
        "OPENAI_BASE_URL": server.base_url,
        "OPENAI_API_KEY": "any",
        "LLMFRAME_JOURNAL": str(tmp_path / "journal.sqlite"),
    }

    path = tmp_path / "script.py"
    path.write_text(PREAMBLE + body)
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(path)],
        env=environment,
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str], seconds: float = PATIENCE) -> tuple[int, str, str]:
    """Wait for a script; return its status, output and errors."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        pytest.fail(f"the script did not end in {seconds} s\n{out}\n{err}")
    return process.returncode, out, err


def kept(tmp_path: Path) -> tuple[int, int]:
    """Count the answers and the open claims in the journal."""
    with sqlite3.connect(tmp_path / "journal.sqlite") as connection:
        counts = tuple(
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("answer", "claim")
        )
    connection.close()
    return counts[0], counts[1]
