"""Requests to the API through the SDK: its clients, and the translation of its errors.

Requests are sent by the SDK's public `client.post` with ready bytes and its aiohttp client, without the slow
conversion of typed messages. `openai` takes a second to import, so the first call imports it.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import sys
import time
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit
from weakref import WeakSet

import orjson

from llmframe._addresses import SECRET_HEADERS, normalise
from llmframe._api.faults import SPEAKS_TLS, connection_fault, no_answer_fault, response_fault
from llmframe._api.responses import Proxy, Refused, Reply, RequestTemplate, read_reply
from llmframe._api.sdk_http import http_client, library, proxy_of, settings_of, speaks_tls, unusable_socks
from llmframe._json import UnreadableJSONError, load
from llmframe._loop import submit
from llmframe._options import header_fault, key_fault
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
_FOREIGN_LOOP = re.compile(r"\bloop\b|(client|session) (has been|is) closed", re.IGNORECASE)
_WRITTEN_BY_CLIENTS = frozenset({"connection", "accept-encoding", "content-length"})
"""Headers that an HTTP client writes itself, like a `host` that equals the address's."""

_FOREIGN_CLIENT = RequestFault(
    FaultKind.FATAL,
    "client_error",
    "client: its http_client was closed, or belongs to an event loop that has ended; "
    "make the client anew, or leave its http_client out",
)


class _BuiltError(Exception):
    """Prevents a built request from being sent."""


def connect(account: Account, *, timeout: float, connect_seconds: float = 15.0) -> tuple[Client, bool]:
    """Make the client of a run, inside the loop that will use it.

    Parameters
    ----------
    timeout, connect_seconds
        Timeouts of one request, and of a connection.

    Returns
    -------
    tuple
        The client, and whether llmframe must close it.
    """
    own = {} if account.client is None or account.asynchronous else settings_of(account.client)
    try:
        return _connected(account, timeout, min(timeout, connect_seconds), own)
    except errors() as error:
        raise ValueError(
            f"no client for {normalise(account.base_url)} can be made ({error}); "
            "check base_url, SSL_CERT_FILE, SSL_CERT_DIR and the environment's proxies"
        ) from error


def _connected(
    account: Account, timeout: float, connect_seconds: float, own: Mapping[str, Any]
) -> tuple[Client, bool]:
    import openai  # noqa: PLC0415

    timeouts = openai.Timeout(timeout, connect=connect_seconds)
    settings: dict[str, Any] = {"max_retries": 0, "timeout": timeouts}
    if account.asynchronous and not _has_default_pool(account.client):
        socks = unusable_socks(account.client._client, account.base_url)  # noqa: SLF001
        if socks is not None:
            raise ValueError(
                f"client: DefaultAioHttpClient cannot use {socks}; DefaultAsyncHttpxClient can, with the package socksio"
            )
        return account.client.with_options(**settings), False
    settings["http_client"] = http_client(account.base_url, own)
    if account.client is None:
        return openai.AsyncOpenAI(
            api_key=_provider(account.api_key), base_url=account.base_url, **settings
        ), True
    if not account.asynchronous:
        return _twin(account.client, settings), True
    return account.client.with_options(**settings), True


def _provider(key: Any) -> Any:
    if not callable(key):
        return key

    async def provide() -> str:
        value = key()
        value = await value if inspect.isawaitable(value) else value
        if not value:
            raise ValueError("api_key: the function gave no key")
        if not isinstance(value, str):
            raise ValueError(f"api_key: the function gave a {type(value).__name__}, and a key is text")  # noqa: TRY004 (translated with the SDK's)
        if fault := key_fault(value):
            raise ValueError(f"api_key: the function gave a key that cannot be sent; {fault}")
        return value.strip()

    return provide


def _has_default_pool(client: Any) -> bool:
    # A pool that the user made (proxies, certificates, mocks) is kept; another is replaced, because its
    # connections may belong to a loop that has ended.
    return type(getattr(client, "_client", None)).__name__ == "AsyncHttpxClientWrapper"


