"""The SDK's HTTP clients: their certificates and proxies, and the settings of a user's own.

The HTTP libraries below the SDK (httpx2, httpx and aiohttp) are never imported by name, and have no public way to
read how a client connects.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import sys
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from llmframe._addresses import normalise

if TYPE_CHECKING:
    from collections.abc import Mapping

    import openai

Client: TypeAlias = "openai.AsyncOpenAI"

_PROBE_SECONDS = 1.0
_KNOWN_PROXY = re.compile(r"(https?|socks5h?)://|(?!.*://)", re.IGNORECASE)
_WRITTEN_BY_LIBRARIES = frozenset({"accept", "accept-encoding", "connection", "user-agent"})
"""Headers that every HTTP client of the SDK's library has, and that the SDK overwrites where they matter."""


def http_client(base_url: str, own: Mapping[str, Any]) -> Any:
    """Make an HTTP client for an address, with a user's own settings.

    The trusted certificates take 20 ms to read, so each source is read once.
    """
    import openai  # noqa: PLC0415

    known = _certificates.get(_trusted())
    settings = {**({} if known is None else {"verify": known}), **own}
    try:
        client = openai.DefaultAioHttpClient(**settings)
    except ValueError:  # a proxy that the HTTP library does not know, perhaps for other addresses
        proxy = _environment_proxy(base_url)
        if proxy is not None and not _KNOWN_PROXY.match(proxy):
            raise ValueError(
                f"{normalise(proxy)} is no proxy that can be used; http, https and socks5 can"
            ) from None
        settings |= _proxy_settings(proxy)
        client = openai.DefaultAioHttpClient(**settings)
    with suppress(AttributeError):
        if "verify" not in own:
            _certificates.setdefault(_trusted(), client._transport.ssl_context)  # type: ignore[attr-defined] # noqa: SLF001
    socks = unusable_socks(client, base_url)
    if socks is None:
        return client
    try:
        return openai.DefaultAsyncHttpxClient(**settings)
    except ImportError:
        raise ValueError(
            f"{socks} is a SOCKS proxy, which needs the package socksio: pip install socksio"
        ) from None


def unusable_socks(http_client: Any, url: str) -> str | None:
    """Return the SOCKS proxy for an address to which aiohttp would speak plain HTTP, the key included."""
    proxy = proxy_of(http_client, url)
    by_aiohttp = hasattr(_transport(http_client, url), "ssl_context")
    return proxy if proxy is not None and proxy.startswith("socks") and by_aiohttp else None


def _environment_proxy(base_url: str) -> str | None:
    """Return the proxy that the environment names for an address."""
    parts, proxies = urlsplit(base_url), getproxies()
    return None if proxy_bypass(parts.netloc) else proxies.get(parts.scheme.lower()) or proxies.get("all")


def _proxy_settings(proxy: Any) -> dict[str, Any]:
    """Return the arguments of an HTTP client that uses this proxy, or none, whatever the environment says."""
    return {"proxy": proxy} if proxy is not None else {"proxy": "http://unused", "mounts": {"all://": None}}


def proxy_of(http_client: Any, url: str) -> str | None:
    """Return the proxy through which an HTTP client connects to an address, without credentials."""
    try:
        transport = _transport(http_client, url)
        proxy = transport.proxy.url if hasattr(transport, "ssl_context") else _pool_proxy(transport._pool)  # noqa: SLF001
        return normalise(str(proxy))
    except AttributeError:  # no proxy, or a transport of the user's own
        return None


def _transport(http_client: Any, url: str) -> Any:
    return http_client._transport_for_url(http_client.build_request("POST", url).url)  # noqa: SLF001


def _pool_proxy(pool: Any) -> str:
    url = pool._proxy_url  # noqa: SLF001
    return f"{url.scheme.decode()}://{url.host.decode()}:{url.port}"


def settings_of(client: Any) -> dict[str, Any]:
    """Return the settings of a sync client's own `http_client` as arguments of an async one.

    Raises
    ------
    ValueError
        For what an async one cannot have.
    """
    http = client._client  # noqa: SLF001 (the SDK has no public way to read it)
    if type(http).__name__ == "SyncHttpxClientWrapper":
        return {}
    transport = _transport(http, str(client.base_url))
    pool = getattr(transport, "_pool", None)
    own = {
        f"its class {type(http).__name__}": type(http).__name__ not in {"Client", "_DefaultHttpxClient"},
        "event_hooks": any(map(_not_the_sdks, chain(*http.event_hooks.values()))),
        "auth": http.auth is not None,
        f"the transport {type(transport).__name__}": type(transport).__name__ != "HTTPTransport",
        "a Unix socket or local address": getattr(pool, "_uds", None)
        or getattr(pool, "_local_address", None),
        "the proxy's certificates": getattr(pool, "_proxy_ssl_context", None) is not None,
    }
    refused = [name for name, is_own in own.items() if is_own]
    if refused:
        raise ValueError(
            f"client: its http_client has what an async one cannot take over ({', '.join(refused)}); "
            "pass an AsyncOpenAI with an async http_client"
        )
    return {
        "verify": transport._pool._ssl_context,  # noqa: SLF001
        "headers": {name: text for name, text in http.headers.items() if name not in _WRITTEN_BY_LIBRARIES},
        "params": str(http.params),
        "cookies": http.cookies.jar,
        "follow_redirects": http.follow_redirects,
        **_proxy_settings(_copied_proxy(pool)),
    }


def _not_the_sdks(hook: Any) -> bool:
    """Return whether an event hook is the user's; the SDK gives its own to Azure's clients."""
    return not str(getattr(hook, "__module__", "")).startswith("openai.")


def _copied_proxy(pool: Any) -> Any:
    """Return the proxy of a sync pool, with its password and headers."""
    if not hasattr(pool, "_proxy_url"):
        return None
    headers = [(name.decode(), text.decode()) for name, text in getattr(pool, "_proxy_headers", ())]
    auth = getattr(pool, "_proxy_auth", None)
    return library().Proxy(
        _pool_proxy(pool), auth=auth and tuple(part.decode() for part in auth), headers=headers
    )


def _trusted() -> tuple[str | None, str | None]:
    return os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")


_certificates: dict[tuple[str | None, str | None], ssl.SSLContext] = {}


def forget_certificates() -> None:
    """Let the next client read the trusted certificates again: a missing one may have been added."""
    _certificates.clear()


def library() -> Any:
    """Return the SDK's HTTP library, whose name changed with a version of the SDK."""
    import openai  # noqa: PLC0415

    return sys.modules[openai.Timeout.__init__.__module__.partition(".")[0]]


async def speaks_tls(url: str) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or 80, ssl=context)
    except OSError:  # TimeoutError included
        return False
    writer.close()
    return True
