"""Where the async work runs, and how a caller waits for it.

One private daemon thread runs an event loop for every call, so that a plain notebook cell, a
script, a web handler and a thread all work alike and nothing of the user's is patched. Work that
must share the caller's own running loop (because the user's own client belongs to it) is nested
there by nest-asyncio2, which patches that loop's class for good; hence only then.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import queue
import signal
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from math import inf
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

T = TypeVar("T")

UNWIND_SECONDS = 10.0
"""How long a caller waits for cancelled work to unwind before it goes on without it."""

_TICK_SECONDS = 0.25
"""A cancelled top-level `await` in a notebook takes effect only when its loop wakes up."""


class Work(Generic[T]):
    """A coroutine at work on some loop: whoever holds this may wait for it or cancel it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self.future: Future[T] = Future()
        self._loop = loop
        self._make = make
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[T] | None = None
        self._cancelled = False

    def begin(self) -> asyncio.Task[T]:
        """Create the task; on the loop's own thread only."""
        self._task = self._loop.create_task(self._make(), context=self._context)
        self._task.add_done_callback(self._finish)
        if self._cancelled:
            self._task.cancel()
        return self._task

    def cancel(self) -> None:
        """Cancel from any thread or signal handler; the future ends when the work has unwound.

        Work is cancelled once: a second cancellation would break into the unwinding.
        """
        if self._cancelled:
            return
        self._cancelled = True
        if not self.future.done() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel_task)

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
        """Block until the work has ended, however it ended; Ctrl-C cancels it.

        After Ctrl-C this returns when the work has unwound, when `UNWIND_SECONDS` are over, or at
        a second Ctrl-C.

        Parameters
        ----------
        interrupts
            Of the `uninterrupted` block around this call; without one, `KeyboardInterrupt` is raised here.

        Raises
        ------
        TimeoutError
            When the work goes on after `timeout` seconds.
        """
        refuse_on_private_loop()
        if interrupts is None:
            with uninterrupted() as own:
                self.wait(timeout, own)
        else:
            with interrupts.cancelling(self):
                self._block(_looks(timeout, interrupts))

    def _block(self, looks: Iterator[float]) -> None:
        ended = threading.Event()
        self.future.add_done_callback(lambda _: ended.set())
        any(map(ended.wait, looks))

    async def waited(self) -> None:
        """Wait likewise on the caller's loop; cancelling the caller cancels the work.

        Raises
        ------
        asyncio.CancelledError
            When the caller was cancelled, after the work has unwound.
        """
        done = asyncio.ensure_future(_ended(self.future))
        try:
            while not (await asyncio.wait({done}, timeout=_TICK_SECONDS))[0]:
                pass
        except asyncio.CancelledError:
            self.cancel()
            await asyncio.wait({done}, timeout=UNWIND_SECONDS)
            raise
        finally:
            done.cancel()


async def _ended(future: Future[Any]) -> None:
    loop, event = asyncio.get_running_loop(), asyncio.Event()

    def wake(_: Future[Any]) -> None:
        with suppress(RuntimeError):  # the caller's loop is closed: nobody waits
            loop.call_soon_threadsafe(event.set)

    future.add_done_callback(wake)
    await event.wait()


def _looks(timeout: float | None, interrupts: Interrupts) -> Iterator[float]:
    """Yield for how many seconds to wait for some work before looking again; end when it is given up.

    Looking again is what lets Ctrl-C through on Windows, where a lock cannot be interrupted.
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


async def through(steps: Awaitable[T]) -> T:
    """Await something to its end even when the caller is cancelled meanwhile; that goes on afterwards."""
    task = asyncio.ensure_future(steps)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


class Interrupts:
    """How often Ctrl-C was pressed while it was held back, and what the first press cancels."""

    def __init__(self) -> None:
        self.pressed = 0
        self._work: Work[Any] | None = None

    def press(self, *_: object) -> None:
        """Take SIGINT; nothing here waits or takes a lock that the interrupted code may hold."""
        self.pressed += 1
        if self._work is not None:
            self._work.cancel()

    @contextmanager
    def cancelling(self, work: Work[Any]) -> Iterator[None]:
        """Cancel `work` when Ctrl-C is pressed in the block, or was pressed before."""
        self._work = work
        if self.pressed:
            work.cancel()
        try:
            yield
        finally:
            self._work = None


@contextmanager
def uninterrupted() -> Iterator[Interrupts]:
    """Hold back Ctrl-C in the main thread until the block is through, then let it happen."""
    interrupts = Interrupts()
    with _sigint(interrupts.press):
        yield interrupts
    if interrupts.pressed:
        raise KeyboardInterrupt


@contextmanager
def _sigint(handler: Callable[..., None]) -> Iterator[None]:
    # ipykernel swaps the handler in cells that contain `await`: whatever is there is put back.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.getsignal(signal.SIGINT)
    if previous in {None, signal.SIG_IGN}:
        yield
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


class _PrivateLoop:
    """The event loop on its daemon thread, started by the first call and remade after a fork."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread: threading.Thread | None = None

    def get(self) -> asyncio.AbstractEventLoop:
        with self.lock:
            if self.loop is None or self.thread is None or not self.thread.is_alive():
                self.loop = _new_loop()
                self.thread = threading.Thread(
                    target=_serve, args=(self.loop,), name="llmframe-loop", daemon=True
                )
                self.thread.start()
            return self.loop


