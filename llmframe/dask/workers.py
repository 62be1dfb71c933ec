"""Tasks on the workers of `distributed`: which of them are released, and on which machines they run."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from distributed import WorkerPlugin, get_worker, secede
from distributed.comm import get_address_host
from distributed.utils import sync
from distributed.worker import thread_state

from llmframe._errors import keep_own_pickling
from llmframe.dask.wanted import Wanted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Worker

keep_own_pickling()
_PLUGIN = "llmframe"
_lock = threading.Lock()


class _Releases(WorkerPlugin):  # type: ignore[misc]  # distributed has no types
    """Tells the partitions of a worker that their tasks were released."""

    def __init__(self) -> None:
        self.tasks: dict[Any, Task] = {}

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        if start in {"executing", "long-running"} and finish == "released" and key in self.tasks:
            self.tasks[key].wanted.end()


class _WantedTask(Wanted):
    """A task's partition, which a later computation may want again before its run has ended."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task = task

    def is_wanted_again(self) -> bool:
        if self.ended and not self._task.is_released:
            self.ended = False
            return True
        return False


class Task:
    """The task of a worker that this thread executes."""

    def __init__(self, worker: Worker, key: Any) -> None:
        self.key = key
        self.wanted: Wanted = _WantedTask(self)
        self._worker = worker

    @property
    def is_released(self) -> bool:
        state = self._worker.state.tasks.get(self.key)
        return state is None or state.state not in {"executing", "long-running"}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """End what is wanted in the block when the task is released."""
        releases = self._releases()
        releases.tasks[self.key] = self
        if self.is_released:
            self.wanted.end()
        try:
            yield
        finally:
            del releases.tasks[self.key]

    def _releases(self) -> _Releases:
        with _lock:
            found = self._worker.plugins.get(_PLUGIN)
            if found is None:
                found = _Releases()
                sync(self._worker.loop, self._worker.plugin_add, plugin=found, name=_PLUGIN)
            releases: _Releases = found
            return releases

    def secede(self) -> None:
        """Let the worker's thread begin another task."""
        secede()

    def hosts(self) -> set[str]:
        """Return the machines that the workers are on, by address."""
        known = sync(self._worker.loop, self._worker.scheduler.identity)
        return {get_address_host(address) for address in known["workers"]}


def current_task() -> Task | None:
    """Return the task that this thread executes; `None` where it is no worker's."""
    try:
        worker = get_worker()
    except ValueError:
        return None
    return Task(worker, thread_state.key)
