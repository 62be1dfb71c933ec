"""The faults of requests through the SDK, from its errors and those of the libraries below it, without secrets."""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from weakref import WeakSet

from llmframe._addresses import SECRET_HEADERS, header_fault
from llmframe._api.faults import SPEAKS_TLS, connection_fault, no_answer_fault, response_fault
from llmframe._api.responses import Refused
from llmframe._api.sdk_http import Client, library, proxy_of, speaks_tls
from llmframe._pacing import RateHeaders, retry_after
from llmframe._values import FaultKind, RequestFault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import openai

_SHORTEST_SECRET = 8
_FOREIGN_LOOP = re.compile(r"\bloop\b|(client|session) (has been|is) closed", re.IGNORECASE)
_FOREIGN_CLIENT = RequestFault(
    FaultKind.FATAL,
    "client_error",
    "client: its http_client was closed, or belongs to an event loop that has ended; "
    "make the client anew, or leave its http_client out",
)


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


async def translated(error: Exception, client: Client, headers: Mapping[str, str]) -> Refused:
    """Return an error of the SDK as a fault, without the keys of the request."""
    refused = unsendable(client) or without_secrets(refused_by(error, client), client, headers)
    return refused._replace(fault=await explained(refused.fault, client))


def unsendable(client: Client) -> Refused | None:
    """Return the fault of a key that a client's own function gave, or of a header, that cannot be sent."""
    texts: dict[str, object] = {"api_key: the client's function gave a key that": client.api_key or ""}
    texts |= {f"the client's header {name!r}": text for name, text in client.default_headers.items()}
    for what, text in texts.items():
        if isinstance(text, str) and (fault := header_fault(text)):
            message = f"{what} cannot be sent; {fault}"
            return Refused(RequestFault(FaultKind.FATAL, "client_error", message))
    return None


def without_secrets(refused: Refused, client: Client, headers: Mapping[str, str]) -> Refused:
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


def refused_by(error: Exception, client: Client) -> Refused:  # noqa: PLR0911 (a table)
    """Translate an error into a fault."""
    import openai  # noqa: PLC0415

    proxy = proxy_of(client._client, str(client.base_url))  # noqa: SLF001
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
