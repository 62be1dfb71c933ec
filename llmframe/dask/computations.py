"""The computations of Dask's own schedulers, in threads and pools of processes: how their end reaches each partition.

The process that computes is told of the end by Dask's callbacks. The partitions in its threads are known there; those in
other processes each hold a connection to it.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections import defaultdict
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from dask.callbacks import Callback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from multiprocessing.connection import Connection

    from llmframe.dask.wanted import Wanted


@dataclass(frozen=True)
class Origin:
    """Where a call came from: how its process is reached, and the submission with which it travelled."""

    address: str
    authkey: bytes = field(repr=False)
    submission: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Cancellable:
    """What travels to the partitions and is cancelled there."""

    name: str = field(default_factory=lambda: uuid4().hex)
    origin: Origin | None = None
    """`None` in the process where the call was made."""

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"origin": self.origin or _computations.origin(self.name)}


class _Computations:
    """The partitions that this process's computations ask, here and in its pools."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: defaultdict[str, set[Callable[[], object]]] = defaultdict(set)
        self._ended: set[str] = set()
        self._origin: Origin | None = None
        self.callback = Callback(finish=self._finished)

    def listen_to_dask(self) -> None:
        self.callback.register()

    @contextmanager
    def asking(self, name: str, end: Callable[[], object]) -> Iterator[None]:
        """Call `end` in the block when a computation with the call of this name ends without a result."""
        with self._lock:
            self._ends[name].add(end)
        try:
            yield
        finally:
            with self._lock:
                self._ends[name].discard(end)

    def _finished(self, dsk: Mapping[Any, Any], state: Any, errored: bool) -> None:  # noqa: ARG002
        if not errored:
            return
        names = _names_in(dsk)
        with self._lock:
            self._ended |= names
            ends = [end for name in names for end in self._ends[name]]
        for end in ends:
            end()

    def origin(self, name: str) -> Origin:
        """Return how pools of this process reach it, for one submission of a call, which is wanted from now on."""
        with self._lock:
            self._ended.discard(name)
            if self._origin is None:
                authkey = secrets.token_bytes(32)
                listener = Listener(authkey=authkey)
                self._origin = Origin(str(listener.address), authkey, "")
                threading.Thread(
                    target=self._accept, args=(listener,), name="llmframe-dask", daemon=True
                ).start()
            return replace(self._origin, submission=uuid4().hex)

    def _accept(self, listener: Listener) -> None:
        while True:
            with suppress(OSError, EOFError, AuthenticationError):
                connection = listener.accept()
                threading.Thread(
                    target=self._serve, args=(connection,), name="llmframe-dask", daemon=True
                ).start()

    def _serve(self, connection: Connection) -> None:
        """Keep a partition's connection until it says that it is done."""

        def end() -> None:
            with suppress(OSError):
                connection.send(None)

        with suppress(OSError, EOFError), connection:
            name = connection.recv()
            with self.asking(name, end):
                if name in self._ended:  # a pool goes on with the tasks that it was given at once
                    end()
                connection.recv()


_computations = _Computations()


def listen_to_dask() -> None:
    """Hear when computations of this process end."""
    _computations.listen_to_dask()


def until_computed(call: Cancellable, wanted: Wanted) -> AbstractContextManager[None]:
    """End what is wanted in the block when the computation has ended."""
    if call.origin is None:
        return _computations.asking(call.name, wanted.end)
    return _connected(call.name, call.origin, wanted)


def _after_fork_in_child() -> None:
    global _computations  # noqa: PLW0603 (the child does not have the thread)
    _computations = _Computations()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _names_in(dsk: Mapping[Any, Any]) -> set[str]:
    """Return the names of the calls in a graph."""
    names, seen = set(), set()
    rest: list[Any] = list(dsk.values())
    while rest:
        value = rest.pop()
        if isinstance(value, Cancellable):
            names.add(value.name)
        elif id(value) not in seen:
            seen.add(id(value))
            if isinstance(value, dict):
                rest += value.values()
            elif isinstance(value, list | tuple):
                rest += value
            else:  # a task
                rest += [inner for name in ("args", "kwargs") if (inner := getattr(value, name, None))]
    return names


@contextmanager
def _connected(name: str, origin: Origin, wanted: Wanted) -> Iterator[None]:
    """Hold a connection to the process that computes; when it says so, or is gone, the partition is no longer wanted."""
    try:
        connection = Client(origin.address, authkey=origin.authkey)
    except (OSError, EOFError, AuthenticationError):
        wanted.end()
        yield
        return

    def listen() -> None:
        with suppress(OSError, EOFError), connection:
            connection.recv()
        wanted.end()

    connection.send(name)
    threading.Thread(target=listen, name="llmframe-dask", daemon=True).start()
    try:
        yield
    finally:
        with suppress(OSError):
            connection.send(None)
