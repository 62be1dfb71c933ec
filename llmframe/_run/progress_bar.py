"""The progress bar of a run and lines beside it: a widget in a notebook, text elsewhere."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmframe._loop import beside

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_log = logging.getLogger("llmframe")

_REFRESH_SECONDS = 0.2
_REFRESH_SECONDS_IN_A_LOG = 5.0

_shown: list[str] = []
"""The titles of the open bars."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run, in rows."""

    done: int
    failed: int
    in_flight: int
    cost: float | None
    waiting: str = ""
    """What the run waits for, other than answers."""
    unpriced: int = 0
    """Paid answers that `cost` leaves out."""

    def describe(self) -> str:
        """Return a short text beside the bar."""
        parts = [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.in_flight} in flight"] if self.in_flight else []
        parts += [dollars(self.cost, self.unpriced)] if self.cost else []
        return ", ".join([*parts, *([self.waiting] if self.waiting else [])])


def dollars(amount: float, unpriced: int = 0) -> str:
    """Return US dollars as text, with more digits for small amounts; `unpriced` answers are not part of them."""
    exact = f"${amount:,.2f}" if amount >= 1 else f"${amount:.4f}"
    return f"at least {exact}" if unpriced else exact


@asynccontextmanager
async def progress_bar(title: str, total: int, progress: Callable[[], Progress]) -> AsyncIterator[None]:
    """Show a bar during a block. An error of the bar is logged, and does not end the run."""
    async with beside(_show_or_log(title, total, progress)):
        yield


async def _show_or_log(title: str, total: int, progress: Callable[[], Progress]) -> None:
    try:
        await _show(title, total, progress)
    except Exception:  # noqa: BLE001 (anything that a terminal or a widget raises)
        _log.exception("The progress bar was given up.")


async def _show(title: str, total: int, progress: Callable[[], Progress]) -> None:
    """Show a bar until cancelled; finally it shows how the run ended."""
    from tqdm.auto import tqdm  # noqa: PLC0415 (kept out of `import llmframe`)

    seconds = _REFRESH_SECONDS if _is_watched() else _REFRESH_SECONDS_IN_A_LOG
    _shown.append(title)
    try:
        with closing(tqdm(total=total, desc=title, unit="row", mininterval=0)) as bar:
            try:
                while True:
                    _draw(bar, progress())
                    await asyncio.sleep(seconds)
            finally:
                _draw(bar, progress())
    finally:
        _shown.remove(title)


def _draw(bar: Any, progress: Progress) -> None:
    bar.n = progress.done
    bar.set_postfix_str(progress.describe(), refresh=False)
    bar.refresh()


def _is_watched() -> bool:
    return "ipykernel" in sys.modules or sys.stderr.isatty()


def say(line: str) -> None:
    """Print one line for the user without breaking a bar."""
    from tqdm import tqdm  # noqa: PLC0415

    tqdm.write(line, file=sys.stderr)


def _after_fork() -> None:
    """Give a child that was forked while a bar was open its own locks.

    The inherited lock may be held by a thread that does not exist in the child; and the child would never
    release tqdm's lock between processes.
    """
    if _shown:
        from tqdm import auto, std  # noqa: PLC0415 (imported already)

        for kind in (auto.tqdm, std.tqdm):  # each may have its own lock
            kind.set_lock(threading.RLock())
        _shown.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
