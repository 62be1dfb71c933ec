"""The threads on which stores do their blocking work, and the journals that a process has open on them."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

from llmframe._loop import through

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Hashable

    from llmframe._loop import Worker

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")


class _Closable(Protocol):
    def close_connection(self) -> None: ...


J = TypeVar("J", bound=_Closable)


def runs_on(
    thread: Callable[[], Worker],
) -> Callable[[Callable[Concatenate[S, P], T]], Callable[Concatenate[S, P], Coroutine[Any, Any, T]]]:
    """Make methods awaitable from any loop: their bodies run on a store's thread."""

    def decorate(
        method: Callable[Concatenate[S, P], T],
    ) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
        @wraps(method)
        async def awaitable(self: S, *arguments: P.args, **keywords: P.kwargs) -> T:
            call = partial(method, self, *arguments, **keywords)
            return await asyncio.wrap_future(thread().call(call))

        return awaitable  # type: ignore[return-value] # mypy takes `self` for a named argument

    return decorate


class OpenJournals(Generic[J]):
    """The journals of one kind of store that this process has open: each place once."""

    def __init__(self, thread: Callable[[], Worker]) -> None:
        self._thread = thread
        self._open: dict[tuple[int, Hashable], tuple[J, int]] = {}
        """By process and place: the journal, and the number of blocks that use it."""

    @asynccontextmanager
    async def open(self, place: Hashable, make: Callable[[], J]) -> AsyncIterator[J]:
        """Open a place for a block, or share the journal if another run of this process has it open."""
        thread = self._thread()
        key = (os.getpid(), place)
        acquiring = asyncio.wrap_future(thread.call(lambda: self._acquire(key, make)))
        try:
            journal = await through(acquiring)
        except asyncio.CancelledError:
            if not acquiring.cancelled() and acquiring.exception() is None:
                await asyncio.wrap_future(thread.call(lambda: self._release(key)))
            raise
        try:
            yield journal
        finally:
            await through(asyncio.wrap_future(thread.call(lambda: self._release(key))))

    def _acquire(self, key: tuple[int, Hashable], make: Callable[[], J]) -> J:
        journal, users = self._open[key] if key in self._open else (make(), 0)
        self._open[key] = (journal, users + 1)
        return journal

    def _release(self, key: tuple[int, Hashable]) -> None:
        journal, users = self._open[key]
        if users > 1:
            self._open[key] = (journal, users - 1)
        else:
            del self._open[key]
            journal.close_connection()
