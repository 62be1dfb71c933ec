"""The faults of requests, from a status with an error body or from a broken connection.

Statuses follow OpenAI's table of errors and the variants of compatible servers; connections, the exceptions of Python,
aiohttp and httpx, which are recognised by name.
"""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from llmframe._addresses import origin
from llmframe._json import without_half_pairs
from llmframe._values import FaultKind, RequestFault

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROW_CODES = frozenset(
    {"context_length_exceeded", "string_above_max_length", "content_filter", "content_policy_violation"}
)
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_TOO_LARGE = re.compile(
    r"limit:? ?(?P<limit>\d[\d,]*).*?requested:? ?(?P<requested>\d[\d,]*)", re.IGNORECASE | re.DOTALL
)
_TOO_LONG = re.compile(
    r"maximum context length|context[ _]length[ _]exceeded|exceeds? the context", re.IGNORECASE
)
"""Messages for a row that is too long, of servers without OpenAI's codes."""


_PROXY_ERRORS = frozenset({"ClientProxyConnectionError", "ClientHttpProxyError", "ProxyError"})
_NEVER_CONNECTED = frozenset({"ConnectionTimeoutError"})
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
_NEVER_CONNECTED_UNLESS_BROKEN = frozenset({"ConnectError", "ConnectTimeout"})
"""httpx's names; the SDK's aiohttp transport also raises `ConnectTimeout` for a broken connection."""
_NO_ADDRESS = frozenset({"UnsupportedProtocol", "InvalidURL", "InvalidUrlClientError"})
_NO_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL"}
)
"""OpenSSL's reasons where a server answers the handshake with something else, such as plain HTTP."""
_PLAIN_ON_TLS = re.compile(r"plain http request was sent to https|http request to an https", re.IGNORECASE)
"""The 400 of nginx, Apache and Go's servers."""
_WRONG_PATH = re.compile(
    r"(unexpected|unknown|unsupported|unrecogni[sz]ed|no such) (endpoint|route|path|url|method)"
    r"|invalid url \(|cannot (get|post) /|^not found\.?$"
    r"|(endpoint|route|path|page|method)\b.{0,80}\b(not (be )?(found|allowed|supported)|not exist)",
    re.IGNORECASE | re.DOTALL,
)

SPEAKS_TLS = RequestFault(
    FaultKind.FATAL,
    "invalid_base_url",
    "the server speaks TLS at this port; base_url must begin with https://",
)


def status_fault(status: int, body: object, wait: float | None) -> RequestFault:
    """Return the fault of an HTTP status with this error body.

    Parameters
    ----------
    body
        The JSON body, or the text if it is not JSON.
    wait
        Seconds that the server asks to wait.
    """
    error = body.get("error", body) if isinstance(body, dict) else body
    text = without_half_pairs(_error_message(status, error))
    error = error if isinstance(error, dict) else {}
    code = error.get("code") or error.get("type")
    code = without_half_pairs(code) if isinstance(code, str) and code else f"http_{status}"
    param = error.get("param")
    kind = _status_kind(status, {code, str(error.get("type"))}, text)
    return RequestFault(
        kind,
        "request_too_large" if status == 429 and kind is FaultKind.ROW else code,
        text[:2000],
        without_half_pairs(param) if isinstance(param, str) else None,
        wait,
        uncertain=status in {504, 524},
    )


def _error_message(status: int, error: object) -> str:
    """Return the message of an error body, or the status if the body is a web page, as proxies answer."""
    message = error.get("message") if isinstance(error, dict) else None
    if isinstance(message, str) and message:
        return message
    if isinstance(error, str) and error.lstrip().startswith("<"):
        phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "unknown status"
        return f"HTTP {status} ({phrase}), with a web page"
    detail = error.strip() if isinstance(error, str) else str(error) if error else ""
    return f"HTTP {status}: {detail}" if detail else f"HTTP {status}"


def _status_kind(status: int, codes: set[str], text: str) -> FaultKind:
    if codes & _ROW_CODES:
        return FaultKind.ROW
    if codes & _QUOTA_CODES or status < 400 or status in {401, 402, 403, 404, 405, 407, 410}:
        return FaultKind.FATAL
    if status == 429:
        return FaultKind.ROW if _never_fits(text) else FaultKind.LIMIT
    if status in {408, 409, 425} or status >= 500:
        return FaultKind.PASSING
    if status == 413 or _TOO_LONG.search(text):
        return FaultKind.ROW
    return FaultKind.PARAMETER


def _never_fits(text: str) -> bool:
    found = _TOO_LARGE.search(text)
    if found is None:
        return text.lower().startswith("request too large")
    limit, requested = (int(found[name].replace(",", "")) for name in ("limit", "requested"))
    return requested > limit


