"""The suite itself, started in the background: where a shell has told it to ignore Ctrl-C, its tests still end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

IGNORING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *sys.argv[1:]])
"""
TEST = "end_to_end/test_broken_pipes.py::test_ctrl_c_ends_a_call_whose_pipe_nobody_reads[closed_pipe]"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="shells of POSIX ignore SIGINT in the background")
def test_programs_that_tests_start_take_ctrl_c_though_the_suite_ignores_it():
    command = [sys.executable, "-c", IGNORING, TEST]
    done = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
