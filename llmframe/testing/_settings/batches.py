"""The settings of batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, kw_only=True)
class Batches:
    """The settings of batches and their files.

    Parameters
    ----------
    seconds
        The duration of a batch, in seconds of the server's time: a tenth each for validating and finalizing, and
        the rest for the rows, one after the other. With 0 it ends as soon as the rows are answered.
    enqueued_tokens, enqueued_requests
        How many prompt tokens and requests may be queued for each model over all open batches; None is no limit.
        A batch that exceeds it becomes `failed` after validating.
    release_seconds
        Seconds after its end for which a batch still counts as queued.
    unfinished
        Share of the rows, chosen by their `custom_id`, that are never finished: their batch expires after a day.
    file_seconds
        Seconds after its upload in which a file is unknown when a batch is created from it.
    max_requests
        The most requests that a batch may have.
    max_bytes
        The largest file, in bytes, that can be uploaded and used for a batch.
    write_batch
        A function of a batch's JSON object and of how often it was shown since its end (0 before), which returns
        what is sent instead: other words for states, empty ids, dates, files that are named late.
    write_page
        A function of a page's JSON object, in lists of batches and files, and of the request's query, which returns
        what is sent instead: pages that are empty, repeated or without `has_more`.
    write_file
        A function of the content of an output or an error file and of how often it was downloaded, this time
        included, which returns what is sent instead: lines in other forms, in another order, broken or left out.

    `seconds` and `unfinished` apply to batches that are created afterwards, the other settings at once.

    Examples
    --------
    >>> Batches(seconds=600, enqueued_tokens=90_000).max_requests
    50000

    A server that names the output file only at the third look, and writes empty text for null:

    >>> def late(batch, looks):
    ...     return batch | {"error_file_id": "", "output_file_id": "" if looks < 3 else batch["output_file_id"]}
    >>> Batches(write_batch=late).seconds
    0.0
    """

    seconds: float = 0.0
    enqueued_tokens: int | None = None
    enqueued_requests: int | None = None
    release_seconds: float = 0.0
    unfinished: float = 0.0
    file_seconds: float = 0.0
    max_requests: int = 50_000
    max_bytes: int = 200_000_000
    write_batch: Callable[[dict[str, Any], int], Any] | None = None
    write_page: Callable[[dict[str, Any], Mapping[str, str]], Any] | None = None
    write_file: Callable[[bytes, int], bytes] | None = None

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