def _twin(client: Any, settings: Mapping[str, Any]) -> Client:
    """Copy a sync client into an async one with these settings."""
    import openai  # noqa: PLC0415

    common = {
        "api_key": getattr(client, "_api_key_provider", None) or client.api_key,
        "organization": client.organization,
        "project": client.project,
        "default_headers": client._custom_headers,  # noqa: SLF001 (the SDK has no public way to read them)
        "default_query": client._custom_query,  # noqa: SLF001
        **settings,
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
        Whether llmframe must close the client.
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
        """Send one request once; every fault is returned as a value."""
        content = self._content(request.body)
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._post_within_origin(content)
        except errors() as error:
            refused = translated(error, self.client, self._headers)
            return refused._replace(fault=await explained(refused.fault, self.client))
        return self.without_secrets(self._read(response))

    async def _post_within_origin(self, content: dict[str, Any]) -> Any:
        """Post a body, and follow a redirect unless it leads to another origin."""
        try:
            return await self._post(self.client, content, self._kept_response, follow_redirects=False)
        except self._openai.APIStatusError as error:
            if not 300 <= error.status_code < 400 or _refused(error).fault.code == "invalid_base_url":
                raise
        return await self._post(self.client, content, self._kept_response)

    def _read(self, response: Any) -> Reply | Refused:
        if not hasattr(response, "kept"):  # the SDK's reading of text, or of null
            return Refused(no_answer_fault(response))
        raw, headers = response.kept
        try:
            data = load(raw)
        except UnreadableJSONError:
            data = None
        return read_reply(self.endpoint, raw, data, RateHeaders.parse(headers))

    def without_secrets(
        self, result: Reply | Refused, headers: Mapping[str, str] | None = None
    ) -> Reply | Refused:
        """Mask in a message the keys of the request, from these headers or the client's own."""
        if isinstance(result, Reply):
            return result
        return _without_secrets(result, self.client, {**self._headers, **(headers or {})})

    def _content(self, body: bytes) -> dict[str, Any]:
        return {"content": body} if self._takes_bytes else {"body": orjson.loads(body)}

    async def _post(self, client: Client, content: dict[str, Any], cast_to: Any, **options: Any) -> Any:
        if self._headers:
            options["headers"] = self._headers
        return await client.post(self.endpoint.route, cast_to=cast_to, options=options, **content)  # type: ignore[call-overload]

    async def request_template(self, body: bytes) -> RequestTemplate | Refused | None:
        """Let the SDK build a request for this body without sending it.

        Return `None` where its HTTP library does not show how it connects.
        """
        built: list[Any] = []

        async def capture(request: Any) -> None:
            built.append(request)
            raise _BuiltError

        http = self.client._client  # noqa: SLF001
        capturing = self._openai.DefaultAsyncHttpxClient(
            event_hooks={"request": [capture]},
            verify=False,
            trust_env=False,  # proxies are not needed, and may lack a package
            headers=http.headers,
            params=http.params,
            cookies=http.cookies,
        )
        try:
            with suppress(_BuiltError):
                await self._post(self.client.with_options(http_client=capturing), self._content(body), object)
        except errors() as error:
            if not built:
                return translated(error, self.client, self._headers)
        finally:
            await capturing.aclose()
        if refused := _unsendable(self.client):
            return refused
        url = built[0].url.copy_with(userinfo=b"")  # the headers contain it
        default = {"host": url.netloc.decode()}
        headers = {
            name: value
            for name, value in built[0].headers.items()
            if name not in _WRITTEN_BY_CLIENTS and value != default.get(name)
        }
        route = self._route(url)
        return None if route is None else RequestTemplate(str(url), headers, *route)

    def _route(self, url: Any) -> tuple[ssl.SSLContext, Proxy | None] | None:
        # The trusted certificates and the proxy must be the SDK's, which has no public way to read them.
        try:
            transport = self.client._client._transport_for_url(url)  # noqa: SLF001
            tls, proxy = transport.ssl_context, transport.proxy  # type: ignore[attr-defined]
            return tls, proxy and Proxy(str(proxy.url), proxy.auth, dict(proxy.headers))
        except AttributeError:
            return None

    async def close_connections(self) -> None:
        if self._owned:
            await self.client.close()


def _wire_errors() -> tuple[type[Exception], ...]:
    """Return the errors that the SDK does not translate: those of its HTTP library, and of aiohttp and socksio below it."""
    import aiohttp  # noqa: PLC0415

    socks = (sys.modules["socksio"].SOCKSError,) if sys.modules.get("socksio") else ()
    return (library().HTTPError, library().InvalidURL, aiohttp.ClientError, OSError, *socks)


def errors() -> tuple[type[Exception], ...]:
    """Return the classes that `translated` translates.

    The SDK also raises errors of Python: `ValueError` for an invalid header or address, `ImportError` for a proxy
    whose package is missing, `RuntimeError` for a closed loop, connection or client.
    """
    import openai  # noqa: PLC0415

    return (openai.OpenAIError, *_wire_errors(), ValueError, RuntimeError, ImportError)


def translated(error: Exception, client: Client, headers: Mapping[str, str]) -> Refused:
    """Return an error of the SDK as a fault, without the keys of the request."""
    return _unsendable(client) or _without_secrets(_refused(error, client), client, headers)


def _unsendable(client: Client) -> Refused | None:
    """Return the fault of a key that a client's own function gave, or of a header, that cannot be sent."""
    texts: dict[str, object] = {"api_key: the client's function gave a key that": client.api_key or ""}
    texts |= {f"the client's header {name!r}": text for name, text in client.default_headers.items()}
    for what, text in texts.items():
        if isinstance(text, str) and (fault := header_fault(text)):
            message = f"{what} cannot be sent; {fault}"
            return Refused(RequestFault(FaultKind.FATAL, "client_error", message))
    return None


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
    """List the server's models within 20 seconds; empty where the server does not list them."""

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
        """A model that the SDK builds from a response, with the unchanged body and the headers."""

        @classmethod
        def build(cls, *, response: Any, data: object) -> Any:  # noqa: ARG003 (the body is read like that of every transport)
            model = cls.construct()
            object.__setattr__(model, "kept", (response.content, response.headers))
            return model

    return KeptResponse


def _refused(error: Exception, client: Client | None = None) -> Refused:  # noqa: PLR0911 (a table)
    """Translate an error into a fault."""
    import openai  # noqa: PLC0415

    proxy = None if client is None else proxy_of(client._client, str(client.base_url))  # noqa: SLF001
    if isinstance(error, openai.APIStatusError):
        return _refused_response(error, proxy)
    if isinstance(error, json.JSONDecodeError):
        return Refused(no_answer_fault(error.doc))
    if isinstance(error, UnicodeDecodeError):
        return Refused(no_answer_fault(error.object.decode(errors="replace")))
    if isinstance(error, (RecursionError, openai.APIResponseValidationError)):
        return Refused(no_answer_fault("{"))
    cause = error.__cause__ or error
    if isinstance(cause, RuntimeError) and _FOREIGN_LOOP.search(str(cause)):
        return Refused(replace(_FOREIGN_CLIENT, uncertain="different" in str(cause)))
    if isinstance(error, (openai.APIConnectionError, *_wire_errors(), RuntimeError)):
        return Refused(connection_fault(error, proxy))
    message = f"{type(error).__name__}: {error}"
    return Refused(RequestFault(FaultKind.FATAL, "client_error", f"the request could not be made: {message}"))


def _refused_response(error: openai.APIStatusError, proxy: str | None) -> Refused:
    response = error.response
    first = response.history[0] if response.history else response
    location = str(response.url) if response.history else response.headers.get("location")
    if response.url.path.endswith("/content"):  # files may lie with another host
        location = None
    fault = response_fault(
        error.status_code,
        error.body,
        retry_after(response.headers, time.time()),
        url=str(first.url),
        location=location,
        proxy=proxy,
    )
    return Refused(fault, RateHeaders.parse(response.headers))


_probed: WeakSet[Client] = WeakSet()


async def explained(fault: RequestFault, client: Client) -> RequestFault:
    """Return a fault, or for the first connection that broke, that its port speaks TLS and was asked without it."""
    url = str(client.base_url)
    if fault.code != "connection_lost" or not url.startswith("http:") or client in _probed:
        return fault
    _probed.add(client)
    through_proxy = proxy_of(client._client, url) is not None  # noqa: SLF001
    return SPEAKS_TLS if not through_proxy and await speaks_tls(url) else fault
