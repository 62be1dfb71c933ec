"""To and from the API: the only module that knows the `openai` package.

Requests go through the SDK's public `client.post` with ready bytes and its aiohttp client, which
skips the slow walk over typed messages. Its errors are translated here, once; whether to try again
is decided elsewhere. `openai` takes a second to import, so it is imported by the first call.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
import ssl
import sys
import time
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

import orjson

from llmframe._limits import RateHeaders, retry_after
from llmframe._loop import submit
from llmframe._plan import SECRET_HEADERS, normalise
from llmframe._records import Fault, Trouble
from llmframe._status import classify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import openai

    from llmframe._records import Request

OPENAI_URL = "https://api.openai.com/v1"
COMPLETIONS = "/v1/chat/completions"

Client: TypeAlias = "openai.AsyncOpenAI"

_CONNECT_SECONDS = 15.0
_SHORTEST_SECRET = 8


@dataclass(frozen=True, slots=True)
class Reply:
    """A 200: its body as bytes and as JSON, and what its headers said of the limits."""

    raw: bytes
    data: dict[str, Any]
    headers: RateHeaders | None


@dataclass(frozen=True, slots=True)
class Refused:
    """A fault, and what the headers said of the limits."""

    fault: Fault
    headers: RateHeaders | None = None


@cache
def parameters() -> frozenset[str]:
    """Name what the installed SDK's chat completion takes."""
    from openai.resources.chat.completions import AsyncCompletions  # noqa: PLC0415

    names = frozenset(inspect.signature(AsyncCompletions.create).parameters)
    ours = {"self", "messages", "model", "extra_headers", "extra_query", "extra_body", "timeout"}
    return names - ours


@dataclass(frozen=True)
class Account:
    """Where requests go and as whom.

    Parameters
    ----------
    base_url
        The server's address; with a client, that client's.
    api_key
        A key, or an async (or plain) function that returns one.
    client
        The user's own client, instead of the two.
    """

    base_url: str
    api_key: str | Callable[[], Any] | None = None
    client: Any = None

    def __repr__(self) -> str:
        return f"Account({normalise(self.base_url)!r})"

    @property
    def asynchronous(self) -> bool:
        """Whether the client is the user's own async one, whose connections belong to a loop."""
        return self.client is not None and inspect.iscoroutinefunction(self.client.close)

    @property
    def api_version(self) -> str | None:
        """Azure's API version, which decides what is answered."""
        version = self.client.default_query.get("api-version") if self.client is not None else None
        return None if version is None else str(version)

    @property
    def has_key(self) -> bool:
        return self.client is not None or bool(self.api_key)


def account(client: Any, api_key: str | Callable[[], Any] | None, base_url: str | None) -> Account:
    """Describe the account; the client's own settings win over key and address."""
    if client is None:
        return Account(base_url or OPENAI_URL, api_key)
    if not all(hasattr(client, name) for name in ("chat", "base_url", "with_options", "default_query")):
        raise TypeError(
            f"client must be an AsyncOpenAI, AsyncAzureOpenAI or one of their sync twins; got {type(client).__name__}"
        )
    return Account(str(client.base_url), None, client)


def connect(account: Account, *, timeout: float, shared_loop: bool) -> tuple[Client, bool]:
    """Make the client for a run, inside the loop that will use it.

    Parameters
    ----------
    timeout
        Seconds for one request.
    shared_loop
        Whether this is the loop to which the user's own async client belongs.

    Returns
    -------
    tuple
        The client, and whether it is ours to close.
    """
    import openai  # noqa: PLC0415

    patience = openai.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS))
    settings: dict[str, Any] = {"max_retries": 0, "timeout": patience}
    if account.client is None:
        return openai.AsyncOpenAI(
            api_key=_provider(account.api_key),
            base_url=account.base_url,
            http_client=openai.DefaultAioHttpClient(),
            **settings,
        ), True
    if not account.asynchronous:
        return _twin(account.client).with_options(http_client=openai.DefaultAioHttpClient(), **settings), True
    if shared_loop or not _has_default_pool(account.client):
        return account.client.with_options(**settings), False
    return account.client.with_options(http_client=openai.DefaultAioHttpClient(), **settings), True


def _provider(key: Any) -> Any:
    if not callable(key):
        return key

    async def provide() -> str:
        value = key()
        return str(await value if inspect.isawaitable(value) else value)

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


class Transport:
    """Sends requests through one client, in the loop that made it.

    Parameters
    ----------
    timeout
        Seconds for one request, from its departure to the last byte of its answer.
    """

    def __init__(self, client: Client, *, owned: bool, timeout: float, headers: Mapping[str, str]) -> None:
        import openai  # noqa: PLC0415

        self._openai = openai
        self.client = client
        self._owned = owned
        self._timeout = timeout
        self._options: Any = {"headers": dict(headers)} if headers else {}
        self._reply = _reply_type()
        self._takes_bytes = not isinstance(client, openai.AsyncAzureOpenAI)

    async def send(self, request: Request) -> Reply | Refused:
        """Send one request once; every fault comes back as a value."""
        body: dict[str, Any] = (
            {"content": request.body} if self._takes_bytes else {"body": orjson.loads(request.body)}
        )
        try:
            async with asyncio.timeout(self._timeout):
                reply = await self.client.post(
                    "/chat/completions", cast_to=self._reply, options=self._options, **body
                )
        except (self._openai.OpenAIError, OSError, ValueError) as error:
            return translated(error, self.client, self._options.get("headers", {}))
        result = _check_reply(getattr(reply, "reply", None))
        if isinstance(result, Reply):
            return result
        return _without_secrets(result, self.client, self._options.get("headers", {}))

    async def models(self) -> list[str]:
        """List the server's models; nothing where it does not say."""
        try:
            async with asyncio.timeout(min(self._timeout, 20.0)):
                return [model.id async for model in self.client.models.list()]
        except (self._openai.OpenAIError, OSError, ValueError):
            return []

    async def close(self) -> None:
        if self._owned:
            await self.client.close()