def response_fault(
    status: int, body: object, wait: float | None, *, url: str, location: str | None, proxy: str | None
) -> RequestFault:
    """Return the fault of a response that may not be the API's: a redirect's, a proxy's, or that of an HTTPS port.

    Parameters
    ----------
    url
        The address that was asked.
    location
        The address that the response names instead, absolute or relative.
    proxy
        The proxy that the request passed, without credentials.
    """
    target = _elsewhere(url, location)
    if target is not None:
        message = f"the server redirects to {target.partition('?')[0]}; set base_url"
        return RequestFault(FaultKind.FATAL, "invalid_base_url", message)
    if status == 400 and isinstance(body, str) and _PLAIN_ON_TLS.search(body):
        return SPEAKS_TLS
    fault = status_fault(status, body, wait)
    page = isinstance(body, str) and body.lstrip().startswith("<")
    if status == 407 or (page and (status in {401, 403} or proxy is not None)):
        speaker = _named(proxy) if proxy is not None else "a proxy or gateway before the server"
        code = "http_407" if status == 407 else "proxy"
        return replace(fault, code=code, message=f"{speaker} answered: {fault.message}")
    return fault


def _elsewhere(url: str, location: str | None) -> str | None:
    """Return the absolute address of a redirect to another origin."""
    try:
        target = urljoin(url, location or "")
        return None if origin(target) == origin(url) else target
    except ValueError:  # such as a port that is no number
        return location


def no_answer_fault(said: object) -> RequestFault:
    """Return the fault of a 200 that is no answer.

    Its code is `unexpected_endpoint` where it looks like that of another server or path, and `unparsable_answer`
    where an answer was damaged.

    Parameters
    ----------
    said
        The JSON value, or the text if it is not JSON.
    """
    said = said.replace("\ufffd", "") if isinstance(said, str) else said
    if isinstance(said, str) and said.lstrip().startswith(("{", "[")):
        return RequestFault(
            FaultKind.PASSING, "unparsable_answer", "the answer is not a JSON object", uncertain=True
        )
    if isinstance(said, dict) and ("usage" in said or said.get("object", "error") != "error"):
        return RequestFault(
            FaultKind.PASSING, "unparsable_answer", "the answer is incomplete", uncertain=True
        )
    shown = without_half_pairs(_shown(said))[:300]
    return RequestFault(
        FaultKind.FATAL,
        "unexpected_endpoint",
        f"the server answered with {shown}, not as the API does: check base_url (it usually ends in /v1)",
        uncertain=not _words(said),  # a web page, or words, say that nothing was processed
    )


def names_wrong_path(error: object) -> bool:
    """Return whether an error with status 200 says that there is no such path."""
    return bool(_WRONG_PATH.search(_words(error)))


def _shown(said: object) -> str:
    if isinstance(said, str) and said.lstrip().startswith("<"):
        return "a web page"
    words = " ".join(_words(said).split())
    return repr(words) if words else "nothing readable" if said == "" else "JSON of another form"


def _words(said: object) -> str:
    """Return the text of an error body, whichever member holds it."""
    while isinstance(said, dict):
        said = next((said[name] for name in ("error", "message", "detail") if said.get(name)), "")
    return said if isinstance(said, str) else ""


def connection_fault(error: Exception, proxy: str | None = None) -> RequestFault:  # noqa: PLR0911 (a table)
    """Return the fault of a request whose connection failed, perhaps that to this proxy."""
    causes = list(_causes(error))
    last = next((str(cause) for cause in reversed(causes) if str(cause)), type(causes[-1]).__name__)
    names = {type(cause).__name__ for cause in causes}
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return RequestFault(
            FaultKind.FATAL, "certificate", f"the server's certificate is not trusted: {last}"
        )
    if names & _PROXY_ERRORS:
        return _proxy_fault(causes, last, proxy)
    if any(getattr(cause, "reason", None) in _NO_TLS for cause in causes):
        message = f"the server speaks no TLS at this port; base_url must begin with http:// ({last})"
        return RequestFault(FaultKind.FATAL, "invalid_base_url", message)
    if "TooManyRedirects" in names:
        return RequestFault(
            FaultKind.FATAL, "invalid_base_url", f"the server sends requests round and round: {last}"
        )
    if names & _NO_ADDRESS:
        return RequestFault(FaultKind.FATAL, "invalid_base_url", f"base_url is no address: {last}")
    if _never_connected(causes, names):
        return RequestFault(FaultKind.UNREACHABLE, "unreachable", f"no connection: {last}")
    if names & _BROKEN or not _timed_out(causes, names):
        return RequestFault(
            FaultKind.PASSING, "connection_lost", f"the connection broke: {last}", uncertain=True
        )
    return RequestFault(FaultKind.PASSING, "timeout", "no answer within the timeout", uncertain=True)


def _proxy_fault(causes: list[BaseException], last: str, proxy: str | None) -> RequestFault:
    """Return the fault of a proxy that was not reached, or that refused to open a tunnel."""
    status = next((found for cause in causes if (found := _tunnel_status(cause))), None)
    if status is None or status >= 500:
        return RequestFault(FaultKind.UNREACHABLE, "proxy", f"no connection through {_named(proxy)}: {last}")
    code = "http_407" if status == 407 else "proxy"
    return RequestFault(FaultKind.FATAL, code, f"{_named(proxy)} refuses to connect to the server: {last}")


def _tunnel_status(error: BaseException) -> int | None:
    """Return the status of a proxy's answer to `CONNECT`: aiohttp's errors and httpx's begin with it."""
    found = re.match(r"[45]\d\d\b", str(error)) if type(error).__name__ in _PROXY_ERRORS else None
    return int(found[0]) if found else None


def _named(proxy: str | None) -> str:
    return "the proxy" if proxy is None else f"the proxy {proxy}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


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
