"""A server that answers with given bytes, and requests that are sent to it in both ways."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmframe._api import CHAT_COMPLETIONS, Account, HttpTransport, SdkTransport, connect
from llmframe._options import Tuning
from llmframe._values import Request

if TYPE_CHECKING:
    import ssl

WAYS = ("aiohttp", "sdk")
BODY = b'{"model":"m","messages":[{"role":"user","content":"Hello"}]}'
GOOD = (
    b'{"choices":[{"message":{"content":"Yes."},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":1}}'
)
_LENGTH = re.compile(rb"\ncontent-length: *(\d+)", re.IGNORECASE)


def http(body: bytes = GOOD, status: str = "200 OK", *headers: str, media: str = "application/json") -> bytes:
    """Write a response."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", f"content-type: {media}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class Wire:
    """A server that answers with whatever bytes it is told, and keeps what came."""

    reply: object = field(default_factory=http)
    """Bytes, or a function of a request that returns them; `None` sends nothing, and waits."""
    then: str = "stay"
    """What the server does after an answer: "stay", "close", or "reset"."""
    seen: list[bytes] = field(default_factory=list)
    port: int = 0
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://localhost:{self.port}"

    def serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                wrapped = self.tls.wrap_socket(connection, server_side=True) if self.tls else connection
                with wrapped:
                    while self._answer(wrapped):
                        pass
            except OSError:
                pass

    def _answer(self, connection: socket.socket) -> bool:
        request = b""
        while b"\r\n\r\n" not in request or not _whole(request):
            received = connection.recv(65_536)
            if not received:
                return False
            request += received
        self.seen.append(request)
        reply = self.reply(request) if callable(self.reply) else self.reply
        if reply is None:
            connection.recv(1)
            return False
        connection.sendall(reply)
        if self.then == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            connection.close()
        return self.then == "stay"

    def headers(self, number: int = -1) -> dict[str, str]:
        """Return a request's headers, with names in lower case."""
        lines = self.seen[number].partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    def target(self, number: int = -1) -> str:
        """Return a request's path and query."""
        return self.seen[number].split(b" ", 2)[1].decode()

    def body(self, number: int = -1):
        """Return a request's JSON."""
        return json.loads(self.seen[number].partition(b"\r\n\r\n")[2])


def _whole(request: bytes) -> bool:
    head, _, body = request.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return length is None or len(body) >= int(length[1])


@contextmanager
def listening(wire: Wire):
    with socket.create_server(("127.0.0.1", 0)) as server:
        wire.port = server.getsockname()[1]

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=wire.serve, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield wire
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def plain(wire: Wire, key: str = "a-key-to-be-kept-secret") -> Account:
    return Account.of(None, key, f"{wire.url}/v1")


def send(account: Account, way: str, *, before=(None,), **settings):
    """Send a request after each of these was called; return what came of the last."""
    return send_all(account, way, before, **settings)[-1]


def send_all(
    account: Account, way: str, before, *, timeout=20.0, headers=None, endpoint=CHAT_COMPLETIONS, **tuning
):
    """Send a request in one of the two ways after each of these was called; return what came of each."""

    async def replies():
        client, owned = connect(account, timeout=timeout)
        transport = SdkTransport(client, endpoint, owned=owned, timeout=timeout, headers=headers or {})
        if way == "aiohttp":
            transport = HttpTransport(transport, timeout=timeout, tuning=Tuning(**tuning))
        results = []
        try:
            for prepare in before:
                if prepare is not None:
                    prepare()
                results.append(await transport.send(Request(b"", 0, BODY)))
        finally:
            await transport.close_connections()
        return results

    return asyncio.run(replies())


def both(account: Account, **settings):
    """Send a request in each of the two ways; return what came of each."""
    return [send(account, way, **settings) for way in WAYS]
