"""The API's responses, and the template of requests, for both transports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from llmframe._api.faults import names_wrong_path, no_answer_fault, status_fault
from llmframe._pacing import stated_status

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from llmframe._pacing import RateHeaders
    from llmframe._values import Endpoint, Request, RequestFault


class Reply(NamedTuple):
    """A 200: its body as bytes and as JSON, and the limits that its headers state."""

    raw: bytes
    data: dict[str, Any]
    headers: RateHeaders | None


class Refused(NamedTuple):
    """A fault, and the limits that the headers state."""

    fault: RequestFault
    headers: RateHeaders | None = None


class Transport(Protocol):
    """The methods of a client that a lane needs."""

    async def send(self, request: Request) -> Reply | Refused:
        """Send one request once; every fault is returned as a value."""

    async def close_connections(self) -> None: ...


def read_reply(endpoint: Endpoint, raw: bytes, data: object, headers: RateHeaders | None) -> Reply | Refused:
    """Return the reply, or a fault if the body of a 200 is not an answer."""
    if not isinstance(data, dict):
        is_text = data is None and raw.strip() != b"null"
        return Refused(no_answer_fault(raw.decode(errors="replace") if is_text else data), headers)
    if data.get(endpoint.answer):
        return Reply(raw, data, headers)
    error = data.get("error")
    if error and not names_wrong_path(error):
        status = stated_status(error.get("code") if isinstance(error, dict) else None) or 500
        return Refused(status_fault(status, error, None), headers)
    if error or endpoint.answer not in data:
        return Refused(no_answer_fault(data), headers)
    return Reply(raw, data, headers)


@dataclass(frozen=True)
class Proxy:
    """A proxy from the environment, as the SDK's HTTP library found it for an address."""

    url: str
    auth: tuple[str, str] | None
    headers: Mapping[str, str]

    def __repr__(self) -> str:
        return "Proxy(…)"


@dataclass(frozen=True)
class RequestTemplate:
    """A request as the SDK builds it: its address and headers, authorisation included, and how it is sent."""

    url: str
    headers: Mapping[str, str]
    tls: ssl.SSLContext
    proxy: Proxy | None

    def __repr__(self) -> str:
        return f"RequestTemplate({self.url!r})"
