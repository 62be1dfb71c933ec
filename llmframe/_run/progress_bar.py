"""The progress bar of a run and lines beside it: displays in a notebook, text elsewhere.

All is written by the display's thread. The bar is tqdm's: a widget in a notebook, at whose end a still bar takes its place, so
that what is saved is how the run ended; without `ipywidgets` the still bar is drawn from the start. tqdm keeps its lock when a
drawing raises, and the lock may be held for ever by a broken bar of the user's: it is waited for briefly, taken around each
call of tqdm and released in any case.
"""

from __future__ import annotations

import asyncio
import errno
import io
import logging
import os
import select
import sys
import threading
import time
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

from llmframe._errors import short
from llmframe._loop import beside, encodable, log, notebook, show, until_shown
from llmframe._run import card
from llmframe._run.card import duration
from llmframe._run.money import dollars

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

_REFRESH_SECONDS = 0.2
_REFRESH_SECONDS_IN_A_LOG = 5.0

_LOCK_SECONDS = 0.25
"""tqdm's lock is waited for at most this long; a drawing is left out, and a line is written without it."""

_locked: list[Any] = []
"""The parts of tqdm's lock that the display's thread holds."""
_drawn: list[Any] = []
"""The open bars, of tqdm's classes."""


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
    cap: float = inf
    """US dollars that the run may spend."""

    def describe(self) -> str:
        """Return a short text beside the bar."""
        parts = [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.in_flight} in flight"] if self.in_flight else []
        cap = f" of {dollars(self.cap)}" if self.cap < inf else ""
        parts += [dollars(self.cost or 0.0, self.unpriced) + cap] if self.cost or cap else []
        return ", ".join([*parts, *([self.waiting] if self.waiting else [])])


@asynccontextmanager
async def progress_bar(title: str, total: int, progress: Callable[[], Progress]) -> AsyncIterator[None]:
    """Show a bar during a block. An error of the bar is logged, and does not end the run."""
    bar: _Bar | _StillBar
    if notebook.in_notebook():
        bar = _WidgetBar(title, total) if notebook.has_widgets() else _StillBar(title, total)
    elif sys.stderr is not None:
        bar = _Bar(title, total)
    else:  # under pythonw
        yield
        return
    async with beside(_show_or_log(bar, progress)):
        yield


async def _show_or_log(bar: _Bar | _StillBar, progress: Callable[[], Progress]) -> None:
    try:
        await _show(bar, progress)
    except Exception:  # noqa: BLE001 (a bug in the numbers of a run costs no row)
        log(logging.ERROR, "The progress bar was given up.", exc_info=True)
        show(bar.give_up)


async def _show(bar: _Bar | _StillBar, progress: Callable[[], Progress]) -> None:
    """Show a bar until cancelled; finally it shows how the run ended. While a drawing takes long, others are left out."""
    seconds = _REFRESH_SECONDS if _is_watched() else _REFRESH_SECONDS_IN_A_LOG
    drawn = show(partial(bar.draw, progress()))
    try:
        while True:
            await asyncio.sleep(seconds)
            if drawn.done():
                drawn = show(partial(bar.draw, progress()))
    finally:
        show(partial(bar.draw, replace(progress(), waiting=""), last=True))
        await until_shown()


_TITLE_COLUMNS = (12, 32)
"""A title has at least and at most this many columns."""
_BAR_COLUMNS = 10
"""The bar itself has at least this many columns; what goes over the terminal's width is cut at the end."""


