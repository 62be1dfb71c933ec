"""From batches to the journal: what the account has under way is found, looked at, and read when it has ended."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import islice
from typing import IO, TYPE_CHECKING, Protocol

from llmframe._api.batch_api import COLUMN, PART, RECIPE, Gone, no_batch_api
from llmframe._batch.lines import key_in, read_result
from llmframe._journal import registry
from llmframe._journal.sqlite.batch_store import Label, Part
from llmframe._pacing.retry import Halt, Stop
from llmframe._values import BatchState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from llmframe._api.batch_api import BatchApi
    from llmframe._batch.lines import Result
    from llmframe._journal.protocol import Journal, Session
    from llmframe._run.feed import Recorder
    from llmframe._values import Key

_BREATH_LINES = 500
"""So many lines are read before others on the loop have their turn."""
_FLUSH_LINES = 4_000
"""So many answers are in memory at most on their way from a result file to the journal."""
_LOOKUP_KEYS = 5_000
_SHORT_READS = 3
"""So often a result file is read that has fewer lines than the batch's counts."""


class Take(Protocol):
    """Takes what came of a request, each once."""

    def __call__(self, result: Result, part: Part) -> float | None:
        """Return what it cost in US dollars, as far as is known."""


class Harvester:
    """Finds, watches and reads batches, and keeps in the journal how they stand.

    Parameters
    ----------
    recorder
        Keeps the answers that are taken; a part is closed when all of its are in the journal.
    keep_files
        Whether input files stay in the account after the harvest.
    strict
        Whether what cannot be read stops the run; otherwise it counts as nothing.
    """

    def __init__(
        self,
        api: BatchApi,
        journal: Journal,
        session: Session,
        recorder: Recorder | None,
        *,
        keep_files: bool,
        strict: bool,
    ) -> None:
        self.api = api
        self._journal = journal
        self._parts = journal.parts
        self._session = session
        self._recorder = recorder
        self._keep_files = keep_files
        self._strict = strict

    async def open_parts(self, server: str) -> list[Part]:
        """List this server's parts that are still to be harvested."""
        parts = await registry.on_thread(self._parts.known, only_open=True)
        return [part for part in parts if part.server == server]

    async def holding(self, keys: Iterable[Key]) -> set[str]:
        """Name the open parts, by nonce, that hold some of these requests."""
        holding: set[str] = set()
        keys = iter(keys)
        while block := list(islice(keys, _LOOKUP_KEYS)):
            holding |= await registry.on_thread(self._journal.holding, block)
        return holding

    async def find(self, label: Label, digest: bytes | None, since: float) -> None:
        """Enter the account's batches of a recipe into the journal, and settle what became of intentions.

        Parameters
        ----------
        digest
            The recipe; `None` is any of ours.
        since
            Seconds since the epoch: batches from before are left alone.
        """
        known = {part.nonce: part for part in await registry.on_thread(self._parts.known)}
        found = {nonce: state for state in await self._listed() if (nonce := state.metadata.get(PART))}
        for part in known.values():
            if part.open and part.batch is None and part.server == label.server:
                await self._settle_intention(part, found.get(part.nonce))
        for nonce, state in found.items():
            ours = digest is None or state.metadata.get(RECIPE) == digest.hex()
            if nonce not in known and ours and state.created >= since and state.status != "failed":
                await self._adopt(nonce, state, await self._label(state, label, digest))

    async def _listed(self) -> list[BatchState]:
        try:
            return await self.api.listed()
        except Gone as gone:
            raise Halt(no_batch_api(gone)) from None
        except Halt as halt:
            raise _unreadable(f"the account's batches cannot be listed: {halt}", halt.stop) from None

    async def _settle_intention(self, part: Part, state: BatchState | None) -> None:
        """Take up a part that a run meant to submit which is gone: either it did, or nothing was paid."""
        if state is None:
            if not await registry.on_thread(self._parts.seize, part.nonce, self._session.owner):
                return
            # Nobody submits it from now on; that may have been done since it was read, and the batches were listed.
            now = await registry.on_thread(self._parts.get, part.nonce)
            if now.batch is None:
                states = {state.metadata.get(PART): state for state in await self._listed()}
                state = states.get(part.nonce)
                if state is None:
                    await self._forget(now)
                    return
            await registry.on_thread(self._parts.leave, part.nonce)
        if state is not None:
            await registry.on_thread(self._parts.submitted, part.nonce, state.id)

    async def _forget(self, part: Part) -> None:
        file = part.file or await self.api.find_upload(file_name(part.nonce))
        if file is not None:
            await self.api.delete(file)
        await registry.on_thread(self._parts.drop, part.nonce)

    async def settle_intention(self, part: Part) -> Part | None:
        """Find out what became of a part whose batch's id is not in the journal; `None` when it never was a batch."""
        states = {state.metadata.get(PART): state for state in await self._listed()}
        await self._settle_intention(part, states.get(part.nonce))
        return await registry.on_thread(self._parts.find, part.nonce)

    async def _adopt(self, nonce: str, state: BatchState, label: Label) -> None:
        keys = [] if state.final else await self._keys(state)
        await registry.on_thread(self._parts.adopt, nonce, label, state, keys)

    async def _label(self, state: BatchState, label: Label, digest: bytes | None) -> Label:
        if digest is not None:
            return label
        told = {"server": label.server, "model": state.model}
        recipe = await registry.on_thread(self._journal.recipe, _digest(state), told)
        return Label(recipe, label.server, state.model or "", state.metadata.get(COLUMN, ""))

    async def _keys(self, state: BatchState) -> list[Key]:
        """Read which requests an open batch holds."""
        try:
            async with self.api.content(state.input_file or "") as lines:
                return [key for key in map(key_in, lines) if key is not None]
        except (Gone, Halt) as error:
            raise _unreadable(
                f"the input file of the open batch {state.id} cannot be read: {error}"
            ) from None

    async def look(self, part: Part) -> BatchState:
        """Ask how far a part's batch is, and keep that."""
        try:
            state = await self.api.retrieve(part.batch or "")
        except Gone as gone:
            if self._strict:
                raise _unreadable(f"the batch {part.batch} cannot be found: {gone}") from None
            state = BatchState(part.batch or "", "expired")
        if (state.status, state.completed, state.failed) != (part.state, part.completed, part.failed):
            await registry.on_thread(self._parts.stands, part.nonce, state)
        return state

    async def take_in(self, part: Part, take: Take) -> bool:
        """Harvest a part if its batch has ended; false while it is open, or another run is at it."""
        state = await self.look(part)
        if not state.final or not await registry.on_thread(
            self._parts.seize, part.nonce, self._session.owner
        ):
            return False
        if state.status == "failed":
            await self.close(part)
        else:
            await self.harvest(part, state, take)
        return True

    async def cancel(self, part: Part) -> BatchState:
        """Tell a part's batch to end; the part stays open until what was finished by then is harvested."""
        state = await self.api.cancel(part.batch or "")
        await registry.on_thread(self._parts.cancelled, part.nonce)
        return state

    async def harvest(self, part: Part, state: BatchState, take: Take) -> None:
        """Read the result files of a batch that has ended, and close its part."""
        reading = _Reading(take, part, self._flush)
        await self._read(state.output_file, state.completed, reading, state)
        await self._read(state.error_file, 0, reading, state)
        await self._flush()
        await self.close(part, reading.cost if reading.told else None)

    async def _flush(self) -> None:
        if self._recorder is not None:
            await self._recorder.flush()

    async def _read(self, file: str | None, least: int, reading: _Reading, state: BatchState) -> None:
        if file is None and least and self._strict:
            raise _unreadable(f"the batch {state.id} has {least:,} answers, but names no file with them")
        if file is None:
            return
        try:
            for _ in range(_SHORT_READS):
                async with self.api.content(file) as lines:
                    if await reading.read(lines) >= least:
                        return
        except (Gone, Halt) as error:
            if self._strict or not isinstance(error, Gone):
                raise _unreadable(
                    f"the result file {file} of the batch {state.id} cannot be read: {error}"
                ) from None
        if reading.broken:
            raise _unreadable(f"the result file {file} of the batch {state.id} is not whole")

    async def close(self, part: Part, cost: float | None = None) -> None:
        """Let go of a part, and of its input file."""
        await registry.on_thread(self._parts.close, part.nonce, cost)
        if part.file is not None and not self._keep_files:
            await self.api.delete(part.file)

    async def drop(self, part: Part) -> None:
        """Forget a part that did not become a batch, and its input file."""
        await registry.on_thread(self._parts.drop, part.nonce)
        if part.file is not None:
            await self.api.delete(part.file)


