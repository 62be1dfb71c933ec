"""The results of one batch: its files are read, possibly several times, until nothing more comes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Protocol

from llmframe._batch.lines import UnreadableLineError, read_broken, read_result

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from llmframe._batch.lines import BatchResult
    from llmframe._journal import BatchPart
    from llmframe._values import BatchState, Endpoint, Key

_LINES_PER_TURN = 500
"""After this many lines, other tasks of the loop may run."""
_FLUSH_LINES = 4_000
"""At most this many answers of a result file are in memory before they are written to the journal."""
_BROKEN_READS = 3
"""A result file with a broken line is read at most this many times."""
_MOST_LOOKS = 10
"""After this many looks at an ended batch, for about two minutes, nothing more comes."""


class AddResult(Protocol):
    """Receives the result of each request once."""

    def __call__(self, result: BatchResult, part: BatchPart) -> float | None:
        """Return the cost of the answer in US dollars, if known."""


@dataclass(slots=True)
class _FileRead:
    """A result file as it was last read."""

    lines: int = 0
    results: int = 0
    """Lines that tell which request they are about."""
    broken: int = 0
    torn: bool = False
    """Whether the last line is cut off."""


class ResultReader:
    """Reads one batch's result files; of several results for one request, a good answer counts.

    Answers are added as they are read. Faults, and answers that are not good ones, are held until all files have been
    read.
    """

    def __init__(
        self,
        add_result: AddResult,
        part: BatchPart,
        endpoint: Endpoint,
        flush: Callable[[], Awaitable[None]],
        is_good: Callable[[Mapping[str, Any]], bool],
    ) -> None:
        self.keys: set[Key] = set()
        """The requests whose result was added."""
        self.cost: float | None = 0.0
        self._held: dict[Key, BatchResult] = {}
        self._files: dict[str, _FileRead] = {}
        self._add_result = add_result
        self._endpoint = endpoint
        self._flush = flush
        self._part = part
        self._is_good = is_good

    def should_look_again(self, state: BatchState, looks: int) -> bool:
        """Return whether something is missing that may come, after so many looks."""
        if self.is_cut_off(state) or self.lacks_answers(state) or self._short(state):
            return looks < _MOST_LOOKS
        return looks < _BROKEN_READS and any(read.broken for read in self._files.values())

    def is_cut_off(self, state: BatchState) -> bool:
        """Return whether the end of a file is missing, or all of it."""
        incomplete = self._short(state) or not self._expected(state)
        return any(
            (read.torn and incomplete)
            or (not read.results and (read.lines or (file == state.output_file and state.completed)))
            for file, read in self._files.items()
        )

    def lacks_answers(self, state: BatchState) -> bool:
        """Return whether there should be an output file that the batch does not name."""
        if state.output_file is not None:
            return False
        counted = state.counted and (state.status != "completed" or state.completed + state.failed > 0)
        return state.completed > 0 or (not counted and self._found < (self._part.requests or 1))

    @property
    def tells_of_all(self) -> bool:
        """Whether there is a result, or a reason, for each request of the part."""
        return 0 < self._part.requests <= len(self.keys | self._held.keys())

    def _short(self, state: BatchState) -> bool:
        return self._found < self._expected(state)

    def _expected(self, state: BatchState) -> int:
        """Return of how many requests the files should tell; 0 where that is unknown."""
        if state.status != "completed":
            return state.completed
        counts = (state.completed + state.failed, self._part.requests)
        return min(filter(None, counts), default=0)

    @property
    def _found(self) -> int:
        others = sum(read.lines - read.results for read in self._files.values())
        return len(self.keys | self._held.keys()) + others

    async def read(self, file: str, lines: IO[bytes]) -> None:
        """Read a file's results; a line that cannot be read costs its own row alone."""
        read = self._files[file] = _FileRead()
        for line in filter(bytes.strip, lines):
            read.lines += 1
            try:
                result = read_result(line, self._endpoint)
            except UnreadableLineError:
                read.broken += 1
                read.torn = not line.endswith(b"\n")
                result = read_broken(line)
            if result is not None:
                read.results += 1
                self._add(result)
            if not read.lines % _FLUSH_LINES:
                await self._flush()
            elif not read.lines % _LINES_PER_TURN:
                await asyncio.sleep(0)

    def _add(self, result: BatchResult) -> None:
        if result.key in self.keys:
            return
        if result.body is not None and self._is_good(result.body):
            self._emit(result)
        elif result.key not in self._held or (result.body and not self._held[result.key].body):
            self._held[result.key] = result

    def finish(self) -> None:
        """Add the results of the requests without a good answer."""
        for result in self._held.values():
            self._emit(result)
        self._held.clear()

    def _emit(self, result: BatchResult) -> None:
        if result.key in self.keys:
            return
        self.keys.add(result.key)
        cost = self._add_result(result, self._part)
        if result.answer is not None:
            self.cost = None if cost is None or self.cost is None else self.cost + cost
