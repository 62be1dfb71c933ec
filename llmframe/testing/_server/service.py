"""The endpoints: from a request to its response, without the connection."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import re
import time
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import orjson

from llmframe._api import CHAT_COMPLETIONS
from llmframe.testing._batch import RowResponse, Storage
from llmframe.testing._chat import (
    Completion,
    PromptCache,
    answer_body,
    complete,
    output_cap,
    request_digest,
    with_answer_fault,
    with_changes,
)
from llmframe.testing._decisions import Decision, decide, decision_body, with_refusals
from llmframe.testing._requests import check_completion, check_decision, parse
from llmframe.testing._server.fault_plan import FaultPlan, Target, error_response, reply_headers
from llmframe.testing._server.rate_limiter import RateLimiter
from llmframe.testing._settings import ANSWER_FAULTS, TRANSPORT_FAULTS, Reply
from llmframe.testing._wire import (
    BATCHES,
    DECISIONS,
    FILES,
    Bill,
    ErrorResponse,
    HttpRequest,
    HttpResponse,
    RefusedRequest,
    errors,
    json_bytes,
    json_response,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmframe.testing._settings import Fault, Limits, ServiceSettings
    from llmframe.testing._wire import Ledger

_MODELS = "/v1/models"
_LEDGER = "/llmframe/ledger"
_AZURE_CHAT = re.compile(r"(?:/v1)?(?:/openai)?/deployments/([^/]+)/chat/completions")
"""Azure's path, behind an `azure_endpoint` or a `base_url` with or without `/v1`; the deployment is in it."""
_CREATED = 1_767_225_600
_log = logging.getLogger("llmframe")