def errors() -> tuple[type[Exception], ...]:
    """Name the classes of what `translated` translates."""
    import openai  # noqa: PLC0415

    return (openai.OpenAIError, _streaming_error(), OSError, ValueError)


@cache
def _streaming_error() -> type[Exception]:
    """Name the class of what the SDK lets through while a body streams: its HTTP library's own."""
    import openai  # noqa: PLC0415

    error: type[Exception] = sys.modules[openai.Timeout.__init__.__module__.partition(".")[0]].HTTPError
    return error


def translated(error: Exception, client: Client, headers: Mapping[str, str]) -> Refused:
    """Say in our words what the SDK raised, without the keys that it went with."""
    return _without_secrets(_refused(error), client, headers)


def _without_secrets(refused: Refused, client: Client, headers: Mapping[str, str]) -> Refused:
    """Take keys out of a message: some servers repeat the key that they refuse."""
    message = refused.fault.message
    for secret in _secrets(client, headers):
        message = message.replace(secret, "***")
    return replace(refused, fault=replace(refused.fault, message=message))


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
        client, owned = connect(account, timeout=20.0, shared_loop=False)
        transport = Transport(client, owned=owned, timeout=20.0, headers={})
        try:
            return await transport.models()
        finally:
            await transport.close()

    work = submit(listed)
    work.wait()
    return work.future.result()


@cache
def _reply_type() -> Any:
    import openai  # noqa: PLC0415

    class ReplyModel(openai.BaseModel):
        """The door that the SDK leaves open: given the response itself, and its JSON."""

        @classmethod
        def build(cls, *, response: Any, data: object) -> Any:
            model = cls.construct()
            object.__setattr__(model, "reply", (response.content, data, RateHeaders.parse(response.headers)))
            return model

    return ReplyModel


def _check_reply(reply: tuple[bytes, Any, RateHeaders | None] | None) -> Reply | Refused:
    if reply is None or not isinstance(reply[1], dict):
        return Refused(_garbled("the answer is not a JSON object"))
    raw, data, headers = reply
    if "choices" not in data:
        error = data.get("error")
        if isinstance(error, dict):
            status = error.get("code")
            return Refused(classify(status if isinstance(status, int) else 500, error, None), headers)
        return Refused(_garbled("the answer has no choices"), headers)
    return Reply(raw, data, headers)


def _garbled(message: str) -> Fault:
    return Fault(Trouble.PASSING, "unparsable_answer", message, uncertain=True)


def _refused(error: Exception) -> Refused:
    """Translate whatever went wrong into a fault."""
    import openai  # noqa: PLC0415

    if isinstance(error, openai.APIStatusError):
        headers = error.response.headers
        fault = classify(error.status_code, error.body, retry_after(headers, time.time()), error.message)
        return Refused(fault, RateHeaders.parse(headers))
    if isinstance(error, openai.APIConnectionError | OSError | _streaming_error()):
        return Refused(_connection_fault(error))
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | openai.APIResponseValidationError):
        return Refused(_garbled("the answer is not JSON"))
    message = f"{type(error).__name__}: {error}"
    return Refused(Fault(Trouble.FATAL, "client_error", f"the request could not be made: {message}"))


_NEVER_CONNECTED = frozenset({"ConnectionTimeoutError", "ClientProxyConnectionError", "ClientHttpProxyError"})
_BROKEN = frozenset(
    {
        "ServerDisconnectedError",
        "ClientOSError",
        "ClientPayloadError",
        "ReadError",
        "RemoteProtocolError",
        "ConnectionResetError",
    }
)
_NEVER_CONNECTED_UNLESS_BROKEN = frozenset({"ConnectError", "ConnectTimeout", "ProxyError"})
"""httpx's names, of which the SDK's aiohttp transport also gives `ConnectTimeout` to a broken connection."""
_NO_ADDRESS = frozenset({"UnsupportedProtocol", "InvalidURL", "InvalidUrlClientError"})


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _connection_fault(error: Exception) -> Fault:
    causes = list(_causes(error))
    last = next((str(cause) for cause in reversed(causes) if str(cause)), type(causes[-1]).__name__)
    names = {type(cause).__name__ for cause in causes}
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return Fault(Trouble.FATAL, "certificate", f"the server's certificate is not trusted: {last}")
    if names & _NO_ADDRESS:
        return Fault(Trouble.FATAL, "invalid_base_url", f"base_url is no address: {last}")
    if _never_connected(causes, names):
        return Fault(Trouble.UNREACHABLE, "unreachable", f"no connection: {last}")
    if names & _BROKEN or not _timed_out(causes, names):
        return Fault(Trouble.PASSING, "connection_lost", f"the connection broke: {last}", uncertain=True)
    return Fault(Trouble.PASSING, "timeout", "no answer within the timeout", uncertain=True)


def _never_connected(causes: list[BaseException], names: set[str]) -> bool:
    return (
        any(isinstance(cause, ConnectionRefusedError | socket.gaierror) for cause in causes)
        or any(name.startswith("ClientConnector") for name in names)
        or bool(names & _NEVER_CONNECTED)
        or bool(names & _NEVER_CONNECTED_UNLESS_BROKEN and not names & _BROKEN)
    )


def _timed_out(causes: list[BaseException], names: set[str]) -> bool:
    return any(isinstance(cause, TimeoutError) for cause in causes) or any(
        "Timeout" in name for name in names
    )
