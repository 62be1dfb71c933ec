"""The fast way to the API: the SDK builds one request, and aiohttp sends every row's bytes like it.

What was weighed (CPU a request, Python 3.11, no latency, 100 in flight; the SDK through its aiohttp
client takes 560 us):

========================  ======  =================================================================
aiohttp                   100 us  the SDK's own choice, so its TLS and its proxies can be had exactly
aiohttp on uvloop          70 us  what is used where uvloop is
pyreqwest                  57 us  a request that is cancelled stays on the wire until it times out
ry                         26 us  0.0.x: a large collection of other things, changing every week
rnet, aiosonic, curl_cffi  90 us  and more
========================  ======  =================================================================

A row that cannot be taken back is worse than 13 us, so it is aiohttp: resets, truncated bodies,
garbage and half-closed connections are errors of that request, its timeout cuts trickles and hangs,
HTTP/1.0 and 1xx answers are read. HTTP/2 it does not speak, and neither does the SDK by default.
"""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from io import BytesIO
from math import inf
from typing import TYPE_CHECKING, Any

import aiohttp
from yarl import URL

from llmframe._api.faults import classify
from llmframe._api.responses import Refused, Reply, checked
from llmframe._api.sdk_client import CONNECT_SECONDS, forget_certificates
from llmframe._broken import connection_fault
from llmframe._json import load
from llmframe._pacing.headers import RateHeaders, retry_after
from llmframe._values import Fault, Trouble

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmframe._api.responses import Blueprint, Proxy
    from llmframe._api.sdk_client import Transport
    from llmframe._values import Request

_IDLE_SECONDS = 4.0
"""Idle connections are dropped before servers do it (uvicorn after 5 s): a request could cross with that."""
_LONGEST_HEADER = 100 * 1024
"""Bytes of one header, as the SDK's own HTTP library takes them."""
_SENT_AT_ONCE = 2**20
"""Larger bodies go out in pieces: aiohttp warns of such that would not."""
_SAME_SECONDS = 0.005
"""Answers that come within so much time say the same of the limits: one is listened to, and who says that nothing is left."""


class Line:
    """A pool of connections, and what all requests over it have in common."""

    def __init__(self, blueprint: Blueprint, timeout: float) -> None:
        self.blueprint = blueprint
        self.refused = False
        """Whether its key was refused, and nobody has another."""
        self._timeout = timeout
        self._heard_at = -inf
        self._url = URL(blueprint.url, encoded=True)
        self._through = {} if blueprint.proxy is None else _through(blueprint, blueprint.proxy)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=blueprint.tls, keepalive_timeout=_IDLE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=None if self._through else blueprint.headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(timeout, CONNECT_SECONDS)),
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
        )

    async def send(self, body: bytes) -> tuple[int, Reply | Refused]:
        """Send one request once; return the status, 0 without one, and what came of it."""
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._session.post(
                    self._url, data=_payload(body), allow_redirects=False, **self._through
                )
                here = response.content.is_eof()  # all of it, as a rule
                raw = response.content.read_nowait() if here else await response.read()
        except (
            aiohttp.ClientError,
            OSError,
            RuntimeError,
        ) as error:  # uvloop's closed handles are RuntimeErrors
            return 0, Refused(connection_fault(error))
        except ValueError as error:  # a line break in a key or a header, say
            message = f"the request could not be made: {error}"
            return 0, Refused(Fault(Trouble.FATAL, "client_error", message))
        return response.status, self._read(response.status, raw, response.headers)

    def _read(self, status: int, raw: bytes, headers: Mapping[str, str]) -> Reply | Refused:
        data, now = _json(raw), time.monotonic()
        if 200 <= status < 300:
            limits = None
            if now - self._heard_at > _SAME_SECONDS or _nothing_left(headers):
                limits = RateHeaders.parse(headers)
                self._heard_at = self._heard_at if limits is None else now
            return checked(raw, data, limits)
        body = raw.decode(errors="replace") if data is None else data
        fault = classify(status, body, retry_after(headers, time.time()))
        return Refused(fault, RateHeaders.parse(headers))

    async def close(self) -> None:
        await self._session.close()


