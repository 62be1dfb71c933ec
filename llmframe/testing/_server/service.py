"""The endpoints: from a request to its response, without the connection."""

from __future__ import annotations

import hashlib
import logging
import random
import time
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import orjson

from llmframe._api import CHAT_COMPLETIONS
from llmframe.testing._batch import RowResponse, Storage
from llmframe.testing._chat import answer_body, complete, output_cap, request_digest, with_answer_fault
from llmframe.testing._requests import check_completion, parse
from llmframe.testing._server.fault_plan import FaultPlan, Target, error_response
from llmframe.testing._server.rate_limiter import RateLimiter
from llmframe.testing._settings import ANSWER_FAULTS, TRANSPORT_FAULTS
from llmframe.testing._wire import (
    BATCHES,
    FILES,
    ErrorResponse,
    HttpRequest,
    HttpResponse,
    RefusedRequest,
    errors,
    json_response,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmframe.testing._chat import Completion
    from llmframe.testing._settings import Fault, Limits, ServiceSettings
    from llmframe.testing._wire import Ledger

_MODELS = "/v1/models"
_LEDGER = "/llmframe/ledger"
_CREATED = 1_767_225_600
_log = logging.getLogger("llmframe")


class Service:
    """The endpoints of one server. They are called on its own thread only."""

    def __init__(
        self, settings: ServiceSettings, ledger: Ledger, limits: Limits | None, faults: Iterable[Fault]
    ) -> None:
        self.ledger = ledger
        self._settings = settings
        self._random = random.Random(0)  # noqa: S311 - made-up latencies
        self._numbers = count(1)
        self.limits = limits
        self.faults = faults
        self.storage = Storage(ledger, settings.models, self._answer_row)

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
        self._rate_limiter = None if limits is None else RateLimiter(limits, time.monotonic())

    def reset(self) -> None:
        """Clear the ledger, and reset limits and faults."""
        self.ledger.clear()
        self.limits = self._limits
        self.faults = self._faults.faults

    def respond(self, request: HttpRequest) -> HttpResponse:
        """Return the response to a request."""
        if request.path == _LEDGER and request.method == "GET":
            return json_response(self.ledger.as_dict(full=bool(request.query.get("full"))))
        refused = self._authorise(request.key)
        if refused is not None:
            return self._error(refused)
        if request.path == CHAT_COMPLETIONS.path and request.method == "POST":
            return self._chat(request.key, request.content)
        return self._other_endpoints(request)

    def oversized(self, limit: int) -> HttpResponse:
        return self._error(errors.too_big(limit))

    def _authorise(self, key: str) -> ErrorResponse | None:
        if not key:
            return errors.missing_key()
        if self._settings.api_key is not None and key != self._settings.api_key:
            return errors.invalid_key(key)
        return None

    def _other_endpoints(self, request: HttpRequest) -> HttpResponse:
        fault = self._faults.choose(_target(request)) if self._faults.faults else None
        if fault is not None and fault.kind == "hang":
            return HttpResponse(200, b"", delivery="hang", seconds=fault.seconds)
        if fault is not None and fault.kind not in TRANSPORT_FAULTS:
            return self._error(error_response(fault, {}, request.key, 0))
        try:
            stored = request.path.startswith((FILES, BATCHES))
            response = self.storage.respond(request) if stored else self._models(request.method, request.path)
        except RefusedRequest as refused:
            response = self._error(refused.response)
        return response if fault is None else _with_transport_fault(response, fault)

    def _models(self, method: str, path: str) -> HttpResponse:
        models = self._settings.models
        if path == CHAT_COMPLETIONS.path or (path == _MODELS and method != "GET"):
            raise RefusedRequest(errors.wrong_method(method, path))
        if path == _MODELS:
            return json_response({"object": "list", "data": [_model(name) for name in models]})
        if path.startswith(_MODELS + "/") and method == "GET":
            name = path.removeprefix(_MODELS + "/")
            return (
                json_response(_model(name)) if name in models else self._error(errors.model_not_found(name))
            )
        raise RefusedRequest(errors.unknown_url(method, path))

    def _chat(self, key: str, content: bytes) -> HttpResponse:
        body = parse(content)
        if not isinstance(body, dict):
            return self._error(errors.unparsable())
        try:
            check_completion(body)
        except RefusedRequest as refused:
            return self._error(refused.response)
        if body["model"] not in self._settings.models:
            return self._error(errors.model_not_found(body["model"]))
        digest = request_digest(body)
        self.ledger.body_accepted(body)
        completion = complete(body, self._settings.answer, self._settings.cached)
        over = self._admit(body, completion)
        if over is not None:
            return self._error(over)
        fault = self._faults.choose(Target(body, digest))
        if fault is None:
            return self._completed(body, digest, completion)
        return self._completed_with_fault(fault, body, digest, completion, key)

    def _admit(self, body: dict[str, Any], completion: Completion) -> ErrorResponse | None:
        if self._rate_limiter is None:
            return None
        cap = output_cap(body)
        cost = completion.tokens if cap is None else completion.prompt_tokens + cap
        refusal = self._rate_limiter.admit(cost, time.monotonic())
        if refusal is None:
            return None
        if refusal.wait is None:
            return errors.request_too_large(body["model"], refusal.limit, refusal.requested)
        answer = errors.rate_limited(
            body["model"],
            refusal.unit,
            refusal.limit,
            used=refusal.limit,
            requested=refusal.requested,
            wait=refusal.wait,
        )
        return answer.with_retry_after(refusal.wait) if self._rate_limiter.retry_after else answer

    def _completed_with_fault(
        self, fault: Fault, body: dict[str, Any], digest: str, completion: Completion, key: str
    ) -> HttpResponse:
        if fault.kind in ANSWER_FAULTS:
            return self._completed(body, digest, with_answer_fault(completion, str(fault.kind), body))
        if fault.kind not in TRANSPORT_FAULTS:
            answer = error_response(fault, body, key, completion.prompt_tokens)
            return replace(self._error(answer), delay=self._delay())
        response = self._completed(body, digest, completion)
        if fault.kind == "hang":
            response = replace(response, bill=None)
        return _with_transport_fault(response, fault)

    def _answer_row(self, body: dict[str, Any], key: str) -> RowResponse:
        """Answer one request of a batch like a live one, but without rate limits and transport faults."""
        try:
            return self._row(body, key)
        except RefusedRequest as refused:
            return _refused_row(refused.response)
        except Exception:  # noqa: BLE001 - from the user's `answer` function; the other rows continue
            _log.exception("A row of a batch could not be answered.")
            return _refused_row(errors.status_error(500))

    def _row(self, body: dict[str, Any], key: str) -> RowResponse:
        check_completion(body)
        digest = request_digest(body)
        self.ledger.body_accepted(body)
        completion = complete(body, self._settings.answer, self._settings.cached)
        fault = self._faults.choose(Target(body, digest, row=True))
        if fault is not None and fault.kind not in ANSWER_FAULTS:
            return _refused_row(error_response(fault, body, key, completion.prompt_tokens))
        if fault is not None:
            completion = with_answer_fault(completion, str(fault.kind), body)
        name = f"{digest[:16]}{next(self._numbers):08x}"
        return RowResponse(
            200,
            answer_body(completion, body, name, int(self.storage.clock.now())),
            (digest, completion.tokens),
            (
                completion.prompt_tokens,
                completion.cached_tokens,
                completion.completion_tokens,
                completion.reasoning_tokens,
            ),
        )

    def _completed(self, body: dict[str, Any], digest: str, completion: Completion) -> HttpResponse:
        number = next(self._numbers)
        content = answer_body(completion, body, f"{digest[:16]}{number:08x}", int(time.time()))
        return HttpResponse(
            200,
            content,
            headers=self._headers(number),
            delay=self._delay(),
            bill=(digest, completion.tokens),
        )

    def _delay(self) -> float:
        latency = self._settings.latency
        return latency(self._random) if callable(latency) else latency

    def _error(self, answer: ErrorResponse) -> HttpResponse:
        headers = self._headers(next(self._numbers)) | answer.headers
        return HttpResponse(answer.status, answer.body, answer.content_type, headers)

    def _headers(self, number: int) -> dict[str, str]:
        headers = {"x-request-id": f"req_{number:032x}", "openai-version": "2020-10-01"}
        if self._rate_limiter is not None and self._settings.headers:
            headers |= self._rate_limiter.headers()
        return headers


def _target(request: HttpRequest) -> Target:
    """Return the target that a fault with a path is compared with."""
    body: Any = {}
    content = b""
    if request.upload is not None:
        content = request.upload.content or b""
        body = request.upload.fields | {"filename": request.upload.filename, "bytes": len(content)}
    elif request.content:
        body = parse(request.content)
    digest = hashlib.blake2b(
        f"{request.method} {request.path} {dict(request.query)} {body}".encode(), digest_size=16
    )
    digest.update(content)
    return Target(body if isinstance(body, dict) else {}, digest.hexdigest(), request.path, request.method)


def _with_transport_fault(response: HttpResponse, fault: Fault) -> HttpResponse:
    """Return the response with a transport fault applied."""
    if fault.kind == "garbled":
        return replace(response, body=response.body[: len(response.body) // 2], delivery="garbled")
    return replace(response, delivery=str(fault.kind), seconds=fault.seconds)


def _refused_row(answer: ErrorResponse) -> RowResponse:
    if answer.content_type != "application/json":
        answer = errors.status_error(answer.status)
    # The body is serialised again without line breaks, because it becomes one line of a file.
    return RowResponse(answer.status, orjson.dumps(orjson.loads(answer.body)))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "system"}
