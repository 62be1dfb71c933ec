"""Calls that wait, and interrupts for them."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pandas as pd

import llmframe

if TYPE_CHECKING:
    from llmframe.testing import LocalServer

PATIENCE = 30.0
"""Seconds until a test gives up waiting, on a machine that is busy with other things."""


def wait_until_silent(server: LocalServer, answered: int, in_flight: int) -> None:
    """Wait until the newest run has its answers and the rest hangs."""
    assert server.ledger.wait_for(
        lambda ledger: ledger.answered == answered and ledger.in_flight >= in_flight, PATIENCE
    )
    deadline = time.monotonic() + PATIENCE
    while llmframe.last_run().answered < answered:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def reviews(rows: int = 20) -> pd.DataFrame:
    return pd.DataFrame({"review": [f"review {number}" for number in range(rows)]})


def press_when_silent(
    server: LocalServer, answered: int, in_flight: int, *seconds: float
) -> threading.Thread:
    """Send this process SIGINT when the newest run has its answers and the rest hangs, and again after `seconds`."""

    def wait_and_press() -> None:
        wait_until_silent(server, answered, in_flight)
        press(0.0, *seconds)

    thread = threading.Thread(target=wait_and_press)
    thread.start()
    return thread


def press(*seconds: float) -> None:
    """Send this process SIGINT after so many seconds each."""
    for later in seconds:
        threading.Timer(later, os.kill, (os.getpid(), signal.SIGINT)).start()
