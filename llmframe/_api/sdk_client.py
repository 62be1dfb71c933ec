"""To and from the API through the SDK: its clients, and its errors translated.

Requests go through the SDK's public `client.post` with ready bytes and its aiohttp client, which
skips the slow walk over typed messages. Whether a request is sent again is decided elsewhere. `openai` takes a
second to import, so it is imported by the first call.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

import orjson

from llmframe._addresses import SECRET_HEADERS, normalise
from llmframe._api.faults import connection_fault, status_fault, unreadable_fault
from llmframe._api.responses import Proxy, Refused, Reply, RequestTemplate, read_reply
from llmframe._json import UnreadableJSONError, load
from llmframe._loop import submit
from llmframe._pacing import RateHeaders, retry_after
from llmframe._values import FaultKind, RequestFault

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

    import openai

    from llmframe._api.account import Account
    from llmframe._values import Endpoint, Request

Client: TypeAlias = "openai.AsyncOpenAI"

_SHORTEST_SECRET = 8
_WRITTEN_BY_CLIENTS = frozenset({"connection", "accept-encoding", "content-length"})
"""Headers that an HTTP client writes itself, as it does with a `host` that is the address's."""


class _BuiltError(Exception):
    """Keeps a request from leaving once it is built."""


def connect(
    account: Account, *, timeout: float, connect_seconds: float = 15.0, shared_loop: bool = False
) -> tuple[Client, bool]:
    """Make the client for a run, inside the loop that will use it.

    Parameters
    ----------
    timeout, connect_seconds
        For one request, and for a connection to be made.
    shared_loop
        Whether this is the loop to which the user's own async client belongs.

    Returns
    -------
    tuple
        The client, and whether it is ours to close.
    """
    try:
        return _connected(account, timeout, min(timeout, connect_seconds), shared_loop=shared_loop)
    except errors() as error:
        raise ValueError(
            f"no client for {normalise(account.base_url)} can be made ({error}); "
            "check base_url, SSL_CERT_FILE, SSL_CERT_DIR and the environment's proxies"
        ) from error


def _connected(
    account: Account, timeout: float, connect_seconds: float, *, shared_loop: bool
) -> tuple[Client, bool]:
    import openai  # noqa: PLC0415

    patience = openai.Timeout(timeout, connect=connect_seconds)
    settings: dict[str, Any] = {"max_retries": 0, "timeout": patience}
    if account.client is None:
        return openai.AsyncOpenAI(
            api_key=_provider(account.api_key),
            base_url=account.base_url,
            http_client=_http_client(),
            **settings,
        ), True
    if not account.asynchronous:
        return _twin(account.client).with_options(http_client=_http_client(), **settings), True
    if shared_loop or not _has_default_pool(account.client):
        return account.client.with_options(**settings), False
    return account.client.with_options(http_client=_http_client(), **settings), True


def _http_client() -> Any:
    """Make an HTTP client; reading the trusted certificates takes 20 ms, so it is done once for each source."""
    import openai  # noqa: PLC0415

    known = _certificates.get(_trusted())
    return openai.DefaultAioHttpClient() if known is None else openai.DefaultAioHttpClient(verify=known)


def _trusted() -> tuple[str | None, str | None]:
    return os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")


_certificates: dict[tuple[str | None, str | None], ssl.SSLContext] = {}


def forget_certificates() -> None:
    """Read the trusted certificates again for the next client: one that was missing may be there by then."""
    _certificates.clear()


def _provider(key: Any) -> Any:
    if not callable(key):
        return key

    async def provide() -> str:
        value = key()
        value = await value if inspect.isawaitable(value) else value
        if not value:
            raise ValueError("api_key: the function gave no key")
        return str(value)

    return provide


def _has_default_pool(client: Any) -> bool:
    # A pool that the user made (proxies, certificates, mocks) is kept even on another loop.
    return type(getattr(client, "_client", None)).__name__ == "AsyncHttpxClientWrapper"


