"""Files and batches over HTTP: each call is repeated until it is answered or cannot succeed.

https://platform.openai.com/docs/api-reference/batch and /files; measured, and not documented there: a file just
uploaded can be unknown for a moment, downloads can break, and an answer can be lost although the batch was created.
Therefore a batch is looked for before it is created again.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any, TypeVar

from llmframe._api import sdk_client
from llmframe._api.batch_limits import batch_refusal
from llmframe._pacing import Attempts, Retry, RetryPolicy, StopRun, remedy
from llmframe._values import BatchError, BatchState, FaultKind, RequestFault, Stop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

T = TypeVar("T")

RECIPE_KEY, PART_KEY, COLUMN_KEY = "llmframe_recipe", "llmframe_part", "llmframe_column"
"""The `metadata` of llmframe's batches: the recipe's digest, the part's nonce, and the columns' names."""

LARGEST_BATCH_BYTES = 200_000_000
"""https://platform.openai.com/docs/guides/batch."""

_POLLING_RETRIES = 30
"""Retries while waiting for batches, enough for a network failure of ten minutes."""
_MISSING_TRIES = 5
"""A missing file or batch is looked for this many times: a new one may be unknown for some seconds."""
_SLOWEST_BYTES_PER_SECOND = 50_000
_PAGE = 100
_LONGEST_METADATA = 512


class NotFoundError(Exception):
    """The file or batch does not exist."""


class _Unanswered(Exception):  # noqa: N818 (a value for the retry decision)
    def __init__(self, fault: RequestFault, status: int | None = None) -> None:
        super().__init__(fault.message)
        self.fault = fault
        self.status = status


