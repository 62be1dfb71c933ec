"""What goes to the API and what comes back, as both ways to it know them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from llmframe._api.faults import classify
from llmframe._broken import garbled

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from llmframe._pacing.headers import RateHeaders
    from llmframe._values import Fault


class Reply(NamedTuple):
    """A 200: its body as bytes and as JSON, and what its headers said of the limits."""

    raw: bytes
    data: dict[str, Any]
    headers: RateHeaders | None


class Refused(NamedTuple):
    """A fault, and what the headers said of the limits."""

    fault: Fault
    headers: RateHeaders | None = None


def checked(raw: bytes, data: object, headers: RateHeaders | None) -> Reply | Refused:
    """See whether what came with a 200 is an answer."""
    if not isinstance(data, dict):
        return Refused(garbled("the answer is not a JSON object"))
    if data.get("choices"):
        return Reply(raw, data, headers)
    error = data.get("error")
    if error:
        status = error.get("code") if isinstance(error, dict) else None
        status = status if isinstance(status, int) and 400 <= status < 600 else 500
        return Refused(classify(status, error, None), headers)
    if "choices" not in data:
        return Refused(garbled("the answer has no choices"), headers)
    return Reply(raw, data, headers)


@dataclass(frozen=True)
class Proxy:
    """A proxy of the environment, as the SDK's HTTP library found it for an address."""

    url: str
    auth: tuple[str, str] | None
    headers: Mapping[str, str]

    def __repr__(self) -> str:
        return "Proxy(…)"


@dataclass(frozen=True)
class Blueprint:
    """A request as the SDK builds it: where it goes and how, and its headers, with whatever authorises it."""

    url: str
    headers: Mapping[str, str]
    tls: ssl.SSLContext
    proxy: Proxy | None

    def __repr__(self) -> str:
        return f"Blueprint({self.url!r})"
