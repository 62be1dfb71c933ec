"""Calls by batch, and what becomes of them: in this process, and in one of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import openai
import pytest
from helpers import MODEL, answer

import llmframe
from llmframe.testing import Batches

DAY = 86_400
HANGS = Batches(seconds=DAY)
"""Batches that do not end before the test advances the server's time."""

_CALLER = """
import json, sys
import pandas as pd, llmframe
settings = json.loads(sys.argv[1])
llmframe.options._tuning = llmframe.options._tuning._replace(**settings.pop("tuning"))
frame = pd.DataFrame({"q": settings.pop("rows")})
try:
    frame.llm.complete("q", into="a", mode="batch", **settings)
except KeyboardInterrupt:
    print("interrupted", flush=True)
print(json.dumps(frame["a"].tolist() if "a" in frame else None), flush=True)
"""
_POLLS = {"first_poll_seconds": 0.01, "longest_poll_seconds": 0.05, "first_resubmit_seconds": 0.02}


def complete(frame, **settings):
    """Run a call by batch and return its run."""
    frame.llm.complete("q", into="a", **{"mode": "batch", **settings})
    return llmframe.last_run()


def start(frame, *prompt):
    """Start a call by batch in the background."""
    return frame.llm.complete("q", *prompt, into="a", mode="batch", wait=False)


def right(frame):
    """Tell whether every row has its own answer."""
    return frame["a"].tolist() == [answer(text) for text in frame["q"]]


def api(server):
    """Return the SDK's client of a server."""
    return openai.OpenAI(base_url=server.base_url, api_key="any", max_retries=0)


def sizes(server):
    """Return how many requests each completed batch had, the newest first."""
    return [batch.request_counts.total for batch in api(server).batches.list() if batch.status == "completed"]


def input_files(server):
    """Count the input files that are left in the account."""
    return sum(stored.purpose == "batch" for stored in api(server).files.list())


def until_created(server, batches):
    """Wait until so many batches were created at a server."""
    assert server.ledger.wait_for(lambda ledger: ledger.batches_created >= batches, timeout=60)
    assert server.ledger.batches_created == batches


def until_submitted(run):
    """Wait until a run knows of its batches."""
    deadline = time.monotonic() + 60
    while not run._execution.batches:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def interrupt(run):
    """End a run as Ctrl-C does, once its batch is under way."""
    until_submitted(run)
    run._task.cancel()
    with pytest.raises(llmframe.StoppedError):
        run.result(60)


def use_empty_journal(tmp_path):
    """Let the calls that follow have another journal."""
    llmframe.options.journal = str(tmp_path / "elsewhere.sqlite")


class Caller:
    """A process of its own that makes one call by batch."""

    def __init__(self, server, rows, journal, **tuning):
        settings = {
            "rows": rows, "journal": str(journal), "base_url": server.base_url, "api_key": "any", "model": MODEL,
            "tuning": _POLLS | tuning,
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CALLER, json.dumps(settings)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def rewritten(edit):
    """Return what lets a server send result files whose lines, as JSON, were changed by a function of all of them."""

    def write(content, downloads):
        lines = edit([json.loads(line) for line in content.splitlines()])
        return b"".join(
            line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines
        )

    return Batches(write_file=write)
