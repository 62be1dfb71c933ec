"""The faults of requests, from a status with an error body or from a broken connection.

Statuses follow OpenAI's table of errors and the variants of compatible servers; connections, the exceptions of Python,
aiohttp and httpx, which are recognised by name.
"""

from __future__ import annotations

import socket
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeGuard

from llmframe._json import as_json, without_half_pairs
from llmframe._pacing import is_lasting, refusal_kind
from llmframe._values import FaultKind, RequestFault

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_ERRORS = 5
"""Of a list of errors, this many are told."""
_DEEPEST_ERROR = 5

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
"""httpx's names; the SDK's aiohttp transport also raises `ConnectTimeout` for a broken connection."""
_NO_ADDRESS = frozenset({"UnsupportedProtocol", "InvalidURL", "InvalidUrlClientError"})


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
    if isinstance(body, list) and body:
        return _error(body[0])
    return body.get("error") or body if isinstance(body, dict) else body


def _message(status: int, error: object) -> str:
    """Return the message of an error body, or the status if the body is a web page, as proxies answer."""
    message = error.get("message") if isinstance(error, dict) else None
    if isinstance(message, str) and message:
        return message
    if isinstance(error, str) and error.lstrip().startswith("<"):
        phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "unknown status"
        return f"HTTP {status} ({phrase}), with a web page"
    words = _words(error)
    return f"HTTP {status}: {words}" if words else f"HTTP {status}"


_WORDS_IN = ("message", "msg", "detail", "error", "errors", "title", "reason", "description", "code", "type")


def _words(error: object, depth: int = 0) -> str:
    """Return the words of an error in any JSON form; what has none is shown as JSON."""
    if isinstance(error, str):
        return error.strip()
    if isinstance(error, list) and depth < _DEEPEST_ERROR:
        return "; ".join(filter(None, (_words(part, depth + 1) for part in error[:_MOST_ERRORS])))
    if isinstance(error, dict) and depth < _DEEPEST_ERROR:
        found = (_words(error[name], depth + 1) for name in _WORDS_IN if error.get(name))
        return next(filter(None, found), "") or (as_json(error) if error else "")
    return "" if error is None else as_json(error)


def unreadable_fault(message: str) -> RequestFault:
    """Return the fault of an answer that cannot be read."""
    return RequestFault(FaultKind.PASSING, "unparsable_answer", message, uncertain=True)


def connection_fault(error: Exception) -> RequestFault:
    """Return the fault of a request whose connection failed."""
    causes = list(_causes(error))
    last = next((str(cause) for cause in reversed(causes) if str(cause)), type(causes[-1]).__name__)
    names = {type(cause).__name__ for cause in causes}
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return RequestFault(
            FaultKind.FATAL, "certificate", f"the server's certificate is not trusted: {last}"
        )
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
