"""What a broken connection means, from the exceptions that say so: those of Python, aiohttp and httpx, by name."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

from llmframe._values import Fault, Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def garbled(message: str) -> Fault:
    """Say that an answer came which cannot be read."""
    return Fault(Trouble.PASSING, "unparsable_answer", message, uncertain=True)


def connection_fault(error: Exception) -> Fault:
    """Say what became of a request whose connection failed."""
    causes = list(_causes(error))
    last = next((str(cause) for cause in reversed(causes) if str(cause)), type(causes[-1]).__name__)
    names = {type(cause).__name__ for cause in causes}
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return Fault(Trouble.FATAL, "certificate", f"the server's certificate is not trusted: {last}")
    if "TooManyRedirects" in names:
        return Fault(Trouble.FATAL, "invalid_base_url", f"the server sends requests round and round: {last}")
    if names & _NO_ADDRESS:
        return Fault(Trouble.FATAL, "invalid_base_url", f"base_url is no address: {last}")
    if _never_connected(causes, names):
        return Fault(Trouble.UNREACHABLE, "unreachable", f"no connection: {last}")
    if names & _BROKEN or not _timed_out(causes, names):
        return Fault(Trouble.PASSING, "connection_lost", f"the connection broke: {last}", uncertain=True)
    return Fault(Trouble.PASSING, "timeout", "no answer within the timeout", uncertain=True)


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