def _twin(client: Any) -> Client:
    """Copy a sync client's settings into an async one."""
    import openai  # noqa: PLC0415

    common = {
        "api_key": getattr(client, "_api_key_provider", None) or client.api_key,
        "organization": client.organization,
        "project": client.project,
        "default_headers": client._custom_headers,  # noqa: SLF001 (the SDK has no public way to read them)
        "default_query": client._custom_query,  # noqa: SLF001
    }
    if isinstance(common["api_key"], str) is False:
        common["api_key"] = _provider(common["api_key"])
    if not isinstance(client, openai.AzureOpenAI):
        return openai.AsyncOpenAI(base_url=client.base_url, **common)
    token: dict[str, Any] = {}
    if client._azure_ad_token is not None or client._azure_ad_token_provider is not None:  # noqa: SLF001
        common["api_key"] = None
        token = {
            "azure_ad_token": client._azure_ad_token,  # noqa: SLF001
            "azure_ad_token_provider": client._azure_ad_token_provider,  # noqa: SLF001
        }
    twin = openai.AsyncAzureOpenAI(
        base_url=str(client.base_url),
        api_version=client._api_version,  # noqa: SLF001
        **common,
        **token,
    )
    twin._azure_endpoint, twin._azure_deployment = client._azure_endpoint, client._azure_deployment  # noqa: SLF001
    return twin


class SdkTransport:
    """Sends requests through one client, in the loop that made it.

    Parameters
    ----------
    owned
        Whether the client is ours to close.
    timeout
        Seconds for one request, from its departure to the last byte of its answer.
    headers
        The call's `extra_headers`.
    """

    def __init__(
        self,
        client: Client,
        endpoint: Endpoint,
        *,
        owned: bool,
        timeout: float,
        headers: Mapping[str, str],
    ) -> None:
        import openai  # noqa: PLC0415

        self._openai = openai
        self.client = client
        self.endpoint = endpoint
        self._owned = owned
        self._timeout = timeout
        self._headers = dict(headers)
        self._kept_response = _kept_response_type()
        self._takes_bytes = not isinstance(client, openai.AsyncAzureOpenAI)

    async def send(self, request: Request) -> Reply | Refused:
        """Send one request once; every fault comes back as a value."""
        content = self._content(request.body)
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._post(self.client, content, self._kept_response)
        except errors() as error:
            return translated(error, self.client, self._headers)
        return self.without_secrets(self._read(response))

    def _read(self, response: Any) -> Reply | Refused:
        raw, headers = getattr(response, "kept", (b"", {}))
        try:
            data = load(raw)
        except UnreadableJSONError:
            data = None
        return read_reply(self.endpoint, raw, data, RateHeaders.parse(headers))

    def without_secrets(
        self, result: Reply | Refused, headers: Mapping[str, str] | None = None
    ) -> Reply | Refused:
        """Mask in a message the keys that went with the request, in these headers or the client's own."""
        if isinstance(result, Reply):
            return result
        return _without_secrets(result, self.client, {**self._headers, **(headers or {})})

    def _content(self, body: bytes) -> dict[str, Any]:
        return {"content": body} if self._takes_bytes else {"body": orjson.loads(body)}

    async def _post(self, client: Client, content: dict[str, Any], cast_to: Any) -> Any:
        options: Any = {"headers": self._headers} if self._headers else {}
        return await client.post(self.endpoint.route, cast_to=cast_to, options=options, **content)

    async def request_template(self, body: bytes) -> RequestTemplate | Refused | None:
        """Let the SDK build a request for this body, and keep it from leaving.

        Return `None` where its HTTP library does not say how it would connect.
        """
        built: list[Any] = []

        async def catch(request: Any) -> None:
            built.append(request)
            raise _BuiltError

        nowhere = self._openai.DefaultAsyncHttpxClient(event_hooks={"request": [catch]}, verify=False)
        try:
            with suppress(_BuiltError):
                await self._post(self.client.with_options(http_client=nowhere), self._content(body), object)
        except errors() as error:
            if not built:
                return translated(error, self.client, self._headers)
        finally:
            await nowhere.aclose()
        url = built[0].url.copy_with(userinfo=b"")  # it is in the headers
        default = {"host": url.netloc.decode()}
        headers = {
            name: value
            for name, value in built[0].headers.items()
            if name not in _WRITTEN_BY_CLIENTS and value != default.get(name)
        }
        route = self._route(url)
        return None if route is None else RequestTemplate(str(url), headers, *route)

    def _route(self, url: Any) -> tuple[ssl.SSLContext, Proxy | None] | None:
        # Which certificates are trusted and what proxy is used has no public way, and must be the SDK's.
        try:
            transport = self.client._client._transport_for_url(url)  # noqa: SLF001
            tls, proxy = transport.ssl_context, transport.proxy  # type: ignore[attr-defined]
            _certificates.setdefault(_trusted(), tls)
            return tls, proxy and Proxy(str(proxy.url), proxy.auth, dict(proxy.headers))
        except AttributeError:
            return None

    async def close_connections(self) -> None:
        if self._owned:
            await self.client.close()


