"""From batches to the journal: the account's batches are found, polled, and read when they have ended."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import suppress
from dataclasses import replace
from itertools import count, islice
from typing import TYPE_CHECKING, Any

from llmframe._api import (
    COLUMN_KEY,
    PART_KEY,
    RECIPE_KEY,
    NoAccessError,
    NotFoundError,
    find_batch,
)
from llmframe._batch.lines import read_key
from llmframe._batch.result_files import ResultReader
from llmframe._errors import counted
from llmframe._journal import BatchPart, PartLabel
from llmframe._pacing import StopRun
from llmframe._values import BatchState, Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from llmframe._api import BatchApi
    from llmframe._batch.result_files import AddResult
    from llmframe._journal import Journal, Recorder, Session
    from llmframe._options import Tuning
    from llmframe._values import Endpoint, Key

UNREADABLE = "batches_unreadable"
"""The code of a `Stop` for a list, batch or file that may hold paid answers, and cannot be read."""

_FILE_NAME = re.compile(r"llmframe-([0-9a-f]*)-([0-9a-f]{32})\.jsonl")
_LOOKUP_KEYS = 5_000
_POLL_GROWTH = 1.5


class Collector:
    """Finds, polls and reads batches, and writes their states to the journal.

    Parameters
    ----------
    recorder
        Writes the collected answers; a part is closed when all of its answers are in the journal.
    keep_files
        Whether input files stay in the account after the collection.
    strict
        Whether an unreadable file or batch stops the run; otherwise it counts as empty.
    is_good
        Whether a body has an answer for the verb: of several bodies for one request, such a one counts.
    """

    def __init__(
        self,
        api: BatchApi,
        endpoint: Endpoint,
        journal: Journal,
        session: Session,
        recorder: Recorder | None,
        *,
        keep_files: bool,
        strict: bool,
        is_good: Callable[[Mapping[str, Any]], bool],
        tuning: Tuning,
    ) -> None:
        self.api = api
        self._endpoint = endpoint
        self._journal = journal
        self._store = journal.batches
        self._session = session
        self._recorder = recorder
        self._keep_files = keep_files
        self._strict = strict
        self._is_good = is_good
        self._tuning = tuning

    async def open_parts(self, server: str) -> list[BatchPart]:
        """List this server's parts that are not yet collected."""
        return [part for part in await self._store.list_parts(only_open=True) if part.server == server]

    async def parts_with(self, keys: Iterable[Key]) -> set[str]:
        """Return the nonces of the open parts that hold some of these requests."""
        holding: set[str] = set()
        keys = iter(keys)
        while block := list(islice(keys, _LOOKUP_KEYS)):
            holding |= await self._store.parts_with(block)
        return holding

    async def find_batches(self, label: PartLabel, digest: bytes | None, since: float) -> None:
        """Add the account's batches of a recipe to the journal, and resolve the parts whose batch is unknown.

        Parameters
        ----------
        digest
            The recipe; `None` means any recipe of llmframe.
        since
            Seconds since the epoch; earlier batches are ignored.
        """
        known = {part.nonce: part for part in await self._store.list_parts()}
        listed = await self._listed()
        for part in known.values():
            if part.open and part.batch is None and part.server == label.server:
                await self._resolve(part, listed)
        known = {part.nonce: part for part in await self._store.list_parts()}
        states = await self._with_metadata(listed, {part.batch for part in known.values()})
        found = {nonce: state for state in states if (nonce := state.metadata.get(PART_KEY))}
        for nonce, state in found.items():
            wanted = digest is None or state.metadata.get(RECIPE_KEY) == digest.hex()
            readable = state.endpoint is None or state.endpoint.endswith(self._endpoint.route)
            if nonce not in known and wanted and readable and state.created >= since and state.has_results:
                await self._adopt(nonce, state, await self._label(state, label, digest))

    async def _listed(self) -> list[BatchState]:
        try:
            return await self.api.listed()
        except NoAccessError:
            raise
        except StopRun as stopped:
            raise _unreadable(f"the account's batches cannot be read: {stopped}") from None

    async def _with_metadata(
        self, states: Sequence[BatchState], known: AbstractSet[str | None]
    ) -> Sequence[BatchState]:
        """Read the metadata of unknown batches from the names of their input files, if the server keeps none."""
        nameless = [state for state in states if state.id not in known and state.has_results]
        if not nameless or any(state.metadata for state in states):
            return states
        try:
            names = await self.api.uploads()
        except (NotFoundError, StopRun) as error:
            message = f"the batches have no metadata, and the account's files cannot be read: {error}"
            raise _unreadable(message) from None
        return [replace(state, metadata=_metadata(names.get(state.input_file or "", ""))) for state in states]

    async def resolve_intent(self, part: BatchPart) -> BatchPart | None:
        """Look for the batch of a part whose batch's id is unknown; `None` when there is none."""
        await self._resolve(part, await self._listed())
        return await self._store.find_part(part.nonce)

    async def _resolve(self, part: BatchPart, states: Sequence[BatchState]) -> None:
        """Resolve a part of a run that no longer exists: either its batch is listed, or nothing was paid."""
        state = find_batch(states, part.nonce, part.file)
        if state is None:
            if not await self._store.acquire_part(part.nonce, self._session.owner):
                return
            # No run submits it from now on, but one may have done so after the batches were listed.
            current = await self._store.find_part(part.nonce)
            if current is None:
                return
            if current.batch is None:
                state = find_batch(await self._listed(), part.nonce, current.file)
                if state is None:
                    await self._delete_intent(current)
                    return
            await self._store.release_part(part.nonce)
        if state is not None:
            await self._store.set_batch(part.nonce, state.id)

    async def _delete_intent(self, part: BatchPart) -> None:
        file = part.file or await self.api.find_upload(file_name(part.nonce))
        if file is not None:
            await self.api.delete(file)
        await self._store.delete_part(part.nonce)

    async def _adopt(self, nonce: str, state: BatchState, label: PartLabel) -> None:
        keys: list[Key] = []
        if not state.final:
            keys = await self._keys(nonce, state)
        elif not state.counted:  # only the input file tells how many results there should be
            with suppress(StopRun):
                keys = await self._keys(nonce, state)
        created = state.created or time.time()
        await self._store.adopt(nonce, label, replace(state, created=created), keys)

    async def _label(self, state: BatchState, label: PartLabel, digest: bytes | None) -> PartLabel:
        if digest is not None:
            return label
        description = {"server": label.server, "model": state.model}
        recipe = await self._journal.add_recipe(_digest(state), description)
        return PartLabel(recipe, label.server, state.model or "", state.metadata.get(COLUMN_KEY, ""))

    async def _keys(self, nonce: str, state: BatchState) -> list[Key]:
        """Read the requests of a batch from its input file."""
        file = state.input_file or await self.api.find_upload(file_name(nonce))
        if file is None:
            raise _unreadable(f"the open batch {state.id} names no input file")
        try:
            async with self.api.content(file) as lines:
                return [key for key in map(read_key, lines) if key is not None]
        except (NotFoundError, StopRun) as error:
            raise _unreadable(f"the input file of the batch {state.id} cannot be read: {error}") from None

    async def read_state(self, part: BatchPart) -> BatchState:
        """Retrieve the state of a part's batch, and write it to the journal."""
        try:
            state = await self.api.retrieve(part.batch or "")
        except NotFoundError as missing:
            if self._strict:
                raise _unreadable(f"the batch {part.batch} cannot be found: {missing}") from None
            state = BatchState(part.batch or "", "expired")
        if (state.status, state.completed, state.failed) != (part.state, part.completed, part.failed):
            await self._store.set_state(part.nonce, state)
        return state

    async def collect_if_ended(self, part: BatchPart, add_result: AddResult) -> bool:
        """Collect a part if its batch has ended; false while it is open, or another run collects it."""
        state = await self.read_state(part)
        if not state.final or not await self._store.acquire_part(part.nonce, self._session.owner):
            return False
        if state.has_results:
            await self.collect(part, state, add_result)
        else:
            await self.close_part(part)
        return True

    async def cancel(self, part: BatchPart) -> BatchState:
        """Cancel a part's batch; the part stays open until its finished answers are collected."""
        state = await self.api.cancel(part.batch or "")
        await self._store.mark_cancelled(part.nonce)
        return state

    async def collect(self, part: BatchPart, state: BatchState, add_result: AddResult) -> None:
        """Read the result files of a batch that has ended, and close its part.

        A file may be named, or be whole, some time after the batch has ended: then it is looked for again, with
        growing pauses.
        """
        reader = ResultReader(add_result, part, self._endpoint, self._flush, self._is_good)
        pauses = growing_pauses(self._tuning)
        for looks in count(1):
            for file in filter(None, (state.output_file, state.error_file)):
                await self._read(file, reader, state)
            if not reader.should_look_again(state, looks):
                break
            await asyncio.sleep(next(pauses))
            state = await self.read_state(part)
        self._check(reader, state)
        reader.finish()
        await self._flush()
        await self.close_part(part, reader.cost if reader.keys else None)

    async def _flush(self) -> None:
        if self._recorder is not None:
            await self._recorder.flush()

    async def _read(self, file: str, reader: ResultReader, state: BatchState) -> None:
        try:
            async with self.api.content(file) as lines:
                await reader.read(file, lines)
        except (NotFoundError, StopRun) as error:
            if self._strict or not isinstance(error, NotFoundError):
                raise _unreadable(
                    f"the result file {file} of the batch {state.id} cannot be read: {error}"
                ) from None

    def _check(self, reader: ResultReader, state: BatchState) -> None:
        """Refuse a batch whose answers exist, but did not come."""
        if self._strict and reader.is_cut_off(state):
            raise _unreadable(f"a result file of the batch {state.id} is not whole")
        paid = state.completed or state.status == "completed"
        if self._strict and paid and reader.lacks_answers(state) and not reader.tells_of_all:
            answers = f"has {counted(state.completed, 'answer')}" if state.completed else "has ended"
            raise _unreadable(f"the batch {state.id} {answers}, but names no file with them")

    async def close_part(self, part: BatchPart, cost: float | None = None) -> None:
        """Mark a part as collected, and delete its input file."""
        await self._store.close_part(part.nonce, cost)
        if part.file is not None and not self._keep_files:
            await self.api.delete(part.file)

    async def delete_part(self, part: BatchPart) -> None:
        """Delete a part without a batch, and its input file."""
        await self._store.delete_part(part.nonce)
        if part.file is not None:
            await self.api.delete(part.file)