class FastTransport:
    """Sends what the SDK's transport would send, in less time.

    Parameters
    ----------
    slow
        The SDK's transport, for a client of ours. It takes over where its HTTP library does not say
        how it would connect.
    timeout
        Seconds for one request, from its departure to the last byte of its answer.
    """

    def __init__(self, slow: Transport, *, timeout: float) -> None:
        self._slow = slow
        self._timeout = timeout
        self._lines: list[Line] = []
        self._opening = asyncio.Lock()
        self._only_slow = False

    async def send(self, request: Request) -> Reply | Refused:
        """Send one request once; every fault comes back as a value."""
        line = self._lines[-1] if self._lines else await self._open(request.body, None)
        if not isinstance(line, Line):
            return line or await self._slow.send(request)
        status, result = await line.send(request.body)
        if isinstance(result, Reply):
            return result
        if status == 401 and not line.refused:
            return await self._authorised_anew(line, request, result)
        if 300 <= status < 400:  # where to, and what goes there, is the SDK's to say
            return await self._slow.send(request)
        if result.fault.code == "certificate":
            forget_certificates()
        return self._slow.discreet(result, line.blueprint.headers)

    async def _authorised_anew(
        self, refused: Line, request: Request, result: Reply | Refused
    ) -> Reply | Refused:
        """Ask again whoever gives the key, and if it is another now, ask with that."""
        line = await self._open(request.body, refused)
        if not isinstance(line, Line):
            return line or result
        if line is not refused:
            _, result = await line.send(request.body)
        return self._slow.discreet(result, line.blueprint.headers)

    async def _open(self, body: bytes, refused: Line | None) -> Line | Refused | None:
        """Open a line, unless there is one that was not refused; nothing where only the SDK's way is known."""
        async with self._opening:
            line = self._lines[-1] if self._lines else None
            if self._only_slow or line is not refused or (line is not None and line.refused):
                return line
            try:
                async with asyncio.timeout(self._timeout):
                    blueprint = await self._slow.blueprint(body)
            except TimeoutError:
                return Refused(Fault(Trouble.PASSING, "timeout", "no key was given within the timeout"))
            if blueprint is None or isinstance(blueprint, Refused):
                self._only_slow = blueprint is None
                return blueprint
            if line is not None and blueprint == line.blueprint:
                line.refused = True
                return line
            self._lines.append(Line(blueprint, self._timeout))
            return self._lines[-1]

    async def close(self) -> None:
        try:
            for line in self._lines:
                await line.close()
        finally:
            await self._slow.close()


def _through(blueprint: Blueprint, proxy: Proxy) -> dict[str, Any]:
    """Say to aiohttp how requests go through a proxy, which would be told all headers of a session."""
    told = dict(proxy.headers)
    if proxy.auth is not None:
        told["Proxy-Authorization"] = f"Basic {b64encode(':'.join(proxy.auth).encode()).decode()}"
    if blueprint.url.startswith("https:"):
        return {"proxy": proxy.url, "proxy_headers": told, "headers": blueprint.headers}
    return {"proxy": proxy.url, "headers": {**blueprint.headers, **told}}


def _payload(body: bytes) -> aiohttp.Payload:
    if len(body) <= _SENT_AT_ONCE:
        return aiohttp.BytesPayload(body)
    return aiohttp.BytesIOPayload(BytesIO(body))


def _nothing_left(headers: Mapping[str, str]) -> bool:
    return "0" in {
        headers.get("x-ratelimit-remaining-requests"),
        headers.get("x-ratelimit-remaining-tokens"),
    }


def _json(raw: bytes) -> Any:
    try:
        return load(raw)
    except (ValueError, RecursionError):
        return None
