"""HTTP on the loopback interface: connections, sending and transport faults, on its own thread."""

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
from llmframe.testing._wire import BATCHES, FILES, HttpRequest, HttpResponse

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from llmframe.testing._server.service import Service
    from llmframe.testing._wire import Ledger

HOST = "127.0.0.1"
_LARGEST_BODY = 64 * 1024 * 1024
_BACKLOG = 4096
_TRICKLE_CHUNKS = 20
_GRACE_SECONDS = 1.0
_RESET_ON_CLOSE = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


class HttpServer:
    """A listening socket, its connections and the thread that serves them.

    It accepts connections without `asyncio.Server`: on Python 3.11, a connection that `asyncio.Server` accepts just
    before it is closed gets neither a reset nor a response, and its client waits for ever. `sock_accept` loses a
    connection when it is cancelled.
    """

    def __init__(self, service: Service, port: int) -> None:
        self._service = service
        self._ledger = service.ledger
        self.port = port
        self._closing = False
        self._listener: socket.socket | None = None
        self._accepting: set[asyncio.Task[None]] = set()
        self._reserved: socket.socket | None = None

    def start(self) -> None:
        """Start to listen, and return when connections are accepted."""
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="llmframe-server", daemon=True)
        self._thread.start()
        try:
            ready.result()
        except BaseException:
            self._thread.join()
            raise

    def stop(self) -> None:
        """Cut all connections and end the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def up(self) -> None:
        self._run_on_loop(self._listen())

    def down(self) -> None:
        self._run_on_loop(self._close_connections(reserve=True))

    def advance(self, seconds: float) -> None:
        """Move the clock forward, and return when all work due by then is done."""
        self._run_on_loop(self._advance(seconds))

    def _run_on_loop(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _run(self, ready: Future[None]) -> None:
        try:
            # Windows' default loop cannot watch a listening socket.
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
        self._batches_changed = asyncio.Event()
        await self._listen()
        worker = self._loop.create_task(self._work_on_batches())
        # An exception in the work stops the server, so that no client waits for a batch that never ends.
        worker.add_done_callback(lambda _: self._stopping.set())
        ready.set_result(None)
        await self._stopping.wait()
        await self._close_connections(reserve=False)
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker

    async def _work_on_batches(self) -> None:
        while True:
            self._batches_changed.clear()
            pause = self._service.storage.batches.work()
            if pause == 0:
                await asyncio.sleep(0)
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(self._batches_changed.wait(), pause)

    async def _advance(self, seconds: float) -> None:
        await self._finish_work()
        self._service.storage.clock.advance(seconds)
        await self._finish_work()
        self._batches_changed.set()

    async def _finish_work(self) -> None:
        while self._service.storage.batches.work() == 0:  # noqa: ASYNC110 - each call does a slice of the work
            await asyncio.sleep(0)

    async def _listen(self) -> None:
        if self._listener is not None:
            return
        self._release_port()
        listener = _bind(self.port)
        self.port = listener.getsockname()[1]
        listener.listen(_BACKLOG)
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept, listener)
        self._listener = listener

    def _accept(self, listener: socket.socket) -> None:
        with suppress(
            OSError
        ):  # no connection is waiting, or no file descriptor is free: the reader is called again
            while True:
                accepted, _ = listener.accept()
                task = self._loop.create_task(self._open(accepted))
                self._accepting.add(task)
                task.add_done_callback(self._accepting.discard)

    async def _open(self, accepted: socket.socket) -> None:
        with suppress(OSError):  # the client has closed the connection already
            await self._loop.connect_accepted_socket(self._connections, accepted)

    async def _close_connections(self, *, reserve: bool) -> None:
        """Stop listening and cut every connection; `reserve` keeps the port bound until it is used again."""
        self._closing = True
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        await asyncio.gather(*self._accepting)
        self._release_port()
        if reserve:
            self._reserved = _bind(self.port)
        for connection in self._connections.connections:
            _abort(connection.transport)
        await self._connections.shutdown(_GRACE_SECONDS)
        self._closing = False

    def _release_port(self) -> None:
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    def _request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        return web.BaseRequest(
            message, payload, protocol, writer, task, self._loop, client_max_size=_LARGEST_BODY
        )

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._closing:
            _abort(request.transport)
            return _NoResponse()
        entry = _LedgerEntry(self._ledger, request)
        try:
            return await self._deliver(request, await self._respond(request), entry)
        except asyncio.CancelledError:
            entry.end(abandoned=not self._closing)
            raise
        finally:
            entry.end()
            if request.path.startswith(BATCHES):
                self._batches_changed.set()

    async def _respond(self, request: web.BaseRequest) -> HttpResponse:
        content, upload = b"", None
        if request.method == "POST" and request.path == FILES:
            upload = await read_upload(request, self._service.storage.batches.settings.max_bytes)
        elif request.method == "POST":
            try:
                content = await request.read()
            except web.HTTPRequestEntityTooLarge:
                return self._service.oversized(_LARGEST_BODY)
        headers = request.headers
        return self._service.respond(
            HttpRequest(
                request.method,
                request.path,
                headers.get("Authorization", ""),
                content,
                request.query,
                upload,
                headers.get("api-key", ""),
            )
        )

    async def _deliver(
        self, request: web.BaseRequest, response: HttpResponse, entry: _LedgerEntry
    ) -> web.StreamResponse:
        if response.delay > 0:
            await asyncio.sleep(response.delay)
        if request.transport is None or request.transport.is_closing():
            entry.end(abandoned=not self._closing)
            return _NoResponse()
        if response.bill is not None:
            self._ledger.completion_billed(response.bill)
        match response.delivery:
            case "hang":
                return await _hang(request, response, entry)
            case "reset":
                entry.end()
                _abort(request.transport)
                return _NoResponse()
            case "truncated":
                entry.end(response.status)
                return _truncate(request.transport, response)
            case "trickle":
                return await _trickle(request, response, entry)
        return await _send(request, response, entry)


class _LedgerEntry:
    """One POST in the ledger, from its arrival to its end, except requests to files and batches."""

    def __init__(self, ledger: Ledger, request: web.BaseRequest) -> None:
        self._ledger = ledger
        self._open = request.method == "POST" and not request.path.startswith((FILES, BATCHES))
        if self._open:
            ledger.request_arrived(request.headers)

    def end(self, status: int | None = None, *, answered: bool = False, abandoned: bool = False) -> None:
        """Record the end in the ledger; only the first call counts."""
        if self._open:
            self._open = False
            self._ledger.request_ended(status, answered=answered, abandoned=abandoned)


class _NoResponse(web.StreamResponse):
    """A handler's response when nothing more is written to the connection."""

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
    """Cut a connection; the client sees a reset."""
    if isinstance(transport, asyncio.Transport) and not transport.is_closing():
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()


