"""What the server replies to a request: decided here, sent elsewhere."""

from __future__ import annotations

import hashlib
import logging
import random
import time
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import orjson

from llmframe.testing._batch import RowAnswer, Storage
from llmframe.testing._chat import answer_body, complete, output_cap, request_digest, spoil
from llmframe.testing._requests import check_completion, parse
from llmframe.testing._server.fault_plan import FaultPlan, Target, error_answer
from llmframe.testing._server.rate_limiter import Gate
from llmframe.testing._settings import ANSWER_FAULTS, TRANSPORT_FAULTS
from llmframe.testing._wire import (
    BATCHES,
    CHAT,
    FILES,
    Asked,
    ErrorAnswer,
    Refused,
    Reply,
    errors,
    json_reply,
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
    """The endpoints. All replies are made on the server's own thread."""

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
        self._gate = None if limits is None else Gate(limits, time.monotonic())

    def reset(self) -> None:
        """Forget what was counted; limits and faults begin anew."""
        self.ledger.clear()
        self.limits = self._limits
        self.faults = self._faults.faults

    def reply(self, asked: Asked) -> Reply:
        """Decide what a request gets."""
        if asked.path == _LEDGER and asked.method == "GET":
            return json_reply(self.ledger.as_dict(full=bool(asked.query.get("full"))))
        refused = self._authorise(asked.key)
        if refused is not None:
            return self._error(refused)
        if asked.path == CHAT and asked.method == "POST":
            return self._chat(asked.key, asked.content)
        return self._other(asked)

    def oversized(self, limit: int) -> Reply:
        return self._error(errors.too_big(limit))

    def _authorise(self, key: str) -> ErrorAnswer | None:
        if not key:
            return errors.missing_key()
        if self._settings.api_key is not None and key != self._settings.api_key:
            return errors.invalid_key(key)
        return None

    def _other(self, asked: Asked) -> Reply:
        fault = self._faults.choose(_target(asked)) if self._faults.faults else None
        if fault is not None and fault.kind == "hang":
            return Reply(200, b"", delivery="hang", seconds=fault.seconds)
        if fault is not None and fault.kind not in TRANSPORT_FAULTS:
            return self._error(error_answer(fault, {}, asked.key, 0))
        try:
            stored = asked.path.startswith((FILES, BATCHES))
            whole = self.storage.reply(asked) if stored else self._models(asked.method, asked.path)
        except Refused as refused:
            whole = self._error(refused.answer)
        return whole if fault is None else _broken(whole, fault)

    def _models(self, method: str, path: str) -> Reply:
        models = self._settings.models
        if path == CHAT or (path == _MODELS and method != "GET"):
            raise Refused(errors.wrong_method(method, path))
        if path == _MODELS:
            return json_reply({"object": "list", "data": [_model(name) for name in models]})
        if path.startswith(_MODELS + "/") and method == "GET":
            name = path.removeprefix(_MODELS + "/")
            return json_reply(_model(name)) if name in models else self._error(errors.model_not_found(name))
        raise Refused(errors.unknown_url(method, path))

    def _chat(self, key: str, content: bytes) -> Reply:
        body = parse(content)
        if not isinstance(body, dict):
            return self._error(errors.unparsable())
        try:
            check_completion(body)
        except Refused as refused:
            return self._error(refused.answer)
        if body["model"] not in self._settings.models:
            return self._error(errors.model_not_found(body["model"]))
        digest = request_digest(body)
        self.ledger.accepted(body)
        completion = complete(body, self._settings.answer, self._settings.cached)
        over = self._admit(body, completion)
        if over is not None:
            return self._error(over)
        fault = self._faults.choose(Target(body, digest))
        if fault is None:
            return self._completed(body, digest, completion)
        return self._faulty(fault, body, digest, completion, key)

    def _admit(self, body: dict[str, Any], completion: Completion) -> ErrorAnswer | None:
        if self._gate is None:
            return None
        cap = output_cap(body)
        cost = completion.tokens if cap is None else completion.prompt_tokens + cap
        refusal = self._gate.admit(cost, time.monotonic())
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
        return answer.with_retry_after(refusal.wait) if self._gate.retry_after else answer

    def _faulty(
        self, fault: Fault, body: dict[str, Any], digest: str, completion: Completion, key: str
    ) -> Reply:
        if fault.kind in ANSWER_FAULTS:
            return self._completed(body, digest, spoil(completion, str(fault.kind), body))
        if fault.kind not in TRANSPORT_FAULTS:
            answer = error_answer(fault, body, key, completion.prompt_tokens)
            return replace(self._error(answer), delay=self._delay())
        whole = self._completed(body, digest, completion)
        if fault.kind == "hang":
            whole = replace(whole, bill=None)
        return _broken(whole, fault)

    def _answer_row(self, body: dict[str, Any], key: str) -> RowAnswer:
        """Answer a request of a batch as a live one, but without limits and without faults of the connection."""
        try:
            return self._row(body, key)
        except Refused as refused:
            return _refused_row(refused.answer)
        except Exception:  # noqa: BLE001 - from a function that the server was given; the other rows go on
            _log.exception("A row of a batch could not be answered.")
            return _refused_row(errors.status_error(500))

    def _row(self, body: dict[str, Any], key: str) -> RowAnswer:
        check_completion(body)
        digest = request_digest(body)
        self.ledger.accepted(body)
        completion = complete(body, self._settings.answer, self._settings.cached)
        fault = self._faults.choose(Target(body, digest, row=True))
        if fault is not None and fault.kind not in ANSWER_FAULTS:
            return _refused_row(error_answer(fault, body, key, completion.prompt_tokens))
        if fault is not None:
            completion = spoil(completion, str(fault.kind), body)
        name = f"{digest[:16]}{next(self._numbers):08x}"
        return RowAnswer(
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

    def _error(self, answer: ErrorAnswer) -> Reply:
        headers = self._headers(next(self._numbers)) | answer.headers
        return Reply(answer.status, answer.body, answer.content_type, headers)

    def _headers(self, number: int) -> dict[str, str]:
        headers = {"x-request-id": f"req_{number:032x}", "openai-version": "2020-10-01"}
        if self._gate is not None and self._settings.headers:
            headers |= self._gate.headers()
        return headers


def _target(asked: Asked) -> Target:
    """Return what a fault with a path looks at."""
    body: Any = {}
    content = b""
    if asked.upload is not None:
        content = asked.upload.content or b""
        body = asked.upload.fields | {"filename": asked.upload.filename, "bytes": len(content)}
    elif asked.content:
        body = parse(asked.content)
    digest = hashlib.blake2b(
        f"{asked.method} {asked.path} {dict(asked.query)} {body}".encode(), digest_size=16
    )
    digest.update(content)
    return Target(body if isinstance(body, dict) else {}, digest.hexdigest(), asked.path, asked.method)


def _broken(whole: Reply, fault: Fault) -> Reply:
    """Return a reply as a fault of the connection leaves it."""
    if fault.kind == "garbled":
        return replace(whole, body=whole.body[: len(whole.body) // 2], delivery="garbled")
    return replace(whole, delivery=str(fault.kind), seconds=fault.seconds)


def _refused_row(answer: ErrorAnswer) -> RowAnswer:
    if answer.content_type != "application/json":
        answer = errors.status_error(answer.status)
    # Written anew, because a line of a file has no line breaks inside.
    return RowAnswer(answer.status, orjson.dumps(orjson.loads(answer.body)))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "system"}