class BatchApi:
    """Files and batches of one account, through one client, in the loop that made it.

    A call that cannot succeed raises `StopRun`; a missing file or batch raises `NotFoundError`.

    Parameters
    ----------
    timeout
        Seconds for one request; large files get more.
    """

    def __init__(
        self, client: sdk_client.Client, *, timeout: float, headers: Mapping[str, str], max_retries: int
    ) -> None:
        self._client = client
        self._timeout = timeout
        self._headers = dict(headers)
        self._policy = RetryPolicy(max_retries, random.Random())  # noqa: S311 (for jitter)
        self._polling_policy = RetryPolicy(max(max_retries, _POLLING_RETRIES), random.Random())  # noqa: S311

    async def upload(self, name: str, lines: IO[bytes], size: int) -> str:
        """Upload an input file of `size` bytes and return its id."""

        async def send() -> str:
            lines.seek(0)
            async with self._translated(self._timeout + size / _SLOWEST_BYTES_PER_SECOND):
                stored = await self._client.files.create(
                    file=(name, lines, "application/jsonl"),
                    purpose="batch",
                    extra_headers=self._headers,
                )
            return _id(stored)

        try:
            return await self._repeat(send, self._policy, before_again=lambda: self.find_upload(name))
        except NotFoundError as missing:
            raise StopRun(no_batch_api(missing)) from None

    async def find_upload(self, name: str) -> str | None:
        """Look for an input file by its name; `None` where there is none, or the server does not answer."""
        try:
            async with self._translated(self._timeout):
                pages = self._client.files.list(purpose="batch", limit=_PAGE, extra_headers=self._headers)
                async for stored in pages:
                    if stored.filename == name:
                        return stored.id
        except _Unanswered:
            pass
        return None

    async def create(self, file: str, endpoint: str, metadata: Mapping[str, str]) -> BatchState:
        """Create a batch; one that is refused at once by a limit is returned as `failed`, without an id."""

        async def send() -> BatchState:
            try:
                async with self._translated(self._timeout):
                    batch = await self._client.batches.create(
                        input_file_id=file,
                        endpoint=endpoint,  # type: ignore[arg-type]
                        completion_window="24h",
                        metadata={name: value[:_LONGEST_METADATA] for name, value in metadata.items()},
                        extra_headers=self._headers,
                    )
            except _Unanswered as unanswered:
                return _refused(unanswered)
            return _state(batch)

        return await self._repeat(send, self._policy, before_again=lambda: self._find(metadata[PART_KEY]))

    async def _find(self, nonce: str) -> BatchState | None:
        return next((state for state in await self.listed() if state.metadata.get(PART_KEY) == nonce), None)

    async def retrieve(self, name: str) -> BatchState:
        """Retrieve the state of a batch."""

        async def send() -> BatchState:
            async with self._translated(self._timeout):
                batch = await self._client.batches.retrieve(name, extra_headers=self._headers)
            return _state(batch)

        return await self._repeat(send, self._polling_policy, missing_tries=_MISSING_TRIES)

    async def cancel(self, name: str) -> BatchState:
        """Cancel a batch; its finished answers are kept, and billed."""

        async def send() -> BatchState:
            try:
                async with self._translated(self._timeout):
                    batch = await self._client.batches.cancel(name, extra_headers=self._headers)
            except _Unanswered as unanswered:
                if unanswered.status != 409:  # the batch has ended already
                    raise
                return await self.retrieve(name)
            return _state(batch)

        return await self._repeat(send, self._policy)

    async def listed(self) -> list[BatchState]:
        """List the account's batches from all pages, the newest first."""

        async def first() -> Any:
            async with self._translated(self._timeout):
                return await self._client.batches.list(limit=_PAGE, extra_headers=self._headers)

        async def following() -> Any:
            async with self._translated(self._timeout):
                return await page.get_next_page()

        page = await self._repeat(first, self._policy)
        states = [_state(batch) for batch in page.data]
        while page.has_next_page():
            page = await self._repeat(following, self._policy)
            states += map(_state, page.data)
        return states

    @asynccontextmanager
    async def content(self, file: str) -> AsyncIterator[IO[bytes]]:
        """Download a file into a temporary file for a block."""
        with tempfile.TemporaryFile() as target:

            async def send() -> None:
                target.seek(0)
                target.truncate()
                async with (
                    self._translated(self._timeout + LARGEST_BATCH_BYTES / _SLOWEST_BYTES_PER_SECOND),
                    self._client.files.with_streaming_response.content(
                        file, extra_headers=self._headers
                    ) as response,
                ):
                    async for chunk in response.iter_bytes():
                        with _stops_on_full_disk():
                            target.write(chunk)

            await self._repeat(send, self._polling_policy, missing_tries=_MISSING_TRIES)
            with _stops_on_full_disk():
                target.seek(0)
            yield target

    async def delete(self, file: str) -> None:
        """Delete an input file if possible; a missing file or a failure is ignored."""

        async def send() -> None:
            async with self._translated(self._timeout):
                await self._client.files.delete(file, extra_headers=self._headers)

        with suppress(NotFoundError, StopRun):
            await self._repeat(send, self._policy)

    @asynccontextmanager
    async def _translated(self, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except sdk_client.errors() as error:
            fault = sdk_client.translated(error, self._client, self._headers).fault
            fault = await sdk_client.explained(fault, self._client)
            raise _Unanswered(fault, getattr(error, "status_code", None)) from None

    async def _repeat(
        self,
        send: Callable[[], Awaitable[T]],
        policy: RetryPolicy,
        before_again: Callable[[], Awaitable[T | None]] | None = None,
        missing_tries: int = 1,
    ) -> T:
        """Repeat a call while its faults are passing; `before_again` first looks for the result of the last attempt.

        A missing file or batch is looked for `missing_tries` times.
        """
        attempts = Attempts()
        while True:
            try:
                result = await send()
            except _Unanswered as unanswered:
                fault = unanswered.fault
                if unanswered.status == 404:
                    missing_tries -= 1
                    if not missing_tries:
                        raise NotFoundError(fault.message) from None
                    fault = replace(fault, kind=FaultKind.PASSING)
                attempts = attempts.after(fault)
                await asyncio.sleep(_pause(fault, policy, attempts))
                found = None if before_again is None else await before_again()
                if found is not None:
                    return found
            else:
                policy.on_response()
                return result


@contextmanager
def _stops_on_full_disk() -> Iterator[None]:
    """Raise `StopRun` where a downloaded file cannot be written: that is no fault of the connection."""
    try:
        yield
    except OSError as error:
        message = f"the file of a batch cannot be kept while it is read: {error}"
        raise StopRun(Stop("disk", message, "free space, or set TMPDIR to another folder")) from error


def _pause(fault: RequestFault, policy: RetryPolicy, attempts: Attempts) -> float:
    decision = policy.on_fault(fault, attempts, time.monotonic())
    if isinstance(decision, Retry) and fault.kind not in {FaultKind.ACCESS, FaultKind.ELSEWHERE}:
        return decision.seconds
    stop = decision if isinstance(decision, Stop) else Stop(fault.code, fault.message, remedy(fault))
    raise StopRun(stop)


def _refused(unanswered: _Unanswered) -> BatchState:
    """Return a failed state for a limit; raise for other reasons."""
    fault = unanswered.fault
    error = BatchError(fault.code, fault.message)
    if fault.code != "rate_limit_exceeded" and batch_refusal([error]) is not None:
        return BatchState("", "failed", errors=(error,))
    if unanswered.status == 404 or (
        fault.kind is FaultKind.PARAMETER and "find file" in fault.message.lower()
    ):
        raise _Unanswered(replace(fault, kind=FaultKind.PASSING))
    raise unanswered


def no_batch_api(missing: NotFoundError) -> Stop:
    """Return the `Stop` for a server without a Batch API."""
    return Stop("no_batch_api", f"this server has no batches: {missing}", "use mode='live'")


def _id(stored: Any) -> str:
    name = getattr(stored, "id", None)
    if not isinstance(name, str) or not name:
        raise _Unanswered(
            RequestFault(FaultKind.PASSING, "unparsable_answer", "the answer names no id", uncertain=True)
        )
    return name


def _state(batch: Any) -> BatchState:
    counts = getattr(batch, "request_counts", None)
    errors = getattr(getattr(batch, "errors", None), "data", None) or []
    started = getattr(batch, "in_progress_at", None)
    ends = (getattr(batch, f"{state}_at", None) for state in ("completed", "expired", "cancelled"))
    total, completed, failed = (getattr(counts, name, None) or 0 for name in ("total", "completed", "failed"))
    return BatchState(
        _id(batch),
        str(getattr(batch, "status", "")),
        input_file=getattr(batch, "input_file_id", None),
        output_file=getattr(batch, "output_file_id", None),
        error_file=getattr(batch, "error_file_id", None),
        model=getattr(batch, "model", None),
        created=float(getattr(batch, "created_at", None) or 0.0),
        ended=next((float(end) for end in ends if end), None) if started else None,
        total=total,
        completed=completed,
        failed=failed,
        errors=tuple(map(_error, errors)),
        metadata=getattr(batch, "metadata", None) or {},
        endpoint=getattr(batch, "endpoint", None),
    )


def _error(error: Any) -> BatchError:
    line = getattr(error, "line", None)
    return BatchError(
        str(getattr(error, "code", None) or "batch_failed"),
        str(getattr(error, "message", None) or "the batch failed"),
        line if isinstance(line, int) else None,
    )
