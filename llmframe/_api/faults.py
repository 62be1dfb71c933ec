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
from typing import TYPE_CHECKING, TypeGuard
from urllib.parse import urljoin

from llmframe._addresses import origin
from llmframe._json import without_half_pairs, words
from llmframe._pacing import is_lasting, refusal_kind, stated_status
from llmframe._values import FaultKind, RequestFault

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROXY_ERRORS = frozenset(
    {"ClientProxyConnectionError", "ClientHttpProxyError", "ProxyError", "ProtocolError"}
)
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
    error = _error(body)
    text = without_half_pairs(_message(status, error))
    error = error if isinstance(error, dict) else {}
    names = frozenset(filter(_is_code, map(error.get, ("code", "type", "status"))))
    code, param = error.get("code") or error.get("type"), error.get("param")
    code = without_half_pairs(code) if _is_code(code) else f"http_{status}"
    kind = refusal_kind(status, names, text)
    return RequestFault(
        kind,
        "request_too_large" if status == 429 and kind is FaultKind.ROW else code,
        text[:2000],
        without_half_pairs(param) if isinstance(param, str) else None,
        wait,
        uncertain=status in {504, 524},
        status=status,
        lasting=kind is FaultKind.LIMIT and is_lasting(names, text),
    )


def _is_code(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and bool(name) and not name.isdigit()


def _error(body: object) -> object:
    """Return the part of an error body that describes the error; some servers send a list of one."""
    while isinstance(body, list) and body:
        body = body[0]
    return body.get("error") or body if isinstance(body, dict) else body


def _message(status: int, error: object) -> str:
    """Return the message of an error body, or the status if the body is a web page, as proxies answer."""
    message = error.get("message") if isinstance(error, dict) else None
    if isinstance(message, str) and message:
        return message
    if _is_page(error):
        phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "unknown status"
        return f"HTTP {status} ({phrase}), with a web page"
    said = words(error)
    return f"HTTP {status}: {said}" if said else f"HTTP {status}"


def _is_page(body: object) -> bool:
    return isinstance(body, str) and body.lstrip().startswith("<")


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
        return RequestFault(FaultKind.ELSEWHERE, "invalid_base_url", message)
    if status == 400 and isinstance(body, str) and _PLAIN_ON_TLS.search(body):
        return SPEAKS_TLS
    fault = status_fault(status, body, wait)
    if status == 407 or (_is_page(body) and (status in {401, 403} or proxy is not None)):
        speaker = _named(proxy) if proxy is not None else "a proxy or gateway before the server"
        kind = fault.kind if fault.kind is FaultKind.PASSING else FaultKind.ELSEWHERE
        code = "http_407" if status == 407 else "proxy"
        return replace(
            fault, kind=kind, code=code, message=f"{speaker} answered: {fault.message}", status=None
        )
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
        return unreadable_fault("the answer is not a JSON object")
    if isinstance(said, dict) and ("usage" in said or said.get("object", "error") != "error"):
        return unreadable_fault("the answer is incomplete")
    line = " ".join(words(said).split())
    shown = repr(without_half_pairs(line[:300])) if line else "nothing readable"
    shown = "a web page" if _is_page(said) else shown
    told = isinstance(said, str) or (isinstance(said, dict) and said.keys() & {"error", "message", "detail"})
    return RequestFault(
        FaultKind.ELSEWHERE,
        "unexpected_endpoint",
        f"the server answered with {shown}, not as the API does: check base_url (it usually ends in /v1)",
        uncertain=not (line and told),  # a web page or a message says that nothing was processed
    )


def refused_answer_fault(error: object, said: object) -> RequestFault:
    """Return the fault of a 200 whose JSON has no answer, but perhaps this error."""
    if not error or _WRONG_PATH.search(words(error)):
        return no_answer_fault(said)
    code = error.get("code") if isinstance(error, dict) else None
    return status_fault(stated_status(code) or 500, error, None)


def unreadable_fault(message: str) -> RequestFault:
    """Return the fault of an answer that cannot be read."""
    return RequestFault(FaultKind.PASSING, "unparsable_answer", message, uncertain=True)


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
    return RequestFault(
        FaultKind.ELSEWHERE, code, f"{_named(proxy)} refuses to connect to the server: {last}"
    )


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
