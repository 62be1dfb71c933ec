"""The faults of requests, from a status with an error body or from a broken connection.

Statuses follow OpenAI's table of errors and the variants of compatible servers; connections, the exceptions of Python,
aiohttp and httpx, which are recognised by name.
"""

from __future__ import annotations

import re
import socket
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING

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
