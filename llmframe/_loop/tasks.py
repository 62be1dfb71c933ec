"""A coroutine that runs on a loop, and the ways to wait for it: blocking, awaiting, or running that loop further."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from math import inf
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from llmframe._loop.interrupts import Interrupts, uninterrupted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator

T = TypeVar("T")

UNWIND_SECONDS = 10.0
"""A caller waits at most this long for a cancelled task to unwind."""

_TICK_SECONDS = 0.25
"""Interval of wake-ups: a cancelled top-level `await` in a notebook takes effect only when its loop wakes up."""


class LoopTask(Generic[T]):
    """A task on a loop; any thread may wait for it or cancel it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self.future: Future[T] = Future()
        self._loop = loop
        self._make = make
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[T] | None = None
        self._cancelled = False

    def begin(self) -> asyncio.Task[T]:
        """Create the task; called on the loop's own thread only."""
        self._task = self._loop.create_task(self._make(), context=self._context)
        self._task.add_done_callback(self._finish)
        if self._cancelled:
            self._task.cancel()
        return self._task

    def cancel(self) -> None:
        """Cancel the task from any thread or signal handler; the future ends when the task has unwound.

        A task is cancelled once: a second cancellation would interrupt the unwinding.
        """
        if self._cancelled:
            return
        self._cancelled = True
        if not self.future.done() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel_task)

    def call(self, function: Callable[[], object]) -> None:
        """Call a function on the task's loop, from any thread."""
        if not self.future.done() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)

    def _cancel_task(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _finish(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self.future.set_exception(asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(task.result())

    def wait(self, timeout: float | None = None, interrupts: Interrupts | None = None) -> None:
        """Block until the task has ended in any way; Ctrl-C cancels it.

        After Ctrl-C this returns when the task has unwound, after `UNWIND_SECONDS`, or at a second Ctrl-C.

        Parameters
        ----------
        interrupts
            From the `uninterrupted` block around this call; without them, `KeyboardInterrupt` is raised here.

        Raises
        ------
        TimeoutError
            When the task still runs after `timeout` seconds.
        """
        self._refuse_to_wait_for_itself()
        if interrupts is None:
            with uninterrupted() as own:
                self.wait(timeout, own)
        else:
            with interrupts.cancelling(self.cancel):
                self._block(_pauses(timeout, interrupts))

    def _refuse_to_wait_for_itself(self) -> None:
        if running_loop() is self._loop:
            raise RuntimeError(CANNOT_WAIT)

    def _block(self, pauses: Iterator[float]) -> None:
        ended = threading.Event()
        self.future.add_done_callback(lambda _: ended.set())
        any(map(ended.wait, pauses))

    async def wait_async(self) -> None:
        """Wait on the caller's loop; cancelling the caller cancels the task.

        Raises
        ------
        asyncio.CancelledError
            When the caller was cancelled, after the task has unwound.
        """
        ended = event_of(self.future)
        try:
            while not await set_within(ended, _TICK_SECONDS):
                pass
        except asyncio.CancelledError:
            self.cancel()
            await set_within(ended, UNWIND_SECONDS)
            raise


CANNOT_WAIT = (
    "this runs on the event loop that does llmframe's work, which cannot wait for itself: "
    "await the verb's twin (`await llmframe.acomplete(…)`) instead"
)


def event_of(future: Future[Any]) -> asyncio.Event:
    """Return an event of the running loop that is set when a call of another thread has ended."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def wake(_: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop is closed, and no longer waits
            loop.call_soon_threadsafe(ended.set)

    future.add_done_callback(wake)
    return ended


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event; return whether it was set in this time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


def _pauses(timeout: float | None, interrupts: Interrupts) -> Iterator[float]:
    """Yield the seconds of each wait, until the caller stops waiting.

    The waits are short because Ctrl-C cannot interrupt a lock on Windows.
    """
    deadline = inf if timeout is None else time.monotonic() + timeout
    while not interrupts.pressed:
        left = deadline - time.monotonic()
        yield max(0.0, min(_TICK_SECONDS, left))
        if left <= 0 and not interrupts.pressed:
            raise TimeoutError(f"still at work after {timeout} seconds; the run goes on")
    deadline = time.monotonic() + UNWIND_SECONDS
    while interrupts.pressed == 1 and time.monotonic() < deadline:
        yield _TICK_SECONDS


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs in this thread, if any."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def begin_here(make: Callable[[], Coroutine[Any, Any, T]]) -> LoopTask[T]:
    """Start `make()` on the loop that runs in this thread; its caller awaits `wait_async()`."""
    task = LoopTask(asyncio.get_running_loop(), make)
    task.begin()
    return task


class NestedTask(LoopTask[T]):
    """A task on the loop that already runs in this thread; waiting for it runs that loop further.

    Raises
    ------
    RuntimeError
        When that loop cannot be patched (uvloop), with what to write instead.
    """

    def __init__(self, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        import nest_asyncio2  # noqa: PLC0415 (only this way of running needs it)

        loop = asyncio.get_running_loop()
        if not isinstance(loop, asyncio.BaseEventLoop):  # apply() would refuse it only after patching asyncio
            raise RuntimeError(  # noqa: TRY004 (no argument is of the wrong type)
                f"a {type(loop).__module__} loop is running here and cannot be nested: "
                "await the verb's twin (`await df.llm.acomplete(…)`), or leave `client=` out"
            )
        nest_asyncio2.apply(loop)
        super().__init__(loop, make)
        self.begin()

    def _refuse_to_wait_for_itself(self) -> None:
        """Do nothing: a nested task may be waited for here."""

    def _block(self, pauses: Iterator[float]) -> None:
        self._loop.run_until_complete(self._wait_nested(pauses))

    async def _wait_nested(self, pauses: Iterator[float]) -> None:
        task = self._task or self.begin()
        for seconds in pauses:
            if (await asyncio.wait({task}, timeout=seconds))[0]:
                return


async def through(steps: Awaitable[T]) -> T:
    """Await something to its end; if the caller is cancelled meanwhile, the cancellation is raised afterwards."""
    task = asyncio.ensure_future(steps)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError as cancelled:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        _note_failure(cancelled, task)
        raise


@asynccontextmanager
async def beside(steps: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a coroutine beside a block: it is cancelled when the block ends, and its failure is raised then."""
    task = asyncio.create_task(steps)
    try:
        yield
    except BaseException as error:
        await _cancel(task)
        _note_failure(error, task)
        raise
    await _cancel(task)
    if not task.cancelled():
        task.result()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await through(asyncio.wait({task}))


def _note_failure(error: BaseException, task: asyncio.Future[Any]) -> None:
    """Add a note to an error about another failure."""
    if not task.cancelled() and (other := task.exception()) is not None:
        error.add_note(f"meanwhile this failed: {other!r}")
