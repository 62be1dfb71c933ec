"""The Batches API, and the work behind it: done in slices, by the server's own time."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import orjson

from llmframe.testing._batch.batch import Batch, Order, Row
from llmframe.testing._batch.files import MONTH
from llmframe.testing._batch.input import Checked, check_input, line_at
from llmframe.testing._batch.pages import page, window
from llmframe.testing._requests import check_batch, check_batches_query
from llmframe.testing._settings import Batches
from llmframe.testing._wire import CHAT, Invalid, Refused, errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from llmframe.testing._batch.clock import Clock
    from llmframe.testing._batch.files import Files
    from llmframe.testing._wire import Ledger

_LISTED = 20
_SLICE = 0.005
_SOON = 0.001
_EXPIRED = {
    "code": "batch_expired",
    "message": "This request could not be executed before the completion window expired.",
}


@dataclass(frozen=True, slots=True)
class RowAnswer:
    """What one request of a batch gets; `bill` and `tokens` are as in a `Row`."""

    status: int
    body: bytes
    bill: tuple[str, int] | None = None
    tokens: tuple[int, int, int, int] = (0, 0, 0, 0)


class BatchService:
    """The batches that exist, and the answers about them; what cannot be answered raises `Refused`.

    `answer` answers one request: its body, with the key of whoever created the batch.
    """

    def __init__(
        self,
        clock: Clock,
        files: Files,
        ledger: Ledger,
        models: tuple[str, ...],
        answer: Callable[[dict[str, Any], str], RowAnswer],
    ) -> None:
        self.settings = Batches()
        self._clock = clock
        self._files = files
        self._ledger = ledger
        self._models = models
        self._answer = answer
        self._batches: dict[str, Batch] = {}
        self._numbers, self._lines = count(1), count(1)

    def create(self, body: Any, key: str) -> dict[str, Any]:
        """Create a batch; its file is read later."""
        _check_creation(body)
        now = self._clock.now()
        stored = self._files.find(body["input_file_id"])
        if stored is None or now < stored.created + self.settings.file_seconds:
            raise _cannot_find(body["input_file_id"])
        if stored.purpose != "batch":
            message = f"The input file must have the purpose 'batch', not '{stored.purpose}'."
            raise Invalid(message, "input_file_id", "invalid_purpose")
        life = body.get("output_expires_after", {}).get("seconds", MONTH)
        order = Order(stored, body["endpoint"], body.get("metadata"), life, key)
        batch = Batch(order, next(self._numbers), now, self.settings.seconds, self.settings.unfinished)
        batch.steps = self._reading(batch)
        self._batches[batch.id] = batch
        self._ledger.noted("batches_created")
        return batch.as_dict(now)

    def listed(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Answer with one page, the newest first."""
        asked = window(query, check_batches_query, default=_LISTED)
        now = self.settle()
        return page([batch.as_dict(now) for batch in reversed(self._batches.values())], asked)

    def retrieve(self, name: str) -> dict[str, Any]:
        batch = self._existing(name)
        return batch.as_dict(self.settle())

    def cancel(self, name: str) -> dict[str, Any]:
        """Begin to cancel; rows that are finished by now are kept."""
        batch = self._existing(name)
        now = self.settle()
        status = batch.status(now)
        if status not in {"validating", "in_progress", "finalizing", "cancelling"}:
            raise Refused(errors.error(409, f"Cannot cancel a batch with status '{status}'."))
        if batch.cancelling_at is None:
            batch.cancelling_at, batch.steps = now, None
            self._ledger.noted("batches_cancelled")
        return batch.as_dict(now)

    def work(self) -> float | None:
        """Do a slice of what is to be done, and return the seconds until there is more; None is never."""
        now = self.settle()
        working = next((batch for batch in self._open() if batch.steps is not None), None)
        if working is not None:
            _slice(working)
            return 0.0
        due = min((batch.next_due() for batch in self._open()), default=float("inf"))
        return None if due == float("inf") else max(_SOON, due - now)

    def settle(self) -> float:
        """Let happen what has fallen due, in the order of time, and return the time."""
        now = self._clock.now()
        validated = [(at, batch) for batch in self._open() if (at := _ready(batch)) is not None and at <= now]
        for at, batch in sorted(validated, key=lambda each: (each[0], each[1].number)):
            self._admit(batch, at)
        for batch in self._open():
            self._finish(batch, now)
        return now

    def _open(self) -> list[Batch]:
        return [batch for batch in self._batches.values() if batch.ended is None]

    def _existing(self, name: str) -> Batch:
        batch = self._batches.get(name)
        if batch is None:
            raise Refused(errors.error(404, f"No batch found with id '{name}'."))
        return batch

    def _admit(self, batch: Batch, at: float) -> None:
        """Let a batch begin whose file was read, or turn it to `failed`."""
        checked = batch.checked or Checked()
        errors = checked.errors or self._over_limit(checked, at)
        if errors:
            batch.errors = errors
            batch.end_as("failed", at)
            return
        batch.started_at = at
        random.Random(batch.number).shuffle(checked.rows)  # noqa: S311 - the order of the output
        batch.steps = self._answering(batch, checked)

    def _over_limit(self, checked: Checked, at: float) -> list[dict[str, Any]]:
        limits = self.settings
        queued = [
            batch.checked
            for batch in self._batches.values()
            if batch.checked is not None
            and batch.checked.model == checked.model
            and batch.started_at is not None
            and batch.started_at <= at < batch.end + limits.release_seconds
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
        """Bill the rows that are finished by now, and end the batch if its time has come."""
        if batch.cancelling_at is None:
            for row in batch.take_due(now):
                if row.bill is not None:
                    self._ledger.charged(*row.bill)
        outcome = batch.outcome(now)
        if outcome is None:
            return
        at = batch.end
        if outcome == "expired":
            batch.refused += b"".join(self._expired_lines(batch))
        batch.output_file = self._write(batch, "output", batch.output, at)
        batch.error_file = self._write(batch, "error", batch.refused, at)
        batch.end_as(outcome, at)

    def _write(self, batch: Batch, kind: str, content: bytearray, at: float) -> str | None:
        if not content:
            return None
        name = f"{batch.id}_{kind}.jsonl"
        life = batch.order.life
        return self._files.add(bytes(content), name, "batch_output", created=at, life=life).id

    def _reading(self, batch: Batch) -> Iterator[None]:
        """Read the input file, a line a step."""
        order = batch.order
        batch.checked = yield from check_input(
            order.file.content, order.endpoint, self._models, self.settings, batch.unfinished
        )
        batch.checked_at = self._clock.now()
        batch.steps = None

    def _answering(self, batch: Batch, checked: Checked) -> Iterator[None]:
        """Answer the rows, one a step."""
        content, key = batch.order.file.content, batch.order.key
        for start in checked.rows:
            request = orjson.loads(line_at(content, start))
            answer = self._answer(request["body"], key)
            line = _line(next(self._lines), request["custom_id"], answer)
            batch.answered.append(Row(line, answer.status == 200, answer.bill, answer.tokens))
            yield
        batch.answered_at = self._clock.now()
        batch.steps = None

    def _expired_lines(self, batch: Batch) -> Iterator[bytes]:
        """Write the lines of the rows that nobody finished."""
        checked, content = batch.checked or Checked(), batch.order.file.content
        for start in (*checked.rows[batch.finished :], *checked.never):
            custom_id = orjson.loads(line_at(content, start))["custom_id"]
            yield _expired_line(next(self._lines), custom_id)


def _ready(batch: Batch) -> float | None:
    """Return when a batch could begin that has not yet begun."""
    return batch.validated_at if batch.started_at is None and batch.cancelling_at is None else None


def _slice(batch: Batch) -> None:
    """Work on a batch until the slice is over or there is nothing more to do."""
    until = time.monotonic() + _SLICE
    for _ in batch.steps or ():
        if time.monotonic() >= until:
            return


def _check_creation(body: Any) -> None:
    if not isinstance(body, dict):
        raise Refused(errors.unparsable())
    check_batch(body)
    if body["endpoint"] != CHAT:
        message = f"This local server has batches for '{CHAT}' only."
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


def _line(number: int, custom_id: str, answer: RowAnswer) -> bytes:
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
