"""The state of a batch, read from what a server says of it, in whatever form.

OpenAI and compatible servers differ: ids that do not exist are null or empty text, times are seconds, milliseconds or
ISO dates, numbers are text, `metadata` is JSON in text, `errors` is a list, and states have other names.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from llmframe._json import as_object, words
from llmframe._values import BatchError, BatchState

if TYPE_CHECKING:
    from collections.abc import Mapping

_STATES = {
    "completed": "completed complete succeeded success successful ended done finished",
    "failed": "failed failure error errored",
    "expired": "expired timeout timed_out timeout_exceeded",
    "cancelled": "cancelled canceled aborted stopped",
    "cancelling": "cancelling canceling cancellation_requested",
    "in_progress": "in_progress running processing working started",
    "finalizing": "finalizing finalising completing",
    "validating": "validating created submitted queued pending accepted",
}
_STATE_OF = {word: state for state, words in _STATES.items() for word in words.split()}
_ENDS = ("completed", "expired", "cancelled", "failed")
"""The final states; each has a time `{state}_at`."""

_LATEST_SECONDS = 10**11
"""A larger number of seconds since the epoch is a number of milliseconds."""


def read_state(name: str, data: Mapping[str, Any]) -> BatchState:
    """Read the state of the batch with this id; what cannot be read is unknown."""
    ends = {state: end for state in _ENDS if (end := _moment(data.get(f"{state}_at")))}
    counts = as_object(data.get("request_counts"))
    output_file, error_file = text(data.get("output_file_id")), text(data.get("error_file_id"))
    total, completed, failed = (_count(counts.get(each)) for each in ("total", "completed", "failed"))
    return BatchState(
        name,
        _status(
            data.get("status"),
            ends,
            whole=bool(output_file or error_file) and 0 < total <= completed + failed,
        ),
        input_file=text(data.get("input_file_id")),
        output_file=output_file,
        error_file=error_file,
        model=text(data.get("model")),
        created=_moment(data.get("created_at")) or 0.0,
        ended=next((ends[state] for state in _ENDS[:3] if state in ends), None)
        if _moment(data.get("in_progress_at"))
        else None,
        total=total,
        completed=completed,
        failed=failed,
        counted=counts.get("completed") is not None,
        errors=_errors(data.get("errors")),
        metadata={str(key): str(value) for key, value in as_object(data.get("metadata")).items()},
        endpoint=text(data.get("endpoint")),
    )


def text(value: object) -> str | None:
    """Return an id or a name; `None` where there is none, which many servers write as empty text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return (value.strip() or None) if isinstance(value, str) else None


def _status(value: object, ends: Mapping[str, float], *, whole: bool) -> str:
    """Return OpenAI's name of a state.

    Where a server's word is unknown, a time of its end tells that it has ended, or a file with results that are
    `whole`: for as many requests as the batch has.
    """
    word = re.sub(r"[\s-]+", "_", (text(value) or "").lower())
    word = re.sub("^(job|batch)_(state_)?", "", word)
    return _STATE_OF.get(word) or next(iter(ends), "completed" if whole else word)


def _count(value: object) -> int:
    """Return a number of requests; 0 where it is unknown."""
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    return int(value) if isinstance(value, int | float) and 0 < value < _LATEST_SECONDS else 0


def _moment(value: object) -> float | None:
    """Return seconds since the epoch from a number, a number in text, or an ISO date; `None` for anything else."""
    if isinstance(value, str):
        words = value.strip()
        try:
            value = float(words)
        except ValueError:
            return _iso_moment(words)
    if not isinstance(value, int | float) or not 0 < value < float("inf"):
        return None
    while value > _LATEST_SECONDS:
        value /= 1000
    return float(value)


def _iso_moment(words: str) -> float | None:
    try:
        moment = datetime.fromisoformat(words)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _errors(value: object) -> tuple[BatchError, ...]:
    """Read a failed batch's errors: a list, an object around one, a single error, or words."""
    if isinstance(value, dict):
        listed = value.get("data")
        value = [value] if listed is None and ("message" in value or "code" in value) else listed
    found = value if isinstance(value, list) else [value]
    return tuple(_error(each) for each in found if each)


def _error(error: object) -> BatchError:
    if not isinstance(error, dict):
        return BatchError("batch_failed", words(error))
    line = error.get("line")
    message = text(error.get("message")) or text(error.get("detail"))
    return BatchError(
        text(error.get("code")) or "batch_failed",
        message or "the batch failed, and the server does not say why",
        _count(line) or None,
    )
