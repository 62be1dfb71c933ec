"""Requests to the API through aiohttp: the SDK builds one request, and every row's bytes are sent in the same way.

aiohttp is the SDK's own choice, so that its TLS and proxies can be used exactly. It takes 100 us of CPU a request (70
on uvloop, the SDK itself 560). pyreqwest takes 57, but a cancelled request stays on the wire until it times out.
"""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from io import BytesIO
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakSet

import aiohttp
from yarl import URL

from llmframe._api.faults import connection_fault, response_fault
from llmframe._api.responses import Refused, Reply, read_reply
from llmframe._api.sdk_errors import explained
from llmframe._api.sdk_http import forget_certificates
from llmframe._json import load_or_none
from llmframe._pacing import RateHeaders, retry_after
from llmframe._values import FaultKind, RequestFault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmframe._api.responses import Proxy, RequestTemplate
    from llmframe._api.sdk_client import SdkTransport
    from llmframe._options import Tuning
    from llmframe._values import Endpoint, Request

_IDLE_SECONDS = 4.0
"""Idle connections are closed before servers close them (uvicorn after 5 s), possibly while a request is sent."""
_STALE_CONNECTIONS = 3
_STALE_SHARE = 0.005
"""Connections are used once from this many on, and this share of answers, that broke when they were used again."""
_LONGEST_HEADER = 100 * 1024
"""Bytes of one header, as in the SDK's own HTTP library."""
_SENT_AT_ONCE = 2**20
"""Bytes. Larger bodies are sent in pieces: aiohttp warns about larger bodies in one piece."""


class _StaleConnectionError(aiohttp.ServerDisconnectedError):
    """A connection that had brought an answer broke before the first byte of the next."""


class _Response(aiohttp.ClientResponse):
    """A response that tells a connection that was used again from a new one."""

    _used: ClassVar[WeakSet[Any]] = WeakSet()

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        protocol = connection.protocol
        try:
            await super().start(connection)
        except (aiohttp.ServerDisconnectedError, OSError) as error:
            if protocol in self._used:
                raise _StaleConnectionError(str(error)) from error
            raise
        self._used.add(protocol)
        return self


class ConnectionPool:
    """Connections, and what all requests on them have in common.

    Parameters
    ----------
    timeout
        Seconds for one request, from its departure to the last byte of its answer.
    tuning
        The timeout of a connection, and the time in which answers state the same limits.
    reuse
        Whether connections are used again.
    """

    def __init__(
        self,
        template: RequestTemplate,
        endpoint: Endpoint,
        timeout: float,
        tuning: Tuning,
        *,
        reuse: bool = True,
    ) -> None:
        self.template = template
        self.key_refused = False
        """Whether its key was refused, and there is no other key."""
        self._answers = 0
        self._stale = 0
        self._endpoint = endpoint
        self._timeout = timeout
        self._same_limits_seconds = tuning.same_limits_seconds
        self._limits_read_at = -inf
        self._url = URL(template.url, encoded=True)
        self._proxy_arguments = {} if template.proxy is None else _proxy_arguments(template, template.proxy)
        connections: Any = {"keepalive_timeout": _IDLE_SECONDS} if reuse else {"force_close": True}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=template.tls, **connections),
            response_class=_Response,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=None if self._proxy_arguments else template.headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(timeout, tuning.connect_seconds)),
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
        )

    @property
    def often_stale(self) -> bool:
        """Whether the server closes connections without saying so, so that none should be used again."""
        return self._stale >= max(_STALE_CONNECTIONS, _STALE_SHARE * self._answers)

    async def send(self, body: bytes) -> tuple[int, Reply | Refused]:
        """Send one request once; return the status, or 0 without one, and the result."""
        payload = _payload(body)
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._session.post(
                    self._url, data=payload, allow_redirects=False, **self._proxy_arguments
                )
                complete = response.content.is_eof()  # usually true
                raw = response.content.read_nowait() if complete else await response.read()
        except (
            aiohttp.ClientError,
            OSError,
            RuntimeError,
        ) as error:  # the last from uvloop for closed handles
            self._stale += isinstance(error, _StaleConnectionError)
            proxy = self.template.proxy
            return 0, Refused(connection_fault(error, None if proxy is None else proxy.url))
        except ValueError as error:  # for example a line break in a key or a header
            message = f"the request could not be made: {error}"
            return 0, Refused(RequestFault(FaultKind.FATAL, "client_error", message))
        return response.status, self._read(response.status, raw, response.headers)

    def _read(self, status: int, raw: bytes, headers: Mapping[str, str]) -> Reply | Refused:
        data, now = load_or_none(raw), time.monotonic()
        if 200 <= status < 300:
            self._answers += 1
            limits = None
            if now - self._limits_read_at > self._same_limits_seconds or _nothing_left(headers):
                limits = RateHeaders.parse(headers)
                self._limits_read_at = self._limits_read_at if limits is None else now
            return read_reply(self._endpoint, raw, data, limits)
        body = raw.decode(errors="replace") if data is None else data
        proxy = self.template.proxy
        fault = response_fault(
            status,
            body,
            retry_after(headers, time.time()),
            url=self.template.url,
            location=headers.get("location"),
            proxy=None if proxy is None else proxy.url,
        )
        return Refused(fault, RateHeaders.parse(headers))

    async def close_connections(self) -> None:
        await self._session.close()


