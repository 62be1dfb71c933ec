"""Addresses of servers and of databases, the headers that carry a key, and what none of these can be."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROUTE = "/chat/completions"
_CONTROLS = {"\n": "a line break", "\r": "a carriage return", "\t": "a tab"}

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


def is_azure(base_url: str) -> bool:
    """Return whether an address is that of Azure's service of OpenAI's models.

    Examples
    --------
    >>> is_azure("https://mine.openai.azure.com/openai/v1/")
    True
    """
    return (urlsplit(base_url).hostname or "").lower().endswith(".openai.azure.com")


def is_local(base_url: str) -> bool:
    """Return whether an address is this machine's or one of a private network, by its text.

    A name without a dot, such as a container's, is one of a private network.

    Examples
    --------
    >>> [is_local(f"http://{host}/v1") for host in ("localhost:11434", "192.168.0.7", "[::1]:8000", "vllm:8000")]
    [True, True, True, True]
    >>> is_local("https://api.openai.com/v1")
    False
    """
    host = (urlsplit(base_url).hostname or "").lower()
    try:
        address = ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".local", ".internal"))
    return address.is_private or address.is_loopback or address.is_link_local


def address_fault(address: str) -> str | None:
    """Say why requests cannot go to an address, and what to write instead; `None` where they can."""
    address = re.sub("//[^/?#]*@", "//", address.strip())
    start = re.split("[?#]", address, maxsplit=1)[0]
    if start != address:
        part = "query" if address[len(start)] == "?" else "fragment"
        base = start.rstrip("/").removesuffix(_ROUTE)
        return f"this one has a {part}: write {base!r}, and what every request needs in its query as client=openai.AsyncOpenAI(base_url={base!r}, default_query={{…}})"
    if start.rstrip("/").endswith(_ROUTE):
        return f"llmframe adds {_ROUTE} itself: write {start.rstrip('/').removesuffix(_ROUTE)!r}"
    try:
        parts = urlsplit(start)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number or too large, or half an IPv6 address
        usable = False
    if not usable or re.search(r"[\s\0-\x1f\x7f]", start):
        return f"{start!r} is none: see to its host and port"
    return None


def header_fault(text: str) -> str | None:
    """Say which character of a text no header can hold, without the text; `None` where there is none."""
    found = re.search("[^ -~]", text)
    if found is None:
        return None
    name = _CONTROLS.get(found[0]) or unicodedata.name(found[0], "a character without a name")
    return f"its character {found.start() + 1} of {len(text)} is U+{ord(found[0]):04X} ({name}), which no header can hold"


def key_fault(value: Any) -> str | None:
    """Say why a key cannot be sent, without the key; white space around it is not sent anyway."""
    fault = header_fault(value.strip()) if isinstance(value, str) else None
    return fault and f"{fault}: copy the key again"


_DATABASE = "postgresql://"
_SECRET_SETTINGS = frozenset({"password", "sslpassword"})


@dataclass(frozen=True, slots=True, repr=False)
class DatabaseAddress:
    """The address of a journal's database. Its password is in none of its texts.

    Examples
    --------
    >>> DatabaseAddress.of("postgres://ana:secret@db.example/llm?sslmode=require")
    'postgresql://ana@db.example/llm'
    """

    _url: str

    @classmethod
    def of(cls, text: str) -> DatabaseAddress:
        return cls(f"{_DATABASE}{text.strip().partition('://')[2]}")

    def with_defaults(self, settings: Mapping[str, str]) -> str:
        """Return the whole address, with settings that it does not have itself."""
        given = {name for name, _ in parse_qsl(self._url.partition("?")[2], keep_blank_values=True)}
        more = urlencode({name: value for name, value in settings.items() if name not in given})
        return f"{self._url}{'&' if '?' in self._url else '?'}{more}"

    def without_password(self) -> DatabaseAddress:
        place, _, query = self._url.partition("?")
        credentials, at, hosts = place.removeprefix(_DATABASE).rpartition("@")
        kept = urlencode([pair for pair in parse_qsl(query) if pair[0] not in _SECRET_SETTINGS])
        user = credentials.partition(":")[0]
        return DatabaseAddress(f"{_DATABASE}{user}{at}{hosts}{'?' if kept else ''}{kept}")

    def __str__(self) -> str:
        if database_fault(self._url):  # any part may be the password's
            return f"{_DATABASE}…"
        return self.without_password()._url.partition("?")[0]  # noqa: SLF001 (of the same class)

    def __repr__(self) -> str:
        return repr(str(self))


def is_database(text: str) -> bool:
    """Return whether a journal's place is a database's address."""
    return text.strip().lower().startswith(("postgresql://", "postgres://"))


def database_fault(text: str) -> str | None:
    """Say why an address of a database cannot be used, without any part of it: any may be the password's."""
    rest = text.strip().partition("://")[2]
    hosts, _, path = rest.rpartition("@")[2].partition("/")
    if rest.count("@") > 1 or "@" in path or "#" in rest or any(letter.isspace() for letter in rest):
        return "write special characters of the user's name and the password as in %40 for @"
    credentials = rest.rpartition("@")[0]
    if any(mark in credentials for mark in "/?[]") or re.search(r"%(?![0-9A-Fa-f]{2})", rest):
        return "write special characters of the user's name and the password as in %2F for /"
    for host in hosts.partition("?")[0].split(","):
        if not re.fullmatch(r"(\[[0-9A-Fa-f:.%]*\]|[^:\[\]]*)(:\d*)?", host):
            return "a host is followed by :port or by /database"
    return None
