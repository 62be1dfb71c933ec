"""Displays in the notebook whose cell makes a call: text, HTML that may be updated in place, and short tracebacks.

IPython is not imported: where it is not loaded, no notebook runs.
"""

from __future__ import annotations

import dis
import os
import sys
from asyncio import CancelledError
from contextlib import suppress
from functools import wraps
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

P = ParamSpec("P")
T = TypeVar("T")


_WIDGET = "application/vnd.jupyter.widget-view+json"


def shell() -> Any:
    """Return the IPython shell of this process, or `None`."""
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return None if get_ipython is None else get_ipython()


def in_notebook() -> bool:
    """Return whether this process is a Jupyter kernel; a fork of one cannot display anything."""
    session = getattr(getattr(shell(), "kernel", None), "session", None)
    return session is not None and getattr(session, "pid", None) == os.getpid()


def display(text: str, html: str) -> None:
    """Show a text, and HTML where the front end has it."""
    shell().display_pub.publish({"text/plain": text, "text/html": html}, {})


def has_widgets() -> bool:
    """Return whether `ipywidgets` can be imported."""
    return find_spec("ipywidgets") is not None


def updatable() -> Callable[..., None]:
    """Return a function like `display` whose later calls replace what the first one showed.

    It also takes a widget's id, which a front end with widgets shows instead.
    """
    transient = {"display_id": uuid4().hex}
    shown: list[bool] = []

    def show(text: str, html: str, widget: str | None = None) -> None:
        data: dict[str, Any] = {"text/plain": text, "text/html": html}
        if widget is not None:
            data[_WIDGET] = {"version_major": 2, "version_minor": 0, "model_id": widget}
        shell().display_pub.publish(data, {}, transient=transient, update=bool(shown))
        shown[:] = [True]

    return show


class ShortTraceback:
    """Let the errors that leave a block or function end, as IPython shows them, at the caller's line: llmframe's frames are left out.

    They are left out of what is shown only: debuggers and programs find them all.
    """

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def within(*arguments: P.args, **keywords: P.kwargs) -> T:
            with self:
                return function(*arguments, **keywords)

        return within

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None and shell() is not None:
            with suppress(AttributeError):  # an error without attributes of its own
                error._render_traceback_ = _render_last_error  # type: ignore[attr-defined]


def _render_last_error() -> list[str]:
    """Render the error that IPython is about to show; it can be pickled, as what knew the error could not."""
    error: Any = sys.last_value
    shown = _shown_frames(error)
    cause, suppressed = error.__cause__, error.__suppress_context__
    if shown is not None:
        error.__cause__ = None
    traceback = error.__traceback__ if shown is None else _traceback_of(shown)
    try:
        return list(shell().InteractiveTB.structured_traceback(type(error), error, traceback))
    finally:
        error.__cause__, error.__suppress_context__ = cause, suppressed


def _shown_frames(error: BaseException) -> list[TracebackType] | None:
    """Return the frames that tell the user where to look; `None` for all of them, since what is none of these may be a bug.

    They end before the first frame of llmframe, where llmframe raised the error or an interrupt ended its waiting, and go
    on after its last one, where a function of the user's raised it.
    """
    frames = list(_frames(error.__traceback__))
    own = [number for number, frame in enumerate(frames) if _is_ours(frame)]
    if not own:
        return None
    before, within = frames[: own[0]], frames[own[-1] + 1 :]
    if isinstance(error, KeyboardInterrupt | CancelledError) or (not within and _raises(frames[-1])):
        return before
    return [*before, *within] if not all(map(_is_library, within)) else None


def _frames(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _is_ours(frame: TracebackType) -> bool:
    return str(frame.tb_frame.f_globals.get("__name__")).partition(".")[0] == "llmframe"


def _is_library(frame: TracebackType) -> bool:
    return frame.tb_frame.f_code.co_filename.startswith((sys.prefix, sys.base_prefix))


def _raises(frame: TracebackType) -> bool:
    """Return whether a frame is at a `raise`, and not at an operation that failed."""
    return frame.tb_frame.f_code.co_code[frame.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def _traceback_of(frames: Sequence[TracebackType]) -> TracebackType | None:
    traceback = None
    for frame in reversed(frames):
        traceback = TracebackType(traceback, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return traceback
