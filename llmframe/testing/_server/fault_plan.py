"""The choice of the requests that faults hit, and their error responses."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmframe._api import CHAT_COMPLETIONS
from llmframe.testing._chat import message_texts
from llmframe.testing._decisions import input_texts
from llmframe.testing._settings import ANSWER_FAULTS, ANSWER_PATHS, TRANSPORT_FAULTS, Reply
from llmframe.testing._wire import DECISIONS, ErrorResponse, errors, json_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llmframe.testing._settings import Fault

_RATE_LIMIT_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Target:
    """A request that a fault may hit; `digest` identifies it, `row` says whether it is part of a batch."""

    body: dict[str, Any]
    digest: str
    path: str = CHAT_COMPLETIONS.path
    method: str = "POST"
    row: bool = False


class FaultPlan:
    """The faults in force and how often each has hit; the first one that applies is used."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        self._states = [_FaultState(fault) for fault in self.faults]
        self._attempts: Counter[str] = Counter()

    def choose(self, target: Target) -> Fault | None:
        """Return the fault that hits this request, if any; each fault counts every request that it applies to."""
        if not self._states:
            return None
        attempt = self._attempts[target.digest]
        self._attempts[target.digest] += 1
        chosen = None
        for state in self._states:
            if state.applies(target, attempt) and chosen is None:
                chosen = state
        if chosen is None:
            return None
        chosen.hits[target.digest] += 1
        return chosen.fault


class _FaultState:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.hits: Counter[str] = Counter()
        self._seen = 0

    def applies(self, target: Target, attempt: int) -> bool:
        fault, digest = self.fault, target.digest
        if not _concerns(fault, target) or not _chosen(fault, target):
            return False
        position = self._seen - fault.after
        self._seen += 1
        if position < 0 or (fault.first is not None and position >= fault.first):
            return False
        if fault.times_per_request is not None and self.hits[digest] >= fault.times_per_request:
            return False
        return fault.rate >= 1 or _share(fault, digest, attempt) < fault.rate


def _concerns(fault: Fault, target: Target) -> bool:
    if target.row and fault.kind in TRANSPORT_FAULTS:
        return False
    decides = target.path == DECISIONS
    if (decides and fault.kind in ANSWER_FAULTS - {"refusal"}) or (fault.questions and not decides):
        return False
    if fault.path is None:
        return target.path in ANSWER_PATHS
    return target.path.startswith(fault.path) and fault.method in (None, target.method)


def _chosen(fault: Fault, target: Target) -> bool:
    if isinstance(fault.when, str):
        texts = input_texts if target.path == DECISIONS else message_texts
        return any(fault.when in text for text in texts(target.body))
    return fault.when is None or fault.when(target.body)


def _share(fault: Fault, digest: str, attempt: int) -> float:
    """Return a number in [0, 1) that depends on the seed, the request and the attempt only."""
    text = f"{fault.seed} {fault.kind} {digest} {attempt}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest()) / 2**56


def error_response(fault: Fault, body: dict[str, Any], key: str, tokens: int) -> ErrorResponse:
    """Return the error response of an error fault, or of a reply with a body of its own."""
    kind = fault.kind
    response = _stated(kind) if isinstance(kind, Reply) else _plain_error(kind, body, key, tokens)
    seconds = fault.seconds
    if seconds is None and fault.kind == "rate_limit":
        seconds = _RATE_LIMIT_SECONDS
    return response if seconds is None else response.with_retry_after(seconds)


def _stated(reply: Reply) -> ErrorResponse:
    """Return the response of a reply that is no completion."""
    body, headers = reply.body, reply_headers(reply)
    if isinstance(body, str):
        kind = "text/html" if body.lstrip().startswith("<") else "text/plain"
        return ErrorResponse(reply.status, body.encode(), kind, headers)
    if body is None:
        body = errors.status_error(reply.status).body
    return ErrorResponse(reply.status, body if isinstance(body, bytes) else json_bytes(body), headers=headers)


def reply_headers(reply: Reply) -> dict[str, str]:
    return {name.lower(): value for name, value in reply.headers.items()}


def _plain_error(kind: str | int, body: dict[str, Any], key: str, tokens: int) -> ErrorResponse:
    model = body.get("model", "of this request")
    makers: dict[str | int, Callable[[], ErrorResponse]] = {
        "502": errors.bad_gateway,
        "rate_limit": lambda: errors.rate_limited(
            model, "requests", 500, used=500, requested=1, wait=_RATE_LIMIT_SECONDS
        ),
        "too_large": lambda: errors.request_too_large(model, 30_000, 36_278),
        "insufficient_quota": errors.insufficient_quota,
        "invalid_api_key": lambda: errors.invalid_key(key),
        "permission": errors.permission,
        "model_not_found": lambda: errors.model_not_found(model),
        "context_length_exceeded": lambda: errors.context_length_exceeded(tokens),
        "unsupported_parameter": lambda: errors.unsupported_parameter(_some_parameter(body)),
    }
    return makers[kind]() if kind in makers else errors.status_error(int(kind))


def _some_parameter(body: dict[str, Any]) -> str:
    return next((name for name in ("max_tokens", "temperature", "top_p") if name in body), "temperature")