class _StillBar:
    """A bar of HTML that each drawing replaces, and that is given up when a drawing raises."""

    def __init__(self, title: str, total: int) -> None:
        self._title = title
        self._total = total
        self._display = notebook.updatable()
        self._began = time.monotonic()
        self._open = True

    def draw(self, progress: Progress, *, last: bool = False, widget: str | None = None) -> None:
        """Draw the bar; with `last`, for the last time. A widget, by its id, is shown instead where the front end can."""
        if not self._open:
            return
        self._open = False
        share = progress.done / self._total
        numbers = self._numbers(progress, last=last)
        text = f"{short(self._title, 60)}: {share:4.0%}|{'█' * int(10 * share):10}| {numbers}"
        html = card.progress(self._title, share, numbers, failed=progress.failed > 0, last=last)
        self._display(text, html, widget)
        self._open = not last

    def _numbers(self, progress: Progress, *, last: bool) -> str:
        parts = [f"{progress.done:,}/{self._total:,} rows"]
        rate = progress.done / max(time.monotonic() - self._began, 0.001)
        if rate:
            parts.append(f"{rate:,.0f} rows/s" if rate >= 1 else f"{60 * rate:,.1f} rows/min")
            parts += [] if last else [f"{duration((self._total - progress.done) / rate)} left"]
        return " · ".join([*parts, *filter(None, [progress.describe()])])

    def give_up(self) -> None:
        """Draw no more."""
        self._open = False


class _Bar:
    """A bar of tqdm's, made by its first drawing, and given up when a drawing raises."""

    _options: ClassVar[dict[str, Any]] = {}

    def __init__(self, title: str, total: int) -> None:
        self._title = title
        self._total = total
        self._bar: Any = None
        self._open = True

    def draw(self, progress: Progress, *, last: bool = False) -> None:
        """Draw the bar, unless tqdm's lock is not to be had; with `last`, close it."""
        if not self._open:
            return
        self._open = False
        try:
            _wait_for_reader(sys.stderr)
            with _tqdm_lock() as locked:
                if locked:
                    self._draw(progress, last=last)
            self._open = not last
        finally:
            if not self._open:
                self.give_up()

    def _draw(self, progress: Progress, *, last: bool) -> None:
        if self._bar is None:
            kind = _bar_class(self._tqdm())
            self._bar = kind.__new__(kind)  # in two steps, because the second draws and may raise
            _drawn.append(self._bar)
            title = self._shown_title(_TITLE_COLUMNS[1])
            self._bar.__init__(total=self._total, desc=title, unit="row", mininterval=0, **self._options)
        self._bar.n = progress.done
        self._bar.set_postfix_str(encodable(progress.describe(), sys.stderr), refresh=False)
        if self._bar.ncols:
            self._fit(self._bar.ncols)
        if progress.failed and _is_watched():
            self._bar.colour = "red"
        self._bar.refresh(nolock=True)
        if last:
            self._bar.close()

    def _tqdm(self) -> Any:
        return _tqdm()

    def _shown_title(self, columns: int) -> str:
        return encodable(short(self._title, columns), sys.stderr)

    def _fit(self, columns: int) -> None:
        """Let the title leave room for the bar in a terminal of this width."""
        without = {"prefix": "", "ncols": 0, "bar_format": None}
        room = columns - len(self._bar.format_meter(**{**self._bar.format_dict, **without})) - len(": |")
        shortest, longest = _TITLE_COLUMNS
        title = self._shown_title(min(longest, max(shortest, room - _BAR_COLUMNS)))
        self._bar.set_description_str(f"{title}: ", refresh=False)
        fits = room - len(title) >= _BAR_COLUMNS
        self._bar.bar_format = None if fits else f"{{l_bar}}{{bar:{_BAR_COLUMNS}}}{{r_bar}}"

    def give_up(self) -> None:
        """Take the bar from those that tqdm draws again around lines."""
        self._open = False
        if self._bar is not None:
            self._bar.disable = True
            _drawn.remove(self._bar)
            with _tqdm_lock() as locked:
                if locked:
                    self._bar._instances.discard(self._bar)
            self._bar = None


