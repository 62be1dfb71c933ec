"""The Batches API and the work of its batches, done in short slices by the server's own time."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import orjson

from llmframe._api import CHAT_COMPLETIONS
from llmframe.testing._batch.batch import Batch, BatchParameters, FinishedRow
from llmframe.testing._batch.files import MONTH
from llmframe.testing._batch.input import CheckedInput, check_input, line_at
from llmframe.testing._batch.pages import page, page_query
from llmframe.testing._requests import check_batch, check_batches_query
from llmframe.testing._settings import Batches
from llmframe.testing._wire import Invalid, RefusedRequest, errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from llmframe.testing._batch.clock import Clock
    from llmframe.testing._batch.files import Files
    from llmframe.testing._wire import Bill, Ledger

_LISTED = 20
_SLICE_SECONDS = 0.005
_SHORTEST_PAUSE_SECONDS = 0.001
_EXPIRED = {
    "code": "batch_expired",
    "message": "This request could not be executed before the completion window expired.",
}


@dataclass(frozen=True, slots=True)
class RowResponse:
    """The response to one request of a batch; `bill` and `tokens` are as in a `FinishedRow`."""

    status: int
    body: bytes
    bill: Bill | None = None
    tokens: tuple[int, int, int, int] = (0, 0, 0, 0)


class BatchService:
    """All batches. Methods for endpoints return the body of a response, or raise `RefusedRequest`.

    `answer` is called with the body of one request and the API key that created the batch.
    """

    def __init__(
        self,
        clock: Clock,
        files: Files,
        ledger: Ledger,
        models: tuple[str, ...],
        answer: Callable[[dict[str, Any], str], RowResponse],
    ) -> None:
        self.settings = Batches()
        self._clock = clock
        self._files = files
        self._ledger = ledger
        self._models = models
        self._answer = answer
        self._batches: dict[str, Batch] = {}
        self._numbers, self._lines = count(1), count(1)

    def create(self, body: Any, key: str) -> Any:
        """Create a batch; its file is read later."""
        _check_creation(body)
        now = self._clock.now()
        stored = self._files.find(body["input_file_id"])
        if stored is None or now < stored.created + self.settings.file_seconds:
            raise _cannot_find(body["input_file_id"])
        if stored.purpose != "batch":
            message = f"The input file must have the purpose 'batch', not '{stored.purpose}'."
            raise Invalid(message, "input_file_id", "invalid_purpose")
        lifetime = body.get("output_expires_after", {}).get("seconds", MONTH)
        parameters = BatchParameters(stored, body["endpoint"], body.get("metadata"), lifetime, key)
        batch = Batch(parameters, next(self._numbers), now, self.settings.seconds, self.settings.unfinished)
        batch.steps = self._reading(batch)
        self._batches[batch.id] = batch
        self._ledger.count("batches_created")
        return self._show(batch, now)

    def listed(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return one page, the newest batch first."""
        wanted = page_query(query, check_batches_query, default=_LISTED)
        now = self.update()
        shown = page([batch.as_dict(now) for batch in reversed(self._batches.values())], wanted)
        return shown | {"data": [self._show(self._batches[each["id"]], now) for each in shown["data"]]}

    def retrieve(self, name: str) -> Any:
        batch = self._existing(name)
        return self._show(batch, self.update())

    def cancel(self, name: str) -> Any:
        """Begin to cancel a batch; its finished rows are kept."""
        batch = self._existing(name)
        now = self.update()
        status = batch.status(now)
        if status not in {"validating", "in_progress", "finalizing", "cancelling"}:
            raise RefusedRequest(errors.error(409, f"Cannot cancel a batch with status '{status}'."))
        if batch.cancelling_at is None:
            batch.cancelling_at, batch.steps = now, None
            self._ledger.count("batches_cancelled")
        return self._show(batch, now)

    def _show(self, batch: Batch, now: float) -> Any:
        batch.shown_ended += batch.ended is not None
        write = self.settings.write_batch
        return batch.as_dict(now) if write is None else write(batch.as_dict(now), batch.shown_ended)

    def work(self) -> float | None:
        """Do one slice of the work, and return the seconds until the next; None if there is no more work."""
        now = self.update()
        working = next((batch for batch in self._unended() if batch.steps is not None), None)
        if working is not None:
            _work_one_slice(working)
            return 0.0
        due = min((batch.next_due() for batch in self._unended()), default=float("inf"))
        return None if due == float("inf") else max(_SHORTEST_PAUSE_SECONDS, due - now)

    def update(self) -> float:
        """Begin and finish the batches that are due, in the order of time, and return the time."""
        now = self._clock.now()
        validated = [
            (at, batch) for batch in self._unended() if (at := _ready(batch)) is not None and at <= now
        ]
        for at, batch in sorted(validated, key=lambda each: (each[0], each[1].number)):
            self._begin(batch, at)
        for batch in self._unended():
            self._finish(batch, now)
        return now

    def _unended(self) -> list[Batch]:
        return [batch for batch in self._batches.values() if batch.ended is None]

    def _existing(self, name: str) -> Batch:
        batch = self._batches.get(name)
        if batch is None:
            raise RefusedRequest(errors.error(404, f"No batch found with id '{name}'."))
        return batch

    def _begin(self, batch: Batch, at: float) -> None:
        """Begin a batch whose file was read, or end it as `failed`."""
        checked = batch.checked or CheckedInput()
        errors = checked.errors or self._over_limit(checked, at)
        if errors:
            batch.errors = errors
            batch.end("failed", at)
            return
        batch.started_at = at
        random.Random(batch.number).shuffle(checked.rows)  # noqa: S311 - the order of the output
        batch.steps = self._answering(batch, checked)

    def _over_limit(self, checked: CheckedInput, at: float) -> list[dict[str, Any]]:
        limits = self.settings
        queued = [
            batch.checked
            for batch in self._batches.values()
            if batch.checked is not None
            and batch.checked.model == checked.model
            and batch.started_at is not None
            and batch.started_at <= at < batch.ends_at + limits.release_seconds
        ]
        for unit, limit, own in (
            ("token", limits.enqueued_tokens, checked.tokens),
            ("request", limits.enqueued_requests, checked.total),
        ):
            used = sum(other.tokens if unit == "token" else other.total for other in queued)
            if limit is not None and used + own > limit:
                return [_limit_error(unit, checked.model, limit)]
        return []

    def _finish(self, batch: Batch, now: float) -> None:
        """Bill the finished rows, and end the batch if it is due."""
        if batch.cancelling_at is None:
            for row in batch.finish_due_rows(now):
                if row.bill is not None:
                    self._ledger.completion_billed(row.bill)
        outcome = batch.outcome(now)
        if outcome is None:
            return
        at = batch.ends_at
        if outcome == "expired":
            batch.error_lines += b"".join(self._expired_lines(batch))
        batch.output_file = self._write(batch, "output", batch.output_lines, at)
        batch.error_file = self._write(batch, "error", batch.error_lines, at)
        batch.end(outcome, at)

    def _write(self, batch: Batch, kind: str, content: bytearray, at: float) -> str | None:
        if not content:
            return None
        name = f"{batch.id}_{kind}.jsonl"
        lifetime = batch.parameters.lifetime
        return self._files.add(bytes(content), name, "batch_output", created=at, lifetime=lifetime).id

    def _reading(self, batch: Batch) -> Iterator[None]:
        """Read the input file, one line in each step."""
        parameters = batch.parameters
        batch.checked = yield from check_input(
            parameters.file.content, parameters.endpoint, self._models, self.settings, batch.unfinished
        )
        batch.checked_at = self._clock.now()
        batch.steps = None

    def _answering(self, batch: Batch, checked: CheckedInput) -> Iterator[None]:
        """Answer the rows, one in each step."""
        content, key = batch.parameters.file.content, batch.parameters.key
        for start in checked.rows:
            request = orjson.loads(line_at(content, start))
            answer = self._answer(request["body"], key)
            line = _line(next(self._lines), request["custom_id"], answer)
            batch.answered.append(FinishedRow(line, answer.status == 200, answer.bill, answer.tokens))
            yield
        batch.answered_at = self._clock.now()
        batch.steps = None

    def _expired_lines(self, batch: Batch) -> Iterator[bytes]:
        """Return the error lines of the rows that were not finished."""
        checked, content = batch.checked or CheckedInput(), batch.parameters.file.content
        for start in (*checked.rows[batch.finished :], *checked.unfinished_rows):
            custom_id = orjson.loads(line_at(content, start))["custom_id"]
            yield _expired_line(next(self._lines), custom_id)


