"""Real HTTP on the loopback: connections, delivery and its faults, on a thread of its own."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiohttp import web

from llmframe.testing._server.uploads import read_upload
from llmframe.testing._wire import BATCHES, FILES, Asked, Reply

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from llmframe.testing._server.service import Service

HOST = "127.0.0.1"
_LARGEST_BODY = 64 * 1024 * 1024
_BACKLOG = 4096
_DROPS = 20
_GRACE = 1.0
_RESET_ON_CLOSE = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


class HttpServer:
    """A listening socket, the connections behind it and the thread that serves them.

    It accepts by itself: on Python 3.11 a connection that `asyncio.Server` accepts just before it
    is closed gets neither a reset nor an answer, and its client waits for ever. `sock_accept` loses
    one when it is cancelled.
    """

    def __init__(self, service: Service, port: int) -> None:
        self._service = service
        self._ledger = service.ledger
        self.port = port
        self._dropping = False
        self._listener: socket.socket | None = None
        self._opening: set[asyncio.Task[None]] = set()
        self._reserved: socket.socket | None = None

    def start(self) -> None:
        """Listen; returns when connections are accepted."""
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="llmframe-server", daemon=True)
        self._thread.start()
        try:
            ready.result()
        except BaseException:
            self._thread.join()
            raise

    def stop(self) -> None:
        """Drop all connections and end the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def up(self) -> None:
        self._call(self._listen())

    def down(self) -> None:
        self._call(self._drop(reserve=True))

    def advance(self, seconds: float) -> None:
        """Move the clock forward, and return when all work is done that falls due by then."""
        self._call(self._advance(seconds))

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _run(self, ready: Future[None]) -> None:
        try:
            # Windows' own loop cannot watch a listening socket.
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._serve(ready))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    async def _serve(self, ready: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._connections = web.Server(
            self._handle,
            request_factory=self._request,
            handler_cancellation=True,
            access_log=None,
        )
        self._work = asyncio.Event()
        await self._listen()
        worker = self._loop.create_task(self._work_on_batches())
        # A mistake in the work ends the server, with its traceback: nobody waits for batches in vain.
        worker.add_done_callback(lambda _: self._stopping.set())
        ready.set_result(None)
        await self._stopping.wait()
        await self._drop(reserve=False)
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker

    async def _work_on_batches(self) -> None:
        while True:
            self._work.clear()
            pause = self._service.storage.batches.work()
            if pause == 0:
                await asyncio.sleep(0)
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(self._work.wait(), pause)

    async def _advance(self, seconds: float) -> None:
        await self._finish_work()
        self._service.storage.clock.advance(seconds)
        await self._finish_work()
        self._work.set()

    async def _finish_work(self) -> None:
        while self._service.storage.batches.work() == 0:  # noqa: ASYNC110 - it works, and lets others in
            await asyncio.sleep(0)

    async def _listen(self) -> None:
        if self._listener is not None:
            return
        self._release()
        listener = _bind(self.port)
        self.port = listener.getsockname()[1]
        listener.listen(_BACKLOG)
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept, listener)
        self._listener = listener

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # nobody else is waiting, or there are no file descriptors left: later, then
            while True:
                accepted, _ = listener.accept()
                task = self._loop.create_task(self._open(accepted))
                self._opening.add(task)
                task.add_done_callback(self._opening.discard)

    async def _open(self, accepted: socket.socket) -> None:
        with suppress(OSError):  # the client has left already
            await self._loop.connect_accepted_socket(self._connections, accepted)

    async def _drop(self, *, reserve: bool) -> None:
        """Stop listening and cut every connection; keep the port from others if it will be used again."""
        self._dropping = True
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        await asyncio.gather(*self._opening)
        self._release()
        if reserve:
            self._reserved = _bind(self.port)
        for connection in self._connections.connections:
            _abort(connection.transport)
        await self._connections.shutdown(_GRACE)
        self._dropping = False

    def _release(self) -> None:
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    def _request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        return web.BaseRequest(
            message, payload, protocol, writer, task, self._loop, client_max_size=_LARGEST_BODY
        )

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._dropping:
            _abort(request.transport)
            return _Gone()
        visit = _Visit(self._ledger, request)
        try:
            return await self._deliver(request, await self._reply(request), visit)
        except asyncio.CancelledError:
            visit.end(abandoned=not self._dropping)
            raise
        finally:
            visit.end()
            if request.path.startswith(BATCHES):
                self._work.set()

    async def _reply(self, request: web.BaseRequest) -> Reply:
        content, upload = b"", None
        if request.method == "POST" and request.path == FILES:
            upload = await read_upload(request, self._service.storage.batches.settings.max_bytes)
        elif request.method == "POST":
            try:
                content = await request.read()
            except web.HTTPRequestEntityTooLarge:
                return self._service.oversized(_LARGEST_BODY)
        authorization = request.headers.get("Authorization", "")
        return self._service.reply(
            Asked(request.method, request.path, authorization, content, request.query, upload)
        )

    async def _deliver(self, request: web.BaseRequest, reply: Reply, visit: _Visit) -> web.StreamResponse:
        if reply.delay > 0:
            await asyncio.sleep(reply.delay)
        if request.transport is None or request.transport.is_closing():
            visit.end(abandoned=not self._dropping)
            return _Gone()
        if reply.bill is not None:
            self._ledger.charged(*reply.bill)
        match reply.delivery:
            case "hang":
                return await _hang(request, reply, visit)
            case "reset":
                visit.end()
                _abort(request.transport)
                return _Gone()
            case "truncated":
                visit.end(reply.status)
                return _truncate(request.transport, reply)
            case "trickle":
                return await _trickle(request, reply, visit)
        return await _send(request, reply, visit)