@cache
def _wire_errors() -> tuple[type[Exception], ...]:
    """Name what the SDK lets through: errors of its HTTP library, and of aiohttp below that."""
    import aiohttp  # noqa: PLC0415
    import openai  # noqa: PLC0415

    library = sys.modules[openai.Timeout.__init__.__module__.partition(".")[0]]
    return (library.HTTPError, library.InvalidURL, aiohttp.ClientError, OSError)


@cache
def errors() -> tuple[type[Exception], ...]:
    """Name the classes that `translated` translates.

    The SDK also lets bare errors of Python through: `ValueError` for a header or an address that cannot be,
    `ImportError` for a proxy whose package is missing.
    """
    import openai  # noqa: PLC0415

    return (openai.OpenAIError, *_wire_errors(), ValueError, RecursionError, ImportError)


def translated(error: Exception, client: Client, headers: Mapping[str, str]) -> Refused:
    """Say in our words what the SDK raised, without the keys that it went with."""
    return _without_secrets(_refused(error), client, headers)


def _without_secrets(refused: Refused, client: Client, headers: Mapping[str, str]) -> Refused:
    """Mask keys in a message: some servers repeat the key that they refuse."""
    message = refused.fault.message
    for secret in _secrets(client, headers):
        message = message.replace(secret, "***")
    return refused._replace(fault=replace(refused.fault, message=message))


def _secrets(client: Client, headers: Mapping[str, str]) -> Iterator[str]:
    address = urlsplit(str(client.base_url))
    given = [
        value.partition(" ")[2] or value for name, value in headers.items() if name.lower() in SECRET_HEADERS
    ]
    tokens = (client.api_key, getattr(client, "_azure_ad_token", None), address.password, *given)
    return (token for token in tokens if isinstance(token, str) and len(token) >= _SHORTEST_SECRET)


def list_models(account: Account) -> list[str]:
    """List the server's models, waiting for at most some seconds; nothing where it does not say."""

    async def listed() -> list[str]:
        client, owned = connect(account, timeout=20.0)
        try:
            async with asyncio.timeout(20.0):
                return [model.id async for model in client.models.list()]
        except errors():
            return []
        finally:
            if owned:
                await client.close()

    task = submit(listed)
    task.wait()
    return task.future.result()


@cache
def _kept_response_type() -> Any:
    import openai  # noqa: PLC0415

    class KeptResponse(openai.BaseModel):
        """What the SDK builds from a response, which it gives us: the body as it came, and the headers."""

        @classmethod
        def build(cls, *, response: Any, data: object) -> Any:  # noqa: ARG003 (its JSON is read as ours is)
            model = cls.construct()
            object.__setattr__(model, "kept", (response.content, response.headers))
            return model

    return KeptResponse


def _refused(error: Exception) -> Refused:
    """Translate whatever went wrong into a fault."""
    import openai  # noqa: PLC0415

    if isinstance(error, openai.APIStatusError):
        headers = error.response.headers
        fault = status_fault(error.status_code, error.body, retry_after(headers, time.time()))
        return Refused(fault, RateHeaders.parse(headers))
    unreadable = (
        json.JSONDecodeError,
        UnicodeDecodeError,
        RecursionError,
        openai.APIResponseValidationError,
    )
    if isinstance(error, unreadable):
        return Refused(unreadable_fault("the answer is not a JSON object"))
    if isinstance(error, (openai.APIConnectionError, *_wire_errors())):
        return Refused(connection_fault(error))
    message = f"{type(error).__name__}: {error}"
    return Refused(RequestFault(FaultKind.FATAL, "client_error", f"the request could not be made: {message}"))