class _WidgetBar(_Bar):
    """tqdm's widget; at the end a still bar takes its place."""

    _options: ClassVar[dict[str, Any]] = {"display": False}

    def __init__(self, title: str, total: int) -> None:
        super().__init__(title, total)
        self._still = _StillBar(title, total)

    def _draw(self, progress: Progress, *, last: bool) -> None:
        first = self._bar is None
        super()._draw(progress, last=last)
        if first:
            self._still.draw(progress, widget=self._bar.container.model_id)
        if last:
            self._still.draw(progress, last=True)
            self._bar.container.close()

    def _tqdm(self) -> Any:
        from tqdm.notebook import tqdm  # noqa: PLC0415 (kept out of `import llmframe`)

        return tqdm


def _tqdm() -> Any:
    """Return the class of tqdm's that suits the terminal; in a fork of a notebook's process the one for text."""
    if notebook.shell() is not None:
        from tqdm.std import tqdm  # noqa: PLC0415 (kept out of `import llmframe`)
    else:
        from tqdm.auto import tqdm  # noqa: PLC0415
    return tqdm


def _bar_class(kind: Any) -> Any:
    class Bar(kind):  # type: ignore[misc]
        _lock = threading.RLock()  # tqdm's own is taken around each call
        monitor_interval = 0

        def __del__(self) -> None:
            """Draw nothing; tqdm closes, and so draws, a bar that was given up."""

    return Bar


def _is_watched() -> bool:
    try:
        return notebook.in_notebook() or sys.stderr.isatty()
    except Exception:  # noqa: BLE001 (whatever stands in for stderr; a closed one raises too)
        return False


def say(line: str) -> None:
    """Show one line without breaking a bar; `wait_until_shown` waits for it. In a notebook it needs no "llmframe: "."""
    show(partial(_write, line))


def _write(line: str) -> None:
    if notebook.in_notebook():
        text = line.removeprefix("llmframe: ")
        notebook.display(text, card.line(text))
        return
    from tqdm.std import tqdm  # noqa: PLC0415

    if sys.stderr is None:
        return
    _wait_for_reader(sys.stderr)
    text = encodable(line, sys.stderr)
    with _tqdm_lock() as locked:
        if locked:
            tqdm.write(text, file=sys.stderr, nolock=True)
        else:
            sys.stderr.write(f"{text}\n")


@contextmanager
def _tqdm_lock() -> Iterator[bool]:
    """Hold the lock of tqdm's bars, which may consist of two; yield whether it was to be had in time."""
    from tqdm import std  # noqa: PLC0415

    lock = getattr(_tqdm(), "_lock", std.TqdmDefaultWriteLock.th_lock)  # type: ignore[attr-defined]
    with ExitStack() as held:
        yield all(_acquired(part, held) for part in getattr(lock, "locks", [lock]))


def _acquired(lock: Any, held: ExitStack) -> bool:
    acquired = lock.acquire(True, _LOCK_SECONDS) is not False
    if acquired:
        _locked.append(lock)
        held.callback(_locked.remove, lock)
        held.callback(lock.release)
    return acquired


def _wait_for_reader(stream: Any) -> None:
    """Wait until a pipe or terminal takes a text, outside of all locks; raise where nobody will read it.

    What Python has taken for such a pipe it tries to write again when it exits, and then hangs, or exits with status 120.
    """
    if isinstance(stream, io.TextIOWrapper) and hasattr(select, "poll"):
        with suppress(io.UnsupportedOperation):  # it is no file
            poll = select.poll()
            poll.register(stream.fileno(), select.POLLOUT)
            if any(event & select.POLLERR for _, event in poll.poll()):
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def _after_fork() -> None:
    """Forget the parent's bars in the child, and the lock where the display's thread held it: nobody releases it there."""
    if _locked or _drawn:
        from tqdm import std  # noqa: PLC0415 (imported already)

        for bar in _drawn:
            bar.disable = True
            std.tqdm._instances.discard(bar)  # type: ignore[attr-defined]
        for kind in (_tqdm(), std.tqdm) if _locked else ():  # each may have its own lock
            kind.set_lock(threading.RLock())
        _locked.clear()
        _drawn.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
