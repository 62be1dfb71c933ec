"""Displays in the notebook whose cell makes a call: text, and HTML that may be updated in place.

IPython is not imported: where it is not loaded, no notebook runs.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Callable


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


def updatable() -> Callable[[str, str], None]:
    """Return a function like `display` whose later calls replace what the first one showed."""
    transient = {"display_id": uuid4().hex}
    shown: list[bool] = []

    def show(text: str, html: str) -> None:
        data = {"text/plain": text, "text/html": html}
        shell().display_pub.publish(data, {}, transient=transient, update=bool(shown))
        shown[:] = [True]

    return show