def _web_response(response: HttpResponse) -> web.Response:
    return web.Response(
        status=response.status,
        body=response.body,
        headers={"content-type": response.content_type} | response.headers,
    )


async def _send(request: web.BaseRequest, response: HttpResponse, entry: _LedgerEntry) -> web.StreamResponse:
    stream = _web_response(response)
    # The response is recorded before it is written, so that a client that has it finds it in the ledger.
    entry.end(response.status, answered=response.status == 200 and response.delivery == "whole")
    await stream.prepare(request)
    await stream.write_eof()
    return stream


async def _hang(request: web.BaseRequest, response: HttpResponse, entry: _LedgerEntry) -> web.StreamResponse:
    if response.seconds is None:
        await asyncio.Event().wait()
    await asyncio.sleep(response.seconds or 0)
    entry.end()
    _abort(request.transport)
    return _NoResponse()


def _truncate(transport: asyncio.Transport, response: HttpResponse) -> web.StreamResponse:
    headers = {
        "content-type": response.content_type,
        "content-length": str(len(response.body)),
    } | response.headers
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    transport.write(
        f"HTTP/1.1 {response.status} OK\r\n{head}\r\n".encode() + response.body[: len(response.body) // 2]
    )
    transport.close()
    return _NoResponse()


async def _trickle(
    request: web.BaseRequest, response: HttpResponse, entry: _LedgerEntry
) -> web.StreamResponse:
    """Send the body in chunks, spread over the time of the fault."""
    pause = (1.0 if response.seconds is None else response.seconds) / _TRICKLE_CHUNKS
    stream = web.StreamResponse(status=response.status, headers=response.headers)
    stream.content_type = response.content_type
    stream.content_length = len(response.body)
    await stream.prepare(request)
    size = -(-len(response.body) // _TRICKLE_CHUNKS)
    chunks = [response.body[start : start + size] for start in range(0, len(response.body), size)]
    for chunk in chunks[:-1]:
        await stream.write(chunk)
        await asyncio.sleep(pause)
    entry.end(response.status, answered=True)
    await stream.write(chunks[-1])
    await stream.write_eof()
    return stream
