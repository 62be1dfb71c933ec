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

from llmframe._api.batch_limits import batch_refusal
from llmframe._api.batch_pages import Pages, UnreadablePagesError
from llmframe._api.batch_states import read_state, text
from llmframe._api.faults import refused_answer_fault, unreadable_fault
from llmframe._api.sdk_errors import errors, translated
from llmframe._json import load_or_none
from llmframe._pacing import Attempts, Retry, RetryPolicy, StopRun, remedy
from llmframe._values import BatchError, BatchState, FaultKind, LimitWait, RequestFault, Stop, Traffic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence

    from llmframe._api.sdk_http import Client
    from llmframe._pacing import Patience

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
_DELETE_SECONDS = 5.0
"""Deletions that fail may take this long together."""
_STALLED_SECONDS = 0.25
_PAGE = 100
_REFUSED = {FaultKind.ACCESS, FaultKind.ELSEWHERE}
"""Passing in some calls, once the server has answered one."""
_NO_ACCESS = {FaultKind.ACCESS, FaultKind.ELSEWHERE, FaultKind.FATAL, FaultKind.UNREACHABLE}
_LONGEST_METADATA = 512


class NotFoundError(Exception):
    """The file or batch does not exist."""


class NoAccessError(StopRun):
    """No call can succeed: the key, the network or the address is at fault, and not what was asked for."""


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
    key
        How the user gives another key, for remedies.
    """

    def __init__(
        self,
        client: Client,
        *,
        timeout: float,
        headers: Mapping[str, str],
        max_retries: int,
        patience: Patience | None = None,
        key: str | None = None,
    ) -> None:
        self.traffic = Traffic()
        """Counts also the calls that were answered 429."""
        self.limit_wait: LimitWait | None = None
        """The limit that a call waits for now."""
        self._answered = False
        self._key = key
        self._client = client
        self._timeout = timeout
        self._headers = dict(headers)
        self._wasted_seconds = 0.0
        self._policy, self._polling_policy = (
            RetryPolicy(retries, random.Random(), patience=patience)  # noqa: S311 (for jitter)
            for retries in (max_retries, max(max_retries, _POLLING_RETRIES))
        )

    @property
    def _files(self) -> Any:
        return self._client.files.with_raw_response

    @property
    def _batches(self) -> Any:
        return self._client.batches.with_raw_response

    async def upload(self, name: str, lines: IO[bytes], size: int) -> str:
        """Upload an input file of `size` bytes and return its id."""

        async def send() -> str:
            lines.seek(0)
            seconds = self._timeout + size / _SLOWEST_BYTES_PER_SECOND
            file = (name, lines, "application/jsonl")
            return _id(_read(await self._ask(self._files.create, seconds, file=file, purpose="batch")))

        try:
            return await self._repeat(send, self._policy, before_again=lambda: self.find_upload(name))
        except NotFoundError as missing:
            raise _no_batch_api(missing) from None

    async def find_upload(self, name: str) -> str | None:
        """Look for an input file by the end of its name; `None` where there is none, or the files cannot be listed."""
        with suppress(_Unanswered, UnreadablePagesError):
            async for stored in self._entries(self._page_of_files, patient=False):
                if str(stored.get("filename")).endswith(name):
                    return text(stored.get("id"))
        return None

    async def uploads(self) -> dict[str, str]:
        """Map the ids of the account's input files to their names."""
        return {
            name: str(stored.get("filename"))
            async for stored in self._entries(self._page_of_files)
            if (name := text(stored.get("id"))) is not None
        }

    async def _page_of_files(self, after: Mapping[str, Any]) -> Any:
        return await self._ask(self._files.list, purpose="batch", limit=_PAGE, **after)

    async def create(self, file: str, endpoint: str, metadata: Mapping[str, str]) -> BatchState:
        """Create a batch; one that is refused at once by a limit is returned as `failed`, without an id."""

        async def send() -> BatchState:
            try:
                batch = await self._ask(
                    self._batches.create,
                    input_file_id=file,
                    endpoint=endpoint,
                    completion_window="24h",
                    metadata={name: value[:_LONGEST_METADATA] for name, value in metadata.items()},
                )
            except _Unanswered as unanswered:
                return _refused(unanswered)
            return _state(batch)

        async def find() -> BatchState | None:
            return find_batch(await self.listed(), metadata[PART_KEY], file)

        return await self._repeat(send, self._policy, before_again=find)

    async def retrieve(self, name: str) -> BatchState:
        """Retrieve the state of a batch."""

        async def send() -> BatchState:
            return _state(await self._ask(self._batches.retrieve, batch_id=name))

        return await self._repeat(send, self._polling_policy, missing_tries=_MISSING_TRIES)

    async def cancel(self, name: str) -> BatchState:
        """Cancel a batch; its finished answers are kept, and billed."""

        async def send() -> BatchState:
            try:
                return _state(await self._ask(self._batches.cancel, batch_id=name))
            except _Unanswered as unanswered:
                if unanswered.status not in {400, 409, 422}:  # the batch may have ended already
                    raise
                state = await self.retrieve(name)
                if unanswered.status == 409 or state.final:
                    return state
                raise

        return await self._repeat(send, self._policy)

    async def listed(self) -> list[BatchState]:
        """List the account's batches from all pages, the newest first."""

        async def page(after: Mapping[str, Any]) -> Any:
            return await self._ask(self._batches.list, limit=_PAGE, **after)

        try:
            return [_state_of(batch) async for batch in self._entries(page)]
        except NotFoundError as missing:
            raise _no_batch_api(missing) from None

    async def _entries(
        self, page: Callable[[Mapping[str, Any]], Awaitable[Any]], *, patient: bool = True
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the entries of a list from all of its pages; a page that is empty for a moment is asked for again.

        With `patient=False`, a page that the server refuses is not.
        """

        async def send() -> Any:
            return _read(await page({} if pages.after is None else {"after": pages.after}), list)

        pages = Pages(_PAGE)
        while not pages.complete:
            for entry in pages.add(await (self._repeat(send, self._policy) if patient else send())):
                yield entry
            if pages.stalled and not pages.complete:
                await asyncio.sleep(_STALLED_SECONDS * 2**pages.stalled)

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
        """Delete an input file if that is possible at once: nobody waits for the account to be tidy."""
        if self._wasted_seconds >= _DELETE_SECONDS:
            return
        began = time.monotonic()
        try:
            seconds = min(self._timeout, _DELETE_SECONDS - self._wasted_seconds)
            await self._ask(self._files.delete, seconds, file_id=file)
        except _Unanswered:
            self._wasted_seconds += time.monotonic() - began

    async def _ask(
        self, method: Callable[..., Awaitable[Any]], seconds: float | None = None, **arguments: Any
    ) -> Any:
        """Call one of the SDK's methods once, within the timeout or so many seconds."""
        async with self._translated(seconds or self._timeout):
            return await method(extra_headers=self._headers, **arguments)

    @asynccontextmanager
    async def _translated(self, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except errors() as error:
            fault = (await translated(error, self._client, self._headers)).fault
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
        polls = policy is self._polling_policy
        attempts, policy = Attempts(), policy.for_one_call()
        while True:
            sent_at = time.monotonic()
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
                passing = {FaultKind.ACCESS, FaultKind.ELSEWHERE} if polls else {FaultKind.ELSEWHERE}
                refused = fault.kind in _REFUSED - (passing if self._answered else set())
                decision = policy.on_fault(fault, attempts, time.monotonic(), sent_at)
                if refused or not isinstance(decision, Retry):
                    raise self._stop(fault, decision) from None
                await self._sleep(decision.seconds, fault)
                found = None if before_again is None else await before_again()
                if found is not None:
                    return found
            else:
                self._answered = True
                for each in (self._policy, self._polling_policy):
                    each.on_success()
                return result

    def _stop(self, fault: RequestFault, decision: object) -> StopRun:
        own = Stop(fault.code, fault.message, remedy(fault, self._key))
        stop = decision if isinstance(decision, Stop) else own
        no_access = fault.kind in _NO_ACCESS and fault.status != 403  # a key may be good for other calls
        return NoAccessError(stop) if no_access else StopRun(stop)

    async def _sleep(self, seconds: float, fault: RequestFault) -> None:
        if fault.kind is FaultKind.LIMIT:
            self.traffic.limited += 1
            self.limit_wait = LimitWait.of(fault.message, seconds)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.limit_wait = None


@contextmanager
def _stops_on_full_disk() -> Iterator[None]:
    """Raise `StopRun` where a downloaded file cannot be written: that is no fault of the connection."""
    try:
        yield
    except OSError as error:
        message = f"the file of a batch cannot be kept while it is read: {error}"
        raise StopRun(Stop("disk", message, "free space, or set TMPDIR to another folder")) from error


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


def find_batch(states: Sequence[BatchState], nonce: str, file: str | None) -> BatchState | None:
    """Return the batch of a part: by its metadata, or by its input file where the server keeps no metadata."""
    for state in states:
        if state.metadata.get(PART_KEY) == nonce:
            return state
    return next(
        (
            state
            for state in states
            if file is not None and state.input_file == file and not state.metadata and state.has_results
        ),
        None,
    )


def _no_batch_api(missing: NotFoundError) -> NoAccessError:
    return NoAccessError(Stop("no_batch_api", f"this server has no batches: {missing}", "use mode='live'"))


def _read(response: Any, *others: type) -> Any:
    """Read the JSON object of a response, or a value of another type that it may have."""
    data = load_or_none(response.content)
    named = data.keys() & {"id", "data", "object"} if isinstance(data, dict) else set()
    error = data.get("error") if isinstance(data, dict) and named <= {"object"} else None
    if isinstance(data, others) or (named and not error):
        return data
    said = response.content.decode(errors="replace") if data is None else data
    fault = refused_answer_fault(error, said)
    raise _Unanswered(fault, fault.status)


def _id(data: Mapping[str, Any]) -> str:
    name = text(data.get("id"))
    if name is None:
        raise _Unanswered(unreadable_fault("the answer names no id"))
    return name


def _state(response: Any) -> BatchState:
    data = _read(response)
    return read_state(_id(data), data)


def _state_of(entry: Mapping[str, Any]) -> BatchState:
    """Read a batch of a list; one without an id cannot be looked after."""
    name = text(entry.get("id"))
    if name is None:
        raise UnreadablePagesError("a batch of the list has no id")
    return read_state(name, entry)
