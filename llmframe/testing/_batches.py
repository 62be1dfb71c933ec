"""Batches: their settings, and the way of one batch through its states."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmframe.testing._batch_input import Checked
    from llmframe.testing._files import StoredFile

DAY = 86_400
_VALIDATED, _WORKED, _CANCELLED = 0.1, 0.9, 0.1


@dataclass(frozen=True, kw_only=True)
class Batches:
    """How the server treats batches and the files for them.

    Parameters
    ----------
    seconds
        How long a batch takes, in seconds of the server's time: a tenth each for validating and finalizing, and
        the rest for the rows, one after the other. 0 is as fast as the rows are answered.
    enqueued_tokens, enqueued_requests
        How many prompt tokens and requests may be queued for each model over all open batches; None is no limit.
        A batch that goes over it turns `failed` after validating.
    release_seconds
        How long after its end a batch still counts as queued.
    unfinished
        Share of the rows, chosen by their `custom_id`, that are never finished: their batch expires after a day.
    file_seconds
        How long a file that was just uploaded is unknown when a batch is created from it.
    max_requests
        The most requests that a batch may have.
    max_bytes
        The largest file that can be uploaded and made a batch of.

    `seconds` and `unfinished` hold for the batches that are created from then on, the rest at once.

    Examples
    --------
    >>> Batches(seconds=600, enqueued_tokens=90_000).max_requests
    50000
    """

    seconds: float = 0.0
    enqueued_tokens: int | None = None
    enqueued_requests: int | None = None
    release_seconds: float = 0.0
    unfinished: float = 0.0
    file_seconds: float = 0.0
    max_requests: int = 50_000
    max_bytes: int = 200_000_000

    def __post_init__(self) -> None:
        for name in ("seconds", "release_seconds", "file_seconds"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)!r}.")
        for name in ("enqueued_tokens", "enqueued_requests", "max_requests", "max_bytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value!r}.")
        if not 0 <= self.unfinished <= 1:
            raise ValueError(f"unfinished must be between 0 and 1, not {self.unfinished!r}.")


@dataclass(frozen=True, slots=True)
class Order:
    """What a batch was created with; `life` is in seconds, for the files that it writes."""

    file: StoredFile
    endpoint: str
    metadata: dict[str, str] | None
    life: float
    key: str


@dataclass(frozen=True, slots=True)
class Row:
    """An answered line: what the output or the error file gets, and what is billed for it, if anything."""

    line: bytes
    done: bool
    bill: tuple[str, int] | None = None
    tokens: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Prompt, cached, answer and reasoning tokens."""


@dataclass(eq=False)
class Batch:
    """One batch. Its states follow from the server's time and from how far its work has come.

    `steps` is the work under way, None where there is none; `answered` are the rows that were answered and are
    not yet due, in the order in which they fall due.
    """

    order: Order
    number: int
    created: float
    seconds: float
    unfinished: float
    steps: Iterator[None] | None = None
    checked: Checked | None = None
    checked_at: float = 0.0
    started_at: float | None = None
    answered: list[Row] = field(default_factory=list)
    answered_at: float | None = None
    finished: int = 0
    failed: int = 0
    cancelling_at: float | None = None
    ended: tuple[str, float] | None = None
    errors: list[dict[str, Any]] | None = None
    output: bytearray = field(default_factory=bytearray)
    refused: bytearray = field(default_factory=bytearray)
    output_file: str | None = None
    error_file: str | None = None
    tokens: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    id: str = field(default_factory=lambda: f"batch_{uuid4().hex}")

    @property
    def validated_at(self) -> float | None:
        """When validating ends; None while the file is being read."""
        if self.checked is None:
            return None
        return max(self.created + _VALIDATED * self.seconds, self.checked_at)

    @property
    def expires(self) -> float:
        return self.created + DAY

    @property
    def _whole(self) -> bool:
        """Whether all of its rows will be finished in time."""
        return self.checked is not None and self.checked.complete and self.seconds <= DAY

    @property
    def _worked_at(self) -> float:
        """When the last row is finished; never, as far as is known, before it was answered."""
        if self.seconds:
            return self.created + _WORKED * self.seconds
        return float("inf") if self.answered_at is None else self.answered_at

    @property
    def end(self) -> float:
        """When it ends, unless something else happens."""
        if self.ended is not None:
            return self.ended[1]
        if self.cancelling_at is not None:
            return self.cancelling_at + _CANCELLED * self.seconds
        if not self._whole:
            return self.expires
        return self.created + self.seconds if self.seconds else self._worked_at

    def next_due(self) -> float:
        """Return when to look at it again, apart from its work."""
        if self.started_at is None and self.cancelling_at is None:
            validated = self.validated_at
            return float("inf") if validated is None else validated
        return self.end

    def take_due(self, now: float) -> list[Row]:
        """Return the rows that were finished since the last time; they are in the files from now on."""
        rows = self.answered[self.finished : self._due(min(now, self.expires))]
        for i, row in enumerate(rows, self.finished):
            self.answered[i] = _TAKEN
            (self.output if row.done else self.refused).extend(row.line)
            self.failed += not row.done
            for kind, tokens in enumerate(row.tokens):
                self.tokens[kind] += tokens
        self.finished += len(rows)
        return rows

    def _due(self, now: float) -> int:
        if self.checked is None or self.started_at is None:
            return 0
        if not self.seconds or now >= self._worked_at:
            return len(self.checked.rows)
        share = ((now - self.created) / self.seconds - _VALIDATED) / (_WORKED - _VALIDATED)
        return max(0, int(len(self.checked.rows) * share + 1e-9))

    def outcome(self, now: float) -> str | None:
        """Return the state in which it ends by now, if it does."""
        if self.cancelling_at is not None:
            return "cancelled" if now > self.end else None
        if self.started_at is None or self.answered_at is None or now < self.end:
            return None
        return "completed" if self._whole else "expired"

    def end_as(self, state: str, at: float) -> None:
        """Reach the last state, and let go of what was needed on the way."""
        self.ended = (state, at)
        self.order = replace(self.order, file=replace(self.order.file, content=b""))
        self.answered, self.output, self.refused = [], bytearray(), bytearray()

    def status(self, now: float) -> str:
        if self.ended is not None:
            return self.ended[0]
        if self.cancelling_at is not None:
            return "cancelling"
        if self.started_at is None:
            return "validating"
        worked = self.answered_at is not None and now >= self._worked_at
        return "finalizing" if worked and self._whole else "in_progress"

    def as_dict(self, now: float) -> dict[str, Any]:
        status = self.status(now)
        total = 0 if self.checked is None or self.started_at is None else self.checked.total
        finalizing = self._worked_at if status in {"finalizing", "completed"} else None
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.order.endpoint,
            "model": None if self.checked is None else self.checked.model,
            "errors": None if self.errors is None else {"object": "list", "data": self.errors},
            "input_file_id": self.order.file.id,
            "completion_window": "24h",
            "status": status,
            "output_file_id": self.output_file,
            "error_file_id": self.error_file,
            "created_at": int(self.created),
            "in_progress_at": _seconds(self.started_at),
            "expires_at": int(self.expires),
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
            "metadata": self.order.metadata,
        }

    def _ended_at(self, state: str) -> int | None:
        return int(self.ended[1]) if self.ended is not None and self.ended[0] == state else None


_TAKEN = Row(b"", done=True)


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
