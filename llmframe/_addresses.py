"""Addresses of servers, and the headers that carry a key."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

OPENAI_URL = "https://api.openai.com/v1"

SECRET_HEADERS = frozenset({"authorization", "api-key", "x-api-key", "cookie", "proxy-authorization"})


def normalise(base_url: str) -> str:
    """Return the normal form of a server's address, without credentials.

    Examples
    --------
    >>> normalise("HTTPS://user:secret@Api.OpenAI.com:443/v1/")
    'https://api.openai.com/v1'
    """
    parts = urlsplit(base_url)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}.get(parts.scheme.lower())
    port = "" if parts.port in {None, default} else f":{parts.port}"
    return urlunsplit((parts.scheme.lower(), host + port, parts.path.rstrip("/"), parts.query, ""))


def origin(url: str) -> str:
    """Return an address's scheme, host and port, in normal form.

    Examples
    --------
    >>> origin("https://Api.OpenAI.com:443/v1/chat/completions")
    'https://api.openai.com'
    """
    parts = urlsplit(normalise(url))
    return f"{parts.scheme}://{parts.netloc}"


def is_openai(base_url: str) -> bool:
    """Return whether an address is OpenAI's own (data residency included)."""
    host = normalise(base_url).partition("://")[2].partition("/")[0]
    return host == "api.openai.com" or host.endswith(".api.openai.com")