class Service:
    """The endpoints of one server. They are called on its own thread only."""

    def __init__(
        self, settings: ServiceSettings, ledger: Ledger, limits: Limits | None, faults: Iterable[Fault]
    ) -> None:
        self.ledger = ledger
        self.settings = settings
        self._random = random.Random(0)  # noqa: S311 - made-up latencies
        self._numbers = count(1)
        self.limits = limits
        self.faults = faults
        self._prompt_cache = PromptCache()
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
        """Clear the ledger and the prompt cache, and reset limits and faults."""
        self.ledger.clear()
        self._prompt_cache = PromptCache()
        self.limits = self._limits
        self.faults = self._faults.faults

    def respond(self, request: HttpRequest) -> HttpResponse:
        """Return the response to a request."""
        if request.path == _LEDGER and request.method == "GET":
            return json_response(self.ledger.as_dict(full=bool(request.query.get("full"))))
        deployment = _AZURE_CHAT.fullmatch(request.path)
        refused = self._authorise(request.key)
        if refused is not None:
            return self._error(refused if deployment is None else errors.azure_access_denied())
        if request.path == CHAT_COMPLETIONS.path and request.method == "POST":
            return self._chat(request.key, request.content)
        if request.path == DECISIONS and request.method == "POST" and self.settings.decision_models:
            return self._decide(request.key, request.content)
        if deployment is not None and request.method == "POST" and request.query.get("api-version"):
            return self._chat(request.key, request.content, deployment[1])
        return self._other_endpoints(request)

    def oversized(self, limit: int) -> HttpResponse:
        return self._error(errors.too_big(limit))

    def _authorise(self, key: str) -> ErrorResponse | None:
        if not key:
            return errors.missing_key()
        if self.settings.api_key is not None and key != self.settings.api_key:
            return errors.invalid_key(key)
        return None

    def _other_endpoints(self, request: HttpRequest) -> HttpResponse:
        fault = self._faults.choose(_target(request)) if self._faults.faults else None
        if fault is not None and fault.kind == "hang":
            return HttpResponse(200, b"", delivery="hang", seconds=fault.seconds)
        if fault is not None and fault.kind not in TRANSPORT_FAULTS:
            return self._erroneous(fault, {}, request.key, 0)
        try:
            stored = request.path.startswith((FILES, BATCHES))
            response = self.storage.respond(request) if stored else self._models(request.method, request.path)
        except RefusedRequest as refused:
            response = self._error(refused.response)
        return response if fault is None else _with_transport_fault(response, fault)

    def _models(self, method: str, path: str) -> HttpResponse:
        models = self.settings.models
        posted = {CHAT_COMPLETIONS.path, *([DECISIONS] if self.settings.decision_models else [])}
        if path in posted or (path == _MODELS and method != "GET"):
            raise RefusedRequest(errors.wrong_method(method, path))
        if path == _MODELS:
            return json_response({"object": "list", "data": [_model(name) for name in models]})
        if path.startswith(_MODELS + "/") and method == "GET":
            name = path.removeprefix(_MODELS + "/")
            return (
                json_response(_model(name)) if name in models else self._error(errors.model_not_found(name))
            )
        raise RefusedRequest(errors.unknown_url(method, path))

    def _chat(self, key: str, content: bytes, deployment: str | None = None) -> HttpResponse:
        body = parse(content)
        if not isinstance(body, dict):
            return self._error(errors.unparsable())
        if deployment is not None:
            body.setdefault("model", deployment)
        try:
            asked = self._checked(body)
        except RefusedRequest as refused:
            return self._error(refused.response)
        if not {body["model"], deployment} & set(self.settings.models):
            unknown = errors.model_not_found(body["model"])
            return self._error(unknown if deployment is None else errors.deployment_not_found())
        self.ledger.body_accepted(body)
        completion = complete(asked, self.settings.answer, self.settings.cached)
        return self._live(Target(body, request_digest(body)), completion, key)

    def _checked(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return what the server takes notice of in the body of a completion, or raise `RefusedRequest`."""
        most = self.settings.response_format
        if most != "ignored":
            check_completion(body, most)
            return body
        asked = {name: value for name, value in body.items() if name != "response_format"}
        check_completion(asked)
        return asked

    def _decide(self, key: str, content: bytes) -> HttpResponse:
        body = parse(content)
        if not isinstance(body, dict):
            return self._error(errors.unparsable())
        try:
            check_decision(body)
        except RefusedRequest as refused:
            return self._error(refused.response)
        model = body["model"]
        if model not in self.settings.decision_models:
            known = model in self.settings.models
            return self._error(
                errors.model_not_for(model, "decisions") if known else errors.model_not_found(model)
            )
        self.ledger.body_accepted(body)
        target = Target(body, request_digest(body), DECISIONS)
        return self._live(target, decide(body, self.settings.cached), key)

    def _live(self, target: Target, answer: Completion | Decision, key: str) -> HttpResponse:
        """Return the response to a valid request: a refusal by the limits, a fault, or the answer."""
        over = self._admit(target.body, answer)
        if over is not None:
            return self._error(over)
        fault, delay = self._faults.choose(target), self._delay()
        if isinstance(answer, Completion):
            answer = self._with_cache_use(answer, target.body, fault, delay)
        answer = _spoilt(answer, fault, target.body)
        if fault is not None and fault.kind in TRANSPORT_FAULTS:
            response = _with_transport_fault(self._completed(target, answer, time.time()), fault)
        else:
            response = self._answered(fault, target, answer, key, time.time())
        return replace(response, delay=response.delay + delay)

    def _with_cache_use(
        self, completion: Completion, body: dict[str, Any], fault: Fault | None, seconds: float
    ) -> Completion:
        """Return a completion with its use of the prompt cache, if there is one; errors do not use it."""
        kind = None if fault is None else fault.kind
        completes = kind.completes if isinstance(kind, Reply) else kind is None or kind in ANSWER_FAULTS
        if not self.settings.prompt_cache or not (completes or kind in TRANSPORT_FAULTS):
            return completion
        return self._prompt_cache.used_by(completion, body, self.storage.clock.now(), seconds)

    def _admit(self, body: dict[str, Any], answer: Completion | Decision) -> ErrorResponse | None:
        if self._rate_limiter is None:
            return None
        cap = output_cap(body)
        cost = answer.tokens if cap is None else answer.prompt_tokens + cap
        refusal = self._rate_limiter.admit(cost, time.monotonic())
        if refusal is None:
            return None
        if refusal.wait is None:
            return errors.request_too_large(body["model"], refusal.limit, refusal.requested)
        limited = errors.rate_limited(
            body["model"],
            refusal.unit,
            refusal.limit,
            used=refusal.limit,
            requested=refusal.requested,
            wait=refusal.wait,
        )
        return limited.with_retry_after(refusal.wait) if self._rate_limiter.retry_after else limited

    def _answered(
        self,
        fault: Fault | None,
        target: Target,
        answer: Completion | Decision,
        key: str,
        now: float,
    ) -> HttpResponse:
        """Return the response of a live request or a row of a batch: the answer, a reply or an error."""
        kind = None if fault is None else fault.kind
        if isinstance(kind, Reply) and kind.completes:
            return self._completed(target, answer, now, kind)
        if fault is None or kind in ANSWER_FAULTS:
            return self._completed(target, answer, now)
        response = self._erroneous(fault, target.body, key, answer.prompt_tokens)
        if not (isinstance(kind, Reply) and kind.bills):
            return response
        own = self._completed(target, answer, now).bill
        return replace(response, bill=own and own.stated_by(kind.body))

    def _erroneous(self, fault: Fault, body: dict[str, Any], key: str, tokens: int) -> HttpResponse:
        response = self._error(error_response(fault, body, key, tokens))
        return replace(response, delay=fault.kind.delay) if isinstance(fault.kind, Reply) else response

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
        asked = self._checked(body)
        target = Target(body, request_digest(body), row=True)
        self.ledger.body_accepted(body)
        completion = complete(asked, self.settings.answer, self.settings.cached)
        fault = self._faults.choose(target)
        completion = self._with_cache_use(completion, asked, fault, 0.0)
        if fault is not None and fault.kind == "502":
            # The page is a proxy's, which the rows of batches do not meet.
            return _refused_row(errors.status_error(502))
        if fault is not None and fault.kind in ANSWER_FAULTS:
            completion = with_answer_fault(completion, str(fault.kind), body)
        response = self._answered(fault, target, completion, key, self.storage.clock.now())
        tokens = (
            completion.prompt_tokens,
            completion.cached_tokens,
            completion.completion_tokens,
            completion.reasoning_tokens,
        )
        return RowResponse(
            response.status,
            response.body if fault is None else _in_one_line(response.body),
            response.bill,
            tokens if response.bill else (0, 0, 0, 0),
        )

    def _completed(
        self, target: Target, answer: Completion | Decision, now: float, reply: Reply | None = None
    ) -> HttpResponse:
        number = next(self._numbers)
        if isinstance(answer, Decision):
            body = decision_body(answer, target.body)
        else:
            body = answer_body(answer, target.body, f"{target.digest[:16]}{number:08x}", int(now))
        bill = Bill.of(target.digest, answer.tokens, body, row=target.row)
        response = HttpResponse(200, orjson.dumps(body), headers=self._headers(number), bill=bill)
        return response if reply is None else _changed(response, body, reply)

    def _delay(self) -> float:
        latency = self.settings.latency
        return latency(self._random) if callable(latency) else latency

    def _error(self, answer: ErrorResponse) -> HttpResponse:
        headers = self._headers(next(self._numbers)) | answer.headers
        return HttpResponse(answer.status, answer.body, answer.content_type, headers)

    def _headers(self, number: int) -> dict[str, str]:
        headers = {"x-request-id": f"req_{number:032x}", "openai-version": "2020-10-01"}
        if self._rate_limiter is not None and self.settings.headers:
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


def _spoilt(
    answer: Completion | Decision, fault: Fault | None, body: dict[str, Any]
) -> Completion | Decision:
    """Return the answer with a fault applied, if it has one."""
    if fault is None or fault.kind not in ANSWER_FAULTS:
        return answer
    if isinstance(answer, Decision):
        return with_refusals(answer, tuple(fault.questions), body)
    return with_answer_fault(answer, str(fault.kind), body)


def _changed(response: HttpResponse, answer: dict[str, Any], reply: Reply) -> HttpResponse:
    """Return the response to a completed request with the changes of a reply."""
    changed = with_changes(answer, reply)
    return replace(
        response,
        status=reply.status,
        body=json_bytes(changed),
        headers=response.headers | reply_headers(reply),
        delay=reply.delay,
        bill=response.bill.stated_by(changed) if reply.bills and response.bill else None,
    )


def _with_transport_fault(response: HttpResponse, fault: Fault) -> HttpResponse:
    """Return the response with a transport fault applied."""
    if fault.kind == "garbled":
        return replace(response, body=response.body[: len(response.body) // 2], delivery="garbled")
    if fault.kind == "hang":
        response = replace(response, bill=None)
    return replace(response, delivery=str(fault.kind), seconds=fault.seconds)


def _refused_row(answer: ErrorResponse) -> RowResponse:
    return RowResponse(answer.status, _in_one_line(answer.body))


def _in_one_line(content: bytes) -> bytes:
    """Return a body as it stands in a line of a batch's file: JSON without line breaks, or a text."""
    try:
        return json_bytes(json.loads(content))
    except ValueError:
        return orjson.dumps(content.decode(errors="replace"))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "system"}
