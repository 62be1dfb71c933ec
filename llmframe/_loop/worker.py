"""A thread for blocking calls, which pauses during a fork."""

from __future__ import annotations

import os
import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Worker:
    """One daemon thread that runs calls in order, and none during a fork.

    Unlike an executor's thread it runs until the process ends, so that answers can still be written at exit. A fork
    waits for the running call: otherwise SQLite's state in the child's memory would hold a transaction's locks for
    ever.

    Parameters
    ----------
    before_fork
        Called by the forking thread while this thread pauses.
    fork_seconds
        A fork waits at most this long for the running call; -1 waits until the call has ended.
    """

    def __init__(
        self, name: str, *, before_fork: Callable[[], None] | None = None, fork_seconds: float = -1
    ) -> None:
        self.busy = threading.Lock()
        self.before_fork = before_fork
        self.fork_seconds = fork_seconds
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        _workers.append(self)
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Queue a call; the future ends with its result or its exception."""
        future: Future[T] = Future()
        self._calls.put((future, function))
        return future

    def _serve(self) -> None:
        while True:
            future, function = self._calls.get()
            with self.busy:
                if future.set_running_or_notify_cancel():  # the call can no longer be cancelled
                    try:
                        future.set_result(function())
                    except BaseException as error:  # noqa: BLE001 (the caller gets it)
                        future.set_exception(error)
            del future, function


_workers: list[Worker] = []
_paused: list[Worker] = []
_inherited: list[Worker] = []
"""Workers that a forked child must neither use nor close, kept so that they are not collected."""


def _before_fork() -> None:
    _paused[:] = [worker for worker in _workers if worker.busy.acquire(timeout=worker.fork_seconds)]
    for worker in _paused:
        if worker.before_fork is not None:
            worker.before_fork()


def _after_fork_in_parent() -> None:
    for worker in _paused:
        worker.busy.release()


def _after_fork_in_child() -> None:
    _inherited.extend(_workers)
    _workers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