class HttpTransport:
    """Sends the same requests as the SDK's transport, in less time.

    Parameters
    ----------
    sdk
        The SDK's transport, with llmframe's own client. It sends the requests itself where its HTTP library
        does not show how it connects.
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
        """Send one request once; every fault is returned as a value."""
        pool = self._pools[-1] if self._pools else await self._open_pool(request.body, None)
        if not isinstance(pool, ConnectionPool):
            return pool or await self._sdk.send(request)
        status, result = await pool.send(request.body)
        if isinstance(result, Reply):
            return result
        if status == 401 and not pool.key_refused:
            return await self._send_with_another_key(pool, request, result)
        if pool.often_stale and pool is self._pools[-1]:
            self._pools.append(self._pool(pool.template, reuse=False))
        if 300 <= status < 400 and result.fault.code != "invalid_base_url":  # the SDK decides about redirects
            return await self._sdk.send(request)
        if result.fault.code == "certificate":
            forget_certificates()
        if result.fault.code == "connection_lost":
            result = result._replace(fault=await explained(result.fault, self._sdk.client))
        return self._sdk.without_secrets(result, pool.template.headers)

    def _pool(self, template: RequestTemplate, *, reuse: bool = True) -> ConnectionPool:
        return ConnectionPool(template, self._sdk.endpoint, self._timeout, self._tuning, reuse=reuse)

    async def _send_with_another_key(
        self, refused: ConnectionPool, request: Request, result: Reply | Refused
    ) -> Reply | Refused:
        """Ask for the key again, and send the request with it if it has changed."""
        pool = await self._open_pool(request.body, refused)
        if not isinstance(pool, ConnectionPool):
            return pool or result
        if pool is not refused:
            _, result = await pool.send(request.body)
        return self._sdk.without_secrets(result, pool.template.headers)

    async def _open_pool(
        self, body: bytes, refused: ConnectionPool | None
    ) -> ConnectionPool | Refused | None:
        """Open a pool unless there is one whose key was not refused; `None` where only the SDK can send."""
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
            self._pools.append(self._pool(template))
            return self._pools[-1]

    async def close_connections(self) -> None:
        try:
            for pool in self._pools:
                await pool.close_connections()
        finally:
            await self._sdk.close_connections()


def _proxy_arguments(template: RequestTemplate, proxy: Proxy) -> dict[str, Any]:
    """Return aiohttp's arguments for a proxy; it would receive all headers of a session."""
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
