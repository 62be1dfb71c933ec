"""Scripts and commands whose stderr or stdout nobody reads, as under `2>&1 | head -1`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pandas as pd
import pytest
from end_to_end.scripts import PATIENCE, PREAMBLE

import llmframe
from llmframe.testing import Fault

pytestmark = pytest.mark.slow


ROWS = 20
ASK = """
df = df.head(20)
try:
    df.llm.complete("review", into="answer")
finally:
    Path("answered").write_text(str(df["answer"].notna().sum()))
"""


@contextmanager
def closed_pipe():
    """Give the end of a pipe whose other end is closed."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@contextmanager
def full_pipe():
    """Give the end of a pipe that is full, and is not read."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, bytes(4096))
    except BlockingIOError:
        os.set_blocking(writing, True)
    yield writing
    os.close(writing)
    os.close(reading)


@pytest.fixture
def start(tmp_path, server):
    """Give a function that starts Python with arguments and with these streams, in the test's folder."""
    environment = {
        **os.environ,
        "OPENAI_BASE_URL": server.base_url,
        "OPENAI_API_KEY": "any",
        "LLMFRAME_MODEL": "gpt-6-luna",
    }
    environment.pop(
        "PYTHONUNBUFFERED", None
    )  # which hides what Python does with text that it could not write
    started = []

    def start(*arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, more=None):
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=stdout,
            stderr=stderr,
            env={**environment, **(more or {})},
            cwd=tmp_path,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def script(tmp_path, body):
    path = tmp_path / "script.py"
    path.write_text(f"from pathlib import Path\n{PREAMBLE}\n{body}")
    return str(path)


def answered(tmp_path):
    return int((tmp_path / "answered").read_text())


@pytest.mark.parametrize("pipe", [closed_pipe, full_pipe])
@pytest.mark.parametrize("streams", [("stderr",), ("stderr", "stdout")], ids="+".join)
def test_a_script_whose_pipe_nobody_reads_ends_well(start, tmp_path, pipe, streams):
    """Its column is whole and its status 0: nothing of ours is left for Python to write as it exits."""
    with pipe() as end:
        process = start("-W", "error", script(tmp_path, ASK), **dict.fromkeys(streams, end))
        assert process.wait(PATIENCE) == 0
    assert answered(tmp_path) == ROWS


@pytest.mark.parametrize("pipe", [closed_pipe, full_pipe])
def test_ctrl_c_ends_a_call_whose_pipe_nobody_reads(start, tmp_path, server, pipe):
    server.faults = [Fault("hang", after=10)]
    caught = f"""
try:
    {ASK.replace(chr(10), chr(10) + "    ")}
except KeyboardInterrupt:
    sys.exit(3)
"""
    with pipe() as end:
        process = start(script(tmp_path, caught), stderr=end)
        assert server.ledger.wait_for(
            lambda ledger: ledger.answered >= 10 and ledger.in_flight >= 5, timeout=PATIENCE
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 3
    assert answered(tmp_path) > 0


def test_ctrl_c_ends_a_call_beside_a_broken_bar_of_the_users(start, tmp_path, server):
    """Neither the run nor its end waits for tqdm's lock."""
    server.faults = [Fault("hang", after=10)]
    broken = f"""
from tqdm import tqdm
threading.Thread(target=lambda: (tqdm.get_lock().acquire(), time.sleep(3600)), daemon=True).start()
try:
    {ASK.replace(chr(10), chr(10) + "    ")}
except KeyboardInterrupt:
    sys.exit(3)
"""
    process = start(script(tmp_path, broken))
    assert server.ledger.wait_for(
        lambda ledger: ledger.answered >= 10 and ledger.in_flight >= 5, timeout=PATIENCE
    )
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 3
    assert answered(tmp_path) > 0


def test_a_child_that_was_forked_while_a_drawing_hung_draws_for_itself(start, tmp_path):
    """The display's thread holds tqdm's lock in the parent; the child has neither the thread nor the lock."""
    body = f"""
import io, tqdm, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on, of a fork beside threads: it would be written too
drawing, go = threading.Event(), threading.Event()
class Hung(io.StringIO):
    def write(self, text):
        drawing.set()
        go.wait()
sys.stderr = Hung()
run = df.head(20).llm.complete("review", into="answer", wait=False)
drawing.wait()
child = os.fork()
if not child:
    sys.stderr = io.StringIO()
    list(tqdm.tqdm(range(3)))
    {ASK.replace(chr(10), chr(10) + "    ")}
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
go.set()
assert run.result()["answer"].notna().all()
"""
    assert start(script(tmp_path, body)).wait(2 * PATIENCE) == 0
    assert answered(tmp_path) == ROWS


@pytest.fixture
def source(tmp_path):
    pd.DataFrame({"review": [f"review {number}" for number in range(ROWS)]}).to_csv(
        tmp_path / "in.csv", index=False
    )


COMPLETE = ("-m", "llmframe", "complete", "in.csv", "out.csv", "--column", "review", "--into", "answer")


@pytest.mark.parametrize("mode", ["live", "batch"])
@pytest.mark.parametrize("streams", [("stderr",), ("stdout",), ("stderr", "stdout")], ids="+".join)
def test_a_command_writes_its_file_whoever_reads(start, source, tmp_path, streams, mode):
    with closed_pipe() as end:
        process = start(*COMPLETE, "--mode", mode, **dict.fromkeys(streams, end))
        assert process.wait(2 * PATIENCE) == 0
    assert llmframe.read_csv(tmp_path / "out.csv")["answer"].notna().all()


def test_a_command_writes_a_file_whose_name_stdout_lacks(start, source, tmp_path):
    """Its name is printed with escapes."""
    command = [*COMPLETE[:4], "名前.csv", *COMPLETE[5:]]
    process = start(*command, stdout=subprocess.PIPE, more={"PYTHONIOENCODING": "cp1252:strict"})
    assert b"\\u540d\\u524d.csv" in process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0
    assert llmframe.read_csv(tmp_path / "名前.csv")["answer"].notna().all()


def test_a_command_whose_failed_rows_cannot_be_said_writes_the_others(start, source, server, tmp_path):
    """Its status still says that rows failed."""
    server.faults = [Fault("context_length_exceeded", when=lambda body: "review 7" in str(body["messages"]))]
    with closed_pipe() as end:
        assert start(*COMPLETE, stderr=end).wait(PATIENCE) == 1
    assert llmframe.read_csv(tmp_path / "out.csv")["answer"].notna().sum() == ROWS - 1


def test_a_command_under_w_error_writes_its_file(start, source, server, tmp_path):
    """The warning is the error that it is to be: its status says that rows failed."""
    server.faults = [Fault("context_length_exceeded", when=lambda body: "review 7" in str(body["messages"]))]
    process = start("-W", "error::UserWarning", *COMPLETE, "--errors", "coerce", stderr=subprocess.PIPE)
    assert b"1 of 20 rows failed" in process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 1
    assert llmframe.read_csv(tmp_path / "out.csv")["answer"].notna().sum() == ROWS - 1


@pytest.mark.parametrize("arguments", [["--help"], ["batches"], ["complete", "none.csv", "out.csv"]])
def test_a_command_that_prints_for_nobody_has_the_status_that_it_has_anyway(start, arguments):
    with closed_pipe() as end:
        unread = start("-m", "llmframe", *arguments, stdout=end, stderr=end).wait(PATIENCE)
    assert unread == start("-m", "llmframe", *arguments).wait(PATIENCE)