class _Visit:
    """One POST from its arrival to its end, whichever way it ends; what concerns files and batches is no visit."""

    def __init__(self, ledger: Any, request: web.BaseRequest) -> None:
        self._ledger = ledger
        self._open = request.method == "POST" and not request.path.startswith((FILES, BATCHES))
        if self._open:
            ledger.arrived(request.headers)

    def end(self, status: int | None = None, *, answered: bool = False, abandoned: bool = False) -> None:
        """Enter the end in the ledger; only the first counts."""
        if self._open:
            self._open = False
            self._ledger.left(status, answered=answered, abandoned=abandoned)


class _Gone(web.StreamResponse):
    """Stands for an answer where nothing more is to be written."""

    def __init__(self) -> None:
        super().__init__()
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write nothing."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Write nothing."""


def _bind(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, port))
    except OSError:
        bound.close()
        raise
    return bound


def _abort(transport: asyncio.BaseTransport | None) -> None:
    """Cut a connection so that the other side sees a reset."""
    if isinstance(transport, asyncio.Transport) and not transport.is_closing():
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()


def _response(reply: Reply) -> web.Response:
    return web.Response(
        status=reply.status,
        body=reply.body,
        content_type=reply.content_type,
        headers=reply.headers,
    )


async def _send(request: web.BaseRequest, reply: Reply, visit: _Visit) -> web.StreamResponse:
    response = _response(reply)
    # Entered before it is written: a client that has its answer must find it in the ledger.
    visit.end(reply.status, answered=reply.status == 200 and reply.delivery == "whole")
    await response.prepare(request)
    await response.write_eof()
    return response


async def _hang(request: web.BaseRequest, reply: Reply, visit: _Visit) -> web.StreamResponse:
    if reply.seconds is None:
        await asyncio.Event().wait()
    await asyncio.sleep(reply.seconds or 0)
    visit.end()
    _abort(request.transport)
    return _Gone()


def _truncate(transport: asyncio.Transport, reply: Reply) -> web.StreamResponse:
    headers = {"content-type": reply.content_type, "content-length": str(len(reply.body))} | reply.headers
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    transport.write(f"HTTP/1.1 {reply.status} OK\r\n{head}\r\n".encode() + reply.body[: len(reply.body) // 2])
    transport.close()
    return _Gone()


async def _trickle(request: web.BaseRequest, reply: Reply, visit: _Visit) -> web.StreamResponse:
    """Send the body in drops over the whole time."""
    pause = (1.0 if reply.seconds is None else reply.seconds) / _DROPS
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.content_type = reply.content_type
    response.content_length = len(reply.body)
    await response.prepare(request)
    size = -(-len(reply.body) // _DROPS)
    drops = [reply.body[start : start + size] for start in range(0, len(reply.body), size)]
    for drop in drops[:-1]:
        await response.write(drop)
        await asyncio.sleep(pause)
    visit.end(reply.status, answered=True)
    await response.write(drops[-1])
    await response.write_eof()
    return response
