"""To and from the API through aiohttp: the SDK builds one request, and every row's bytes are sent like it.

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

from llmframe._api.faults import connection_fault, status_fault
from llmframe._api.responses import Refused, Reply, read_reply
from llmframe._api.sdk_client import forget_certificates
from llmframe._json import UnreadableJSONError, load
from llmframe._pacing import RateHeaders, retry_after
from llmframe._values import FaultKind, RequestFault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmframe._api.responses import Proxy, RequestTemplate
    from llmframe._api.sdk_client import SdkTransport
    from llmframe._options import Tuning
    from llmframe._values import Endpoint, Request

_IDLE_SECONDS = 4.0
"""Idle connections are dropped before servers do it (uvicorn after 5 s): a request could cross with that."""
_LONGEST_HEADER = 100 * 1024
"""Bytes of one header, as the SDK's own HTTP library takes them."""
_SENT_AT_ONCE = 2**20
"""Larger bodies go out in pieces: aiohttp warns of such that would not."""


class ConnectionPool:
    """Connections, and what all requests over them have in common.

    Parameters
    ----------
    timeout
        Seconds for one request, from its departure to the last byte of its answer.
    tuning
        How long a connection may take to be made, and which answers state the same limits.
    """

    def __init__(self, template: RequestTemplate, endpoint: Endpoint, timeout: float, tuning: Tuning) -> None:
        self.template = template
        self.key_refused = False
        """Whether its key was refused, and nobody has another."""
        self._endpoint = endpoint
        self._timeout = timeout
        self._same_limits_seconds = tuning.same_limits_seconds
        self._limits_read_at = -inf
        self._url = URL(template.url, encoded=True)
        self._proxied = {} if template.proxy is None else _proxied(template, template.proxy)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=template.tls, keepalive_timeout=_IDLE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=None if self._proxied else template.headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(timeout, tuning.connect_seconds)),
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
        )

    async def send(self, body: bytes) -> tuple[int, Reply | Refused]:
        """Send one request once; return the status, 0 without one, and what came of it."""
        payload = _payload(body)
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._session.post(
                    self._url, data=payload, allow_redirects=False, **self._proxied
                )
                whole = response.content.is_eof()  # as a rule
                raw = response.content.read_nowait() if whole else await response.read()
        except (
            aiohttp.ClientError,
            OSError,
            RuntimeError,
        ) as error:  # uvloop's closed handles are RuntimeErrors
            return 0, Refused(connection_fault(error))
        except ValueError as error:  # a line break in a key or a header, say
            message = f"the request could not be made: {error}"
            return 0, Refused(RequestFault(FaultKind.FATAL, "client_error", message))
        return response.status, self._read(response.status, raw, response.headers)

    def _read(self, status: int, raw: bytes, headers: Mapping[str, str]) -> Reply | Refused:
        data, now = _json(raw), time.monotonic()
        if 200 <= status < 300:
            limits = None
            if now - self._limits_read_at > self._same_limits_seconds or _nothing_left(headers):
                limits = RateHeaders.parse(headers)
                self._limits_read_at = self._limits_read_at if limits is None else now
            return read_reply(self._endpoint, raw, data, limits)
        body = raw.decode(errors="replace") if data is None else data
        fault = status_fault(status, body, retry_after(headers, time.time()))
        return Refused(fault, RateHeaders.parse(headers))

    async def close_connections(self) -> None:
        await self._session.close()


class HttpTransport:
    """Sends what the SDK's transport would send, in less time.

    Parameters
    ----------
    sdk
        The SDK's transport, for a client of ours. It takes over where its HTTP library does not say
        how it would connect.
    timeout
        Seconds for one request, from its departure to the last byte of its answer.
    """

    def __init__(self, sdk: SdkTransport, *, timeout: float, tuning: Tuning) -> None:
        self._sdk = sdk
        self._timeout = timeout
        self._tuning = tuning
        self._pools: list[ConnectionPool] = []
        self._opening = asyncio.Lock()
        self._sdk_only = False

    async def send(self, request: Request) -> Reply | Refused:
        """Send one request once; every fault comes back as a value."""
        pool = self._pools[-1] if self._pools else await self._open_pool(request.body, None)
        if not isinstance(pool, ConnectionPool):
            return pool or await self._sdk.send(request)
        status, result = await pool.send(request.body)
        if isinstance(result, Reply):
            return result
        if status == 401 and not pool.key_refused:
            return await self._send_with_another_key(pool, request, result)
        if 300 <= status < 400:  # where to, and what goes there, is the SDK's to say
            return await self._sdk.send(request)
        if result.fault.code == "certificate":
            forget_certificates()
        return self._sdk.without_secrets(result, pool.template.headers)

    async def _send_with_another_key(
        self, refused: ConnectionPool, request: Request, result: Reply | Refused
    ) -> Reply | Refused:
        """Ask for the key again, and if it is another now, send the request with that."""
        pool = await self._open_pool(request.body, refused)
        if not isinstance(pool, ConnectionPool):
            return pool or result
        if pool is not refused:
            _, result = await pool.send(request.body)
        return self._sdk.without_secrets(result, pool.template.headers)

    async def _open_pool(
        self, body: bytes, refused: ConnectionPool | None
    ) -> ConnectionPool | Refused | None:
        """Open a pool, unless there is one whose key was not refused; `None` where only the SDK can send."""
        async with self._opening:
            pool = self._pools[-1] if self._pools else None
            if self._sdk_only or pool is not refused or (pool is not None and pool.key_refused):
                return pool
            try:
                async with asyncio.timeout(self._timeout):
                    template = await self._sdk.request_template(body)
            except TimeoutError:
                return Refused(
                    RequestFault(FaultKind.PASSING, "timeout", "no key was given within the timeout")
                )
            if template is None or isinstance(template, Refused):
                self._sdk_only = template is None
                return template
            if pool is not None and template == pool.template:
                pool.key_refused = True
                return pool
            self._pools.append(ConnectionPool(template, self._sdk.endpoint, self._timeout, self._tuning))
            return self._pools[-1]

    async def close_connections(self) -> None:
        try:
            for pool in self._pools:
                await pool.close_connections()
        finally:
            await self._sdk.close_connections()


def _proxied(template: RequestTemplate, proxy: Proxy) -> dict[str, Any]:
    """Write for aiohttp how requests go through a proxy, which would be sent all headers of a session."""
    proxy_headers = dict(proxy.headers)
    if proxy.auth is not None:
        proxy_headers["Proxy-Authorization"] = f"Basic {b64encode(':'.join(proxy.auth).encode()).decode()}"
    if template.url.startswith("https:"):
        return {"proxy": proxy.url, "proxy_headers": proxy_headers, "headers": template.headers}
    return {"proxy": proxy.url, "headers": {**template.headers, **proxy_headers}}


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
    except UnreadableJSONError:
        return None