class _Reading:
    """Reads one batch's result files; of a request that is told of twice, the first counts."""

    def __init__(self, take: Take, part: Part, flush: Callable[[], Awaitable[None]]) -> None:
        self.told: set[Key] = set()
        self.cost: float | None = 0.0
        self.broken = False
        """Whether the last file that was read was not whole."""
        self._give = take
        self._flush = flush
        self._part = part

    async def read(self, lines: IO[bytes]) -> int:
        """Take a file's results; return how many lines it has, or -1 for one that is not whole."""
        count = 0
        self.broken = False
        for count, line in enumerate(filter(bytes.strip, lines), 1):
            try:
                self._take(read_result(line))
            except ValueError:
                self.broken = True
                return -1
            if not count % _FLUSH_LINES:
                await self._flush()
            elif not count % _BREATH_LINES:
                await asyncio.sleep(0)
        return count

    def _take(self, result: Result | None) -> None:
        if result is None or result.key in self.told:
            return
        self.told.add(result.key)
        cost = self._give(result, self._part)
        if result.answer is not None:
            self.cost = None if cost is None or self.cost is None else self.cost + cost


def _digest(state: BatchState) -> bytes:
    with suppress(ValueError):
        return bytes.fromhex(state.metadata.get(RECIPE, ""))
    return b""


def file_name(nonce: str) -> str:
    """Name a part's input file."""
    return f"llmframe-{nonce}.jsonl"


def _unreadable(message: str, stop: Stop | None = None) -> Halt:
    if stop is not None and stop.code in {"unreachable", "invalid_api_key", "http_401", "insufficient_quota"}:
        return Halt(stop)
    return Halt(
        Stop(
            "batches_unreadable",
            f"{message}; what it holds may be paid already, so nothing is submitted",
            "mend that and run the call again, or set llmframe.options.reattach = False to submit without looking",
        )
    )
