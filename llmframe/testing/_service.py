"""What the server replies to a request: decided here, sent elsewhere."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any

import orjson

from llmframe.testing import _errors, _validation
from llmframe.testing._answers import answer_body, complete, output_cap, request_digest, spoil
from llmframe.testing._faults import ANSWERS, TRANSPORT, Fault, FaultPlan, error_answer
from llmframe.testing._limits import Gate, Limits
from llmframe.testing._rules import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llmframe.testing._answers import Completion
    from llmframe.testing._ledger import Ledger

_CHAT = "/v1/chat/completions"
_MODELS = "/v1/models"
_LEDGER = "/llmframe/ledger"
_CREATED = 1_767_225_600


@dataclass(frozen=True, slots=True)
class Settings:
    """How one server behaves; its limits and faults can change while it runs."""

    latency: float | Callable[[random.Random], float] = 0.0
    models: tuple[str, ...] = ()
    api_key: str | None = None
    answer: Callable[[dict[str, Any]], str] | None = None
    headers: bool = True
    cached: float = 0.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What to send and how: after `delay` seconds, by a `delivery` that may be a transport fault.

    A `bill` (digest and tokens) falls due when the delay is over.
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    delivery: str = "whole"
    seconds: float | None = None
    bill: tuple[str, int] | None = None


class Service:
    """The endpoints. All replies are made on the server's own thread."""

    def __init__(
        self, settings: Settings, ledger: Ledger, limits: Limits | None, faults: Iterable[Fault]
    ) -> None:
        self.ledger = ledger
        self._settings = settings
        self._random = random.Random(0)  # noqa: S311 - made-up latencies
        self._numbers = count(1)
        self.limits = limits
        self.faults = faults

    @property
    def faults(self) -> tuple[Fault, ...]:
        return self._faults.faults

    @faults.setter
    def faults(self, faults: Iterable[Fault]) -> None:
        self._faults = FaultPlan(faults)

    @property
    def limits(self) -> Limits | None:
        return self._limits

    @limits.setter
    def limits(self, limits: Limits | None) -> None:
        self._limits = limits
        self._gate = None if limits is None else Gate(limits, time.monotonic())

    def reset(self) -> None:
        """Forget what was counted; limits and faults begin anew."""
        self.ledger.clear()
        self.limits = self._limits
        self.faults = self._faults.faults

    def reply(self, method: str, path: str, authorization: str, content: bytes) -> Reply:
        """Decide what a request gets."""
        if path == _LEDGER and method == "GET":
            return _json(self.ledger.as_dict())
        refused = self._authorise(authorization)
        if refused is not None:
            return self._error(refused)
        if path == _CHAT and method == "POST":
            return self._chat(authorization, content)
        return self._other(method, path)

    def full_ledger(self) -> Reply:
        return _json(self.ledger.as_dict(full=True))

    def oversized(self, limit: int) -> Reply:
        return self._error(_errors.too_big(limit))

    def _authorise(self, authorization: str) -> _errors.ErrorAnswer | None:
        key = _bearer(authorization)
        if not key:
            return _errors.missing_key()
        if self._settings.api_key is not None and key != self._settings.api_key:
            return _errors.invalid_key(key)
        return None

    def _other(self, method: str, path: str) -> Reply:
        models = self._settings.models
        if path == _CHAT or (path == _MODELS and method != "GET"):
            return self._error(_errors.wrong_method(method, path))
        if path == _MODELS:
            return _json({"object": "list", "data": [_model(name) for name in models]})
        if path.startswith(_MODELS + "/") and method == "GET":
            name = path.removeprefix(_MODELS + "/")
            return _json(_model(name)) if name in models else self._error(_errors.model_not_found(name))
        return self._error(_errors.unknown_url(method, path))

    def _chat(self, authorization: str, content: bytes) -> Reply:
        body = _validation.parse(content)
        if not isinstance(body, dict):
            return self._error(_errors.unparsable())
        try:
            _validation.check(body)
        except Invalid as invalid:
            return self._error(invalid.answer)
        if body["model"] not in self._settings.models:
            return self._error(_errors.model_not_found(body["model"]))
        digest = request_digest(body)
        self.ledger.accepted(body)
        completion = complete(body, self._settings.answer, self._settings.cached)
        refused = self._admit(body, completion)
        if refused is not None:
            return self._error(refused)
        fault = self._faults.choose(body, digest)
        if fault is None:
            return self._completed(body, digest, completion)
        return self._faulty(fault, body, digest, completion, _bearer(authorization))

    def _admit(self, body: dict[str, Any], completion: Completion) -> _errors.ErrorAnswer | None:
        if self._gate is None:
            return None
        cap = output_cap(body)
        cost = completion.tokens if cap is None else completion.prompt_tokens + cap
        refusal = self._gate.admit(cost, time.monotonic())
        if refusal is None:
            return None
        if refusal.wait is None:
            return _errors.request_too_large(body["model"], refusal.limit, refusal.requested)
        answer = _errors.rate_limited(
            body["model"],
            refusal.unit,
            refusal.limit,
            used=refusal.limit,
            requested=refusal.requested,
            wait=refusal.wait,
        )
        return answer.with_retry_after(refusal.wait) if self._gate.retry_after else answer

    def _faulty(
        self, fault: Fault, body: dict[str, Any], digest: str, completion: Completion, key: str
    ) -> Reply:
        if fault.kind in ANSWERS:
            return self._completed(body, digest, spoil(completion, str(fault.kind), body))
        if fault.kind not in TRANSPORT:
            answer = error_answer(fault, body, key, completion.prompt_tokens)
            return replace(self._error(answer), delay=self._delay())
        whole = self._completed(body, digest, completion)
        if fault.kind == "hang":
            whole = replace(whole, bill=None)
        if fault.kind == "garbled":
            return replace(whole, body=whole.body[: len(whole.body) // 2], delivery="garbled")
        return replace(whole, delivery=str(fault.kind), seconds=fault.seconds)

    def _completed(self, body: dict[str, Any], digest: str, completion: Completion) -> Reply:
        number = next(self._numbers)
        content = answer_body(completion, body, f"{digest[:16]}{number:08x}", int(time.time()))
        return Reply(
            200,
            content,
            headers=self._headers(number),
            delay=self._delay(),
            bill=(digest, completion.tokens),
        )

    def _delay(self) -> float:
        latency = self._settings.latency
        return latency(self._random) if callable(latency) else latency

    def _error(self, answer: _errors.ErrorAnswer) -> Reply:
        headers = self._headers(next(self._numbers)) | answer.headers
        return Reply(answer.status, answer.body, answer.content_type, headers)

    def _headers(self, number: int) -> dict[str, str]:
        headers = {"x-request-id": f"req_{number:032x}", "openai-version": "2020-10-01"}
        if self._gate is not None and self._settings.headers:
            headers |= self._gate.headers()
        return headers


def _bearer(authorization: str) -> str:
    scheme, _, key = authorization.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _json(value: Any) -> Reply:
    return Reply(200, orjson.dumps(value))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "system"}