def _ready(batch: Batch) -> float | None:
    """Return the time when a batch can begin; None if it has begun, was cancelled or is still being read."""
    return batch.validated_at if batch.started_at is None and batch.cancelling_at is None else None


def _work_one_slice(batch: Batch) -> None:
    """Work on a batch until the slice is over or there is nothing more to do."""
    until = time.monotonic() + _SLICE_SECONDS
    for _ in batch.steps or ():
        if time.monotonic() >= until:
            return


def _check_creation(body: Any) -> None:
    if not isinstance(body, dict):
        raise RefusedRequest(errors.unparsable())
    check_batch(body)
    if body["endpoint"] != CHAT_COMPLETIONS.path:
        message = f"This local server has batches for '{CHAT_COMPLETIONS.path}' only."
        raise Invalid(message, "endpoint", "unsupported_value")


def _cannot_find(name: str) -> Invalid:
    message = f"Cannot find file {name}, or project {errors.PROJECT} does not have access to it."
    return Invalid(message, "file_id", None)


def _limit_error(unit: str, model: str | None, limit: int) -> dict[str, Any]:
    message = (
        f"Enqueued {unit} limit reached for {model} in organization {errors.ORGANISATION}. Limit: {limit:,} "
        f"enqueued {unit}s. Please try again once some in_progress batches have been completed."
    )
    return {"code": f"{unit}_limit_exceeded", "message": message, "param": None, "line": None}


def _line(number: int, custom_id: str, answer: RowResponse) -> bytes:
    line = {
        "id": f"batch_req_{number:032x}",
        "custom_id": custom_id,
        "response": {
            "status_code": answer.status,
            "request_id": f"{number:032x}",
            "body": orjson.Fragment(answer.body),
        },
        "error": None,
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _expired_line(number: int, custom_id: str) -> bytes:
    line = {
        "id": f"batch_req_{number:032x}",
        "custom_id": custom_id,
        "response": None,
        "error": _EXPIRED,
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