def _new_loop() -> asyncio.AbstractEventLoop:
    """Make a loop of the fastest kind that is there; it is ours alone, so nothing of the user's changes."""
    try:
        import uvloop  # noqa: PLC0415 (not on every platform, and not before the first call)
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    while not loop.is_closed():
        # An exit raised by a callback of the user's breaks out of here, and its task holds it too.
        with suppress(KeyboardInterrupt, SystemExit):
            loop.run_forever()
            break


_private = _PrivateLoop()


def refuse_on_private_loop() -> None:
    """Raise where waiting would wait for itself: in a callback that runs on the private loop."""
    if threading.current_thread() is _private.thread:
        raise RuntimeError(
            "this runs on llmframe's own event loop, which cannot wait for itself: "
            "await the verb's twin (`await llmframe.acomplete(…)`) instead"
        )


def submit(make: Callable[[], Coroutine[Any, Any, T]]) -> Work[T]:
    """Start `make()` on the private loop, in a copy of the caller's context."""
    loop = _private.get()
    work = Work(loop, make)
    loop.call_soon_threadsafe(work.begin)
    return work


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs in this thread, if any."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def begin_here(make: Callable[[], Coroutine[Any, Any, T]]) -> Work[T]:
    """Start `make()` on the loop that runs in this thread; its caller awaits `waited()`."""
    work = Work(asyncio.get_running_loop(), make)
    work.begin()
    return work


class NestedWork(Work[T]):
    """Work on the loop that already runs in this thread; waiting for it runs that loop further.

    Raises
    ------
    RuntimeError
        When that loop cannot be patched (uvloop), with what to write instead.
    """

    def __init__(self, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        import nest_asyncio2  # noqa: PLC0415 (only this way of running needs it)

        loop = asyncio.get_running_loop()
        if not isinstance(loop, asyncio.BaseEventLoop):  # what apply() finds out after it has patched asyncio
            raise RuntimeError(  # noqa: TRY004 (no argument is of the wrong type)
                f"a {type(loop).__module__} loop is running here and cannot be nested: "
                "await the verb's twin (`await df.llm.acomplete(…)`), or leave `client=` out"
            )
        nest_asyncio2.apply(loop)
        super().__init__(loop, make)
        self.begin()

    def _block(self, looks: Iterator[float]) -> None:
        self._loop.run_until_complete(self._look(looks))

    async def _look(self, looks: Iterator[float]) -> None:
        task = self._task or self.begin()
        for seconds in looks:
            if (await asyncio.wait({task}, timeout=seconds))[0]:
                return


class Worker:
    """One daemon thread that runs calls in order, and none while the process is forked.

    Unlike an executor's thread it serves until the very end of the process, so that what is in
    flight at exit can still be written down. A fork waits for the call that runs: SQLite's state
    in the child's memory would otherwise hold a transaction's locks for ever.

    Parameters
    ----------
    before_fork
        Called while the thread rests for a fork, by the thread that forks.
    """

    def __init__(self, name: str, *, before_fork: Callable[[], None] | None = None) -> None:
        self.busy = threading.Lock()
        self.before_fork = before_fork
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
                if future.set_running_or_notify_cancel():  # from here on it cannot be cancelled
                    try:
                        future.set_result(function())
                    except BaseException as error:  # noqa: BLE001 (the caller gets it)
                        future.set_exception(error)
            del future, function


_workers: list[Worker] = []
_paused: list[Worker] = []
_inherited: list[object] = []
"""What a forked child must neither use nor close; kept so that it is not collected either."""


def _before_fork() -> None:
    _paused[:] = _workers
    for worker in _paused:
        worker.busy.acquire()
        if worker.before_fork is not None:
            worker.before_fork()


def _after_fork_in_parent() -> None:
    for worker in _paused:
        worker.busy.release()


def _after_fork_in_child() -> None:
    global _private  # noqa: PLW0603 (the child has neither the thread nor its loop)
    _inherited.extend([_private, *_workers])
    _workers.clear()
    _private = _PrivateLoop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
