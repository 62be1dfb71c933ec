"""The local server as its own program."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

from llmframe.testing._server.local_server import LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve(port: int = 8000, *, ready: Callable[[str], None] | None = None, **settings: Any) -> None:
    """Run a local server until SIGINT or SIGTERM; call it from the main thread.

    Parameters
    ----------
    port
        The port; 0 takes a free one.
    ready
        Called with the server's `base_url` when it listens.
    **settings
        As for `LocalServer`.

    Raises
    ------
    OSError
        If the port is taken.
    """
    ended = threading.Event()
    before = {number: signal.signal(number, lambda *_: ended.set()) for number in _SIGNALS}
    try:
        with LocalServer(port=port, **settings) as server:
            if ready is not None:
                ready(server.base_url)
            # On Windows, Ctrl-C does not interrupt a wait without a timeout.
            while not ended.wait(0.5):
                pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
