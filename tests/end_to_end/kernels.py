"""A real Jupyter kernel to send cells to, and everything that it said, by cell."""

from __future__ import annotations

import os
import queue
import re
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from jupyter_client.manager import KernelManager

if TYPE_CHECKING:
    from pathlib import Path

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CELL_SECONDS = 30.0
"""How long a cell may take before a test gives up on it."""


@dataclass
class Cell:
    """One execute request and its messages, oldest first."""

    id: str
    messages: list[dict[str, Any]] = field(default_factory=list)
    reply: dict[str, Any] | None = None
    replied: float = 0.0
    """When the reply came, in seconds of `time.monotonic`."""
    idle: bool = False

    @property
    def ended(self) -> bool:
        return self.reply is not None and self.idle

    @property
    def status(self) -> str:
        assert self.reply is not None
        return str(self.reply["content"]["status"])

    @property
    def error(self) -> str | None:
        assert self.reply is not None
        content = self.reply["content"]
        return f"{content['ename']}: {content['evalue']}" if "ename" in content else None

    def text(self, name: str) -> str:
        """What was written to `stdout` or `stderr` in this cell."""
        return "".join(
            message["content"]["text"]
            for message in self.messages
            if message["msg_type"] == "stream" and message["content"]["name"] == name
        )

    @property
    def out(self) -> str:
        return self.text("stdout")

    @property
    def err(self) -> str:
        return self.text("stderr")

    def shown(self, kind: str) -> list[dict[str, str]]:
        """What was displayed in this cell: "display_data", "update_display_data" or "execute_result"."""
        return [message["content"]["data"] for message in self.messages if message["msg_type"] == kind]

    @property
    def said(self) -> str:
        """The lines that were displayed, without the bars."""
        texts = [data["text/plain"] for data in self.shown("display_data")]
        return "\n".join(text for text in texts if "%|" not in text)

    @property
    def bar_values(self) -> list[float]:
        """The values that a widget bar took before the cell's reply, by the kernel's own clock."""
        assert self.reply is not None
        before = _date(self.reply)
        return [
            message["content"]["data"]["state"]["value"]
            for message in self.messages
            if message["msg_type"] == "comm_msg"
            and isinstance(message["content"]["data"].get("state", {}).get("value"), int | float)
            and _date(message) <= before
        ]

    @property
    def traceback(self) -> str:
        """The traceback of the cell's error, without colours."""
        assert self.reply is not None
        return _COLOUR.sub("", "\n".join(self.reply["content"]["traceback"]))

    def check(self) -> Self:
        """Fail with the cell's traceback unless it succeeded."""
        if self.status != "ok":
            assert self.reply is not None
            raise AssertionError(
                f"{self.status} {self.error}\n" + "\n".join(self.reply["content"].get("traceback", []))
            )
        return self


def _date(message: dict[str, Any]) -> datetime:
    date = message["header"]["date"]
    return date if isinstance(date, datetime) else datetime.fromisoformat(date)


class Kernel:
    """A kernel process of its own; as a context manager it runs for the length of the block."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.cells: dict[str, Cell] = {}
        self._directory = directory
        self._environment = environment
        self._manager = KernelManager()
        self._client: Any = None

    def __enter__(self) -> Self:
        # ipykernel behaves otherwise when it thinks that pytest captures it.
        env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTEST", "OPENAI", "LLMFRAME"))
        }
        self._manager.start_kernel(cwd=str(self._directory), env={**env, **self._environment})
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=CELL_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._manager.cleanup_resources()

    def send(self, code: str) -> Cell:
        """Queue a cell, as "Run All" does."""
        identifier = self._client.execute(code, stop_on_error=True)
        return self.cells.setdefault(identifier, Cell(identifier))

    def run(self, code: str) -> Cell:
        """Run a cell to its end; it must succeed."""
        return self.wait(self.send(code))[0].check()

    def wait(self, *cells: Cell, seconds: float = CELL_SECONDS) -> tuple[Cell, ...]:
        """Wait until these cells have been answered and all that they said is here."""
        deadline = time.monotonic() + seconds
        while not all(cell.ended for cell in cells):
            if time.monotonic() > deadline:
                said = "\n".join(f"{cell.reply} {cell.err[-2000:]} {cell.out[-2000:]}" for cell in cells)
                raise TimeoutError(f"cells that did not end in {seconds} s: {said}")
            self._receive()
        return cells

    def _receive(self) -> None:
        for reply in _all(self._client.shell_channel):
            cell = self._cell(reply)
            cell.reply, cell.replied = reply, time.monotonic()
        for message in _all(self._client.iopub_channel, seconds=0.01):
            cell = self._cell(message)
            cell.messages.append(message)
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                cell.idle = True

    def _cell(self, message: dict[str, Any]) -> Cell:
        identifier = message["parent_header"].get("msg_id", "")
        return self.cells.setdefault(identifier, Cell(identifier))

    def complete(self, code: str) -> list[str]:
        """Press Tab after this code."""
        return self._client.complete(code, reply=True, timeout=CELL_SECONDS)["content"]["matches"]

    def inspect(self, code: str) -> str:
        """Press Shift-Tab after this code."""
        found = self._client.inspect(code, reply=True, timeout=CELL_SECONDS)["content"]
        return found["data"]["text/plain"]

    def interrupt(self) -> float:
        """Press the stop button; return when, in seconds of `time.monotonic`."""
        pressed = time.monotonic()
        self._manager.interrupt_kernel()
        return pressed


def _all(channel: Any, seconds: float = 0.0) -> list[dict[str, Any]]:
    messages = []
    try:
        while True:
            messages.append(channel.get_msg(timeout=seconds))
    except queue.Empty:
        return messages