def growing_pauses(tuning: Tuning) -> Iterator[float]:
    """Yield the seconds of the pauses between looks at a batch."""
    seconds = tuning.first_poll_seconds
    while True:
        yield seconds
        seconds = min(tuning.longest_poll_seconds, seconds * _POLL_GROWTH)


def _digest(state: BatchState) -> bytes:
    with suppress(ValueError):
        return bytes.fromhex(state.metadata.get(RECIPE_KEY, ""))
    return b""


def file_name(nonce: str, digest: bytes | None = None) -> str:
    """Return the name of a part's input file, or its end where the recipe is unknown."""
    name = f"-{nonce}.jsonl"
    return name if digest is None else f"llmframe-{digest.hex()}{name}"


def _metadata(name: str) -> Mapping[str, str]:
    """Return what the name of an input file tells of its batch; nothing where llmframe did not write it."""
    found = _FILE_NAME.fullmatch(name)
    return {} if found is None else {RECIPE_KEY: found[1], PART_KEY: found[2]}


def _unreadable(message: str) -> StopRun:
    return StopRun(
        Stop(
            UNREADABLE,
            f"{message}; what it holds may be paid already, so nothing is submitted",
            "mend that and run the call again, or set llmframe.options.reattach = False to submit without looking",
        )
    )
