"""One batch: its rows, its files and its status."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmframe.testing._batch.files import StoredFile
    from llmframe.testing._batch.input import CheckedInput
    from llmframe.testing._wire import Bill

DAY = 86_400
_VALIDATED, _WORKED, _CANCELLED = 0.1, 0.9, 0.1


@dataclass(frozen=True, slots=True)
class BatchParameters:
    """The parameters of a batch; the files that it writes exist for `lifetime` seconds."""

    file: StoredFile
    endpoint: str
    metadata: dict[str, str] | None
    lifetime: float
    key: str


@dataclass(frozen=True, slots=True)
class FinishedRow:
    """A line of the output file (`done`) or of the error file, and its bill, if it has one."""

    line: bytes
    done: bool
    bill: Bill | None = None
    tokens: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Prompt, cached, answer and reasoning tokens."""


@dataclass(eq=False)
class Batch:
    """One batch. Its status follows from the server's time and from how much of its work is done.

    `steps` is the unfinished work, None if there is none. `answered` holds the answered rows in the order in which
    they are due; rows that are already in the files are replaced by an empty one.
    """

    parameters: BatchParameters
    number: int
    created: float
    seconds: float
    unfinished: float
    steps: Iterator[None] | None = None
    checked: CheckedInput | None = None
    checked_at: float = 0.0
    started_at: float | None = None
    answered: list[FinishedRow] = field(default_factory=list)
    answered_at: float | None = None
    finished: int = 0
    failed: int = 0
    cancelling_at: float | None = None
    ended: tuple[str, float] | None = None
    errors: list[dict[str, Any]] | None = None
    shown_ended: int = 0
    """How often a client has seen that it has ended."""
    output_lines: bytearray = field(default_factory=bytearray)
    error_lines: bytearray = field(default_factory=bytearray)
    output_file: str | None = None
    error_file: str | None = None
    tokens: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    id: str = field(default_factory=lambda: f"batch_{uuid4().hex}")

    @property
    def validated_at(self) -> float | None:
        """The time when validating ends; None while the file is being read."""
        if self.checked is None:
            return None
        return max(self.created + _VALIDATED * self.seconds, self.checked_at)

    @property
    def expires_at(self) -> float:
        return self.created + DAY

    @property
    def _completes(self) -> bool:
        """Whether all rows will be finished before the batch expires."""
        return self.checked is not None and self.checked.complete and self.seconds <= DAY

    @property
    def _last_row_at(self) -> float:
        """The time when the last row is finished; infinite while unknown."""
        if self.seconds:
            return self.created + _WORKED * self.seconds
        return float("inf") if self.answered_at is None else self.answered_at

    @property
    def ends_at(self) -> float:
        """The time when the batch ends unless it is cancelled first."""
        if self.ended is not None:
            return self.ended[1]
        if self.cancelling_at is not None:
            return self.cancelling_at + _CANCELLED * self.seconds
        if not self._completes:
            return self.expires_at
        return self.created + self.seconds if self.seconds else self._last_row_at

    def next_due(self) -> float:
        """Return the time of the next change of status that does not depend on its work."""
        if self.started_at is None and self.cancelling_at is None:
            validated = self.validated_at
            return float("inf") if validated is None else validated
        return self.ends_at

    def finish_due_rows(self, now: float) -> list[FinishedRow]:
        """Write the rows that became due since the last call to the files, and return them."""
        rows = self.answered[self.finished : self._due(min(now, self.expires_at))]
        for i, row in enumerate(rows, self.finished):
            self.answered[i] = _RELEASED
            (self.output_lines if row.done else self.error_lines).extend(row.line)
            self.failed += not row.done
            for kind, tokens in enumerate(row.tokens):
                self.tokens[kind] += tokens
        self.finished += len(rows)
        return rows

    def _due(self, now: float) -> int:
        if self.checked is None or self.started_at is None:
            return 0
        if not self.seconds or now >= self._last_row_at:
            return len(self.checked.rows)
        share = ((now - self.created) / self.seconds - _VALIDATED) / (_WORKED - _VALIDATED)
        return max(0, int(len(self.checked.rows) * share + 1e-9))

    def outcome(self, now: float) -> str | None:
        """Return the final status if the batch has ended by now."""
        if self.cancelling_at is not None:
            return "cancelled" if now > self.ends_at else None
        if self.started_at is None or self.answered_at is None or now < self.ends_at:
            return None
        return "completed" if self._completes else "expired"

    def end(self, state: str, at: float) -> None:
        """Set the final status, and free what is no longer needed."""
        self.ended = (state, at)
        self.parameters = replace(self.parameters, file=replace(self.parameters.file, content=b""))
        self.answered, self.output_lines, self.error_lines = [], bytearray(), bytearray()

    def status(self, now: float) -> str:
        if self.ended is not None:
            return self.ended[0]
        if self.cancelling_at is not None:
            return "cancelling"
        if self.started_at is None:
            return "validating"
        worked = self.answered_at is not None and now >= self._last_row_at
        return "finalizing" if worked and self._completes else "in_progress"

    def as_dict(self, now: float) -> dict[str, Any]:
        status = self.status(now)
        total = 0 if self.checked is None or self.started_at is None else self.checked.total
        finalizing = self._last_row_at if status in {"finalizing", "completed"} else None
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.parameters.endpoint,
            "model": None if self.checked is None else self.checked.model,
            "errors": None if self.errors is None else {"object": "list", "data": self.errors},
            "input_file_id": self.parameters.file.id,
            "completion_window": "24h",
            "status": status,
            "output_file_id": self.output_file,
            "error_file_id": self.error_file,
            "created_at": int(self.created),
            "in_progress_at": _seconds(self.started_at),
            "expires_at": int(self.expires_at),
            "finalizing_at": _seconds(finalizing),
            "completed_at": self._ended_at("completed"),
            "failed_at": self._ended_at("failed"),
            "expired_at": self._ended_at("expired"),
            "cancelling_at": _seconds(self.cancelling_at),
            "cancelled_at": self._ended_at("cancelled"),
            "request_counts": {
                "total": total,
                "completed": self.finished - self.failed,
                "failed": self.failed,
            },
            "usage": _usage(*self.tokens),
            "metadata": self.parameters.metadata,
        }

    def _ended_at(self, state: str) -> int | None:
        return int(self.ended[1]) if self.ended is not None and self.ended[0] == state else None


_RELEASED = FinishedRow(b"", done=True)


def _seconds(at: float | None) -> int | None:
    return None if at is None else int(at)


def _usage(prompt: int, cached: int, answer: int, reasoning: int) -> dict[str, Any]:
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": answer,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": prompt + answer,
    }
