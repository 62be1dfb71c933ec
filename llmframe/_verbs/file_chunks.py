"""A verb's call over a large file: some chunks are under way at once, and are written in order."""

from __future__ import annotations

import os
import tempfile
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import chain
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pandas as pd

from llmframe._errors import CompletionError, CompletionWarning, JournalError, StoppedError
from llmframe._files import read_existing
from llmframe._loop import UNWIND_SECONDS, ShortTraceback, refuse_on_private_loop, uninterrupted
from llmframe._run import (
    FileRun,
    SharedByChunks,
    ended_early,
    set_last_run,
    start,
    stop_run,
    wait_for_one,
    written,
)
from llmframe._verbs.calls import run_or_return
from llmframe._verbs.files import (
    Enriched,
    FileCall,
    changed,
    check_target,
    chunk_size,
    enrich_table,
    files_of,
    finished_rows,
    put_unwritten,
    remember,
    say_nothing_written,
    survey,
    unwritten,
    write_partial,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy.typing as npt

    from llmframe._files import FilePath, PartWriter, Source, Table, Target
    from llmframe._loop import Interrupts
    from llmframe._run import Run
    from llmframe._verbs.calls import FrameCall
    from llmframe._verbs.files import Survey

_UNDER_WAY = 3
"""Chunks in memory: while one is written, the others' requests are in flight."""
_ABANDONED = 2
"""Ctrl-C, pressed so often, does not wait for what is in flight."""


def enrich(source: Source, target: Target, call: FileCall, found: Survey) -> Enriched:
    """Answer a file's rows and write the target: a small file at once, a larger one chunk by chunk."""
    table = found.first.with_names(found.names)
    empty = table.frame.iloc[:0].copy()
    if found.is_whole:
        enriched = enrich_table(found.first, target, call, found.selected)
        probe = replace(call, own={**call.own, "overwrite": True}).over(empty, None, progress=False)
    else:
        columns = call.existing(table.frame)
        probe = call.over(empty, None)
        kind = _Gathered if probe.settings.mode == "batch" else _Stream
        enriched = kind(source, target, call, found, probe, columns).enrich()
    remember(source, target, call, probe)
    return enriched


def enrich_file(
    verb: str,
    source: FilePath,
    target: FilePath,
    arguments: Mapping[str, Any],
    *,
    where: str | None,
    limit: int | None,
    force: bool,
    sep: str | None,
    encoding: str | None,
) -> Run:
    """Answer a file's rows and write the target, and return the run, or raise as it ended."""
    read, written = files_of(source, target, sep=sep, encoding=encoding)
    call = FileCall.of(verb, arguments, where=where, limit=limit)
    check_target(read, written, call, force=force)
    found = survey(read, call)
    kept = found.first.sep if read.format is written.format else None
    return enrich(read, written.separated_as(kept), call, found).concluded()


class _Chunked:
    """A call over a file that is read and written chunk by chunk."""

    def __init__(  # noqa: PLR0917 (what a call over a file consists of)
        self,
        source: Source,
        target: Target,
        call: FileCall,
        found: Survey,
        probe: FrameCall,
        columns: pd.DataFrame | None,
    ) -> None:
        self._source = source
        self._target = target
        self._call = call
        self._found = found
        self._probe = probe
        self._columns = columns

    def _chunks(self) -> Iterator[Table]:
        for table in self._source.chunks(chunk_size()):
            named = table.with_names(self._found.names)
            if self._columns is not None:
                read_existing(named.frame, self._columns)
            yield named


class _Gathered(_Chunked):
    """A call whose requests are gathered over all chunks, as batches are best full: the columns that it reads are in memory."""

    def enrich(self) -> Enriched:
        thin, error = self._thin(), None
        frame_call = self._call.over(thin, self._found.selected)
        try:
            run_or_return(frame_call, wait=True)
        except (KeyboardInterrupt, StoppedError, JournalError):
            whole = replace(self._found.first, frame=thin)
            put_unwritten(whole, self._columns, frame_call.run, self._call)
            if frame_call.run.answered:
                self._keep_finished(thin, finished_rows(whole, self._call))
            raise
        except (CompletionError, CompletionWarning) as failed:
            error = failed
        try:
            with self._target.opened() as file:
                for table in self._filled(thin):
                    file.add(table)
        except (OSError, ValueError) as unwritable:
            raise unwritten(self._target, unwritable, frame_call) from error
        self._target.remove_partial()
        return Enriched(frame_call.run, self._found.rows, error)

    def _thin(self) -> pd.DataFrame:
        """Read the columns that are needed, of the whole file."""
        needed = {*self._probe.reads, *self._probe.writes}
        chunks = [table.frame[[name for name in table.frame if name in needed]] for table in self._chunks()]
        thin: pd.DataFrame = pd.concat(chunks)
        return thin

    def _filled(self, thin: pd.DataFrame) -> Iterator[Table]:
        """Yield the chunks with their parts of the columns that were written."""
        written = list(thin.attrs.get("llmframe", {}))
        start = 0
        for table in self._chunks():
            part = thin.iloc[start : start + len(table.frame)]
            for name in written:
                table.frame[name] = part[name].array
            start += len(table.frame)
            yield replace(table, changed=frozenset(written))

    def _keep_finished(self, thin: pd.DataFrame, finished: npt.NDArray[np.bool_]) -> None:
        if self._target.partial is None:
            say_nothing_written(int(finished.sum()), self._target)
            return
        write_partial(self._target, _only(self._filled(thin), finished))


def _only(tables: Iterable[Table], rows: npt.NDArray[np.bool_]) -> Iterator[Table]:
    """Yield what these rows of a file are of each table."""
    start = 0
    for table in tables:
        yield table.only(rows[start : start + len(table.frame)])
        start += len(table.frame)


@dataclass(frozen=True)
class _Chunk:
    """A chunk that is under way."""

    table: Table
    run: Run

    @property
    def start(self) -> int:
        return int(self.table.frame.index[0]) if len(self.table.frame) else 0


class _StoppedEarlyError(Exception):
    """A chunk ended early, and with it the call."""


class _Stream(_Chunked):
    """A call of which some chunks are under way at once; each is a run, and they share what one run would have alone."""

    def __init__(self, *call: Any) -> None:
        super().__init__(*call)
        self._shared = SharedByChunks(_identity(self._source, self._target))
        selected = self._found.selected
        rows = self._found.rows if selected is None else int(selected.sum())
        self._file_run = FileRun(self._probe.settings, self._shared, self._probe.title, rows)
        self._changes: dict[str, Any] = {"progress": False}
        self._under_way: deque[_Chunk] = deque()
        self._finished: list[npt.NDArray[np.bool_]] = []
        """For each written chunk, which rows have a value."""
        self._is_answered = False

    @ShortTraceback()
    def enrich(self) -> Enriched:
        refuse_on_private_loop()
        with ExitStack() as stack:
            if self._probe.settings.journal is False:  # duplicates in other chunks are paid once nevertheless
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="llmframe-"))
                self._changes["journal"] = str(Path(folder) / "journal.sqlite")
            interrupts = stack.enter_context(uninterrupted())
            try:
                with self._file_run.bar():
                    self._write(interrupts)
            except _StoppedEarlyError:
                return self._raise_early(interrupts)
            self._file_run.finish()
        return self._complete()

    def _write(self, interrupts: Interrupts) -> None:
        try:
            with self._target.opened() as file:
                self._answer_or_stop(file, interrupts)
        except (OSError, ValueError) as error:
            if not self._is_answered:
                raise
            raise unwritten(self._target, error, self._probe) from None

    def _answer_or_stop(self, file: PartWriter, interrupts: Interrupts) -> None:
        try:
            for table in self._chunks():
                self._begin(table)
                while len(self._under_way) >= _UNDER_WAY:
                    self._finish_oldest(file, interrupts)
            while self._under_way:
                self._finish_oldest(file, interrupts)
        except BaseException as error:
            self._stop_all(interrupts)
            if isinstance(error, _StoppedEarlyError):
                self._keep_finished(file, interrupts)
            raise
        self._is_answered = True

    def _begin(self, table: Table) -> None:
        rows = self._found.selected_in(table)
        run = self._call.over(table.frame, rows, shared=self._shared, **self._changes).run
        self._file_run.begin(run)
        start(run, background=True)
        self._under_way.append(_Chunk(table, run))

    def _finish_oldest(self, file: PartWriter, interrupts: Interrupts) -> None:
        """Wait for the oldest chunk and write it, unless one of the others, or the user, ends the call."""
        oldest = self._under_way[0]
        with interrupts.cancelling(self._cancel):
            while not (oldest.run.done() or self._ends_early):
                wait_for_one([chunk.run for chunk in self._under_way])
        if interrupts.pressed or self._ends_early:
            raise _StoppedEarlyError
        written(oldest.run, None, interrupts)
        self._is_answered = True  # what fails now is the writing
        file.add(changed(oldest.table))
        self._is_answered = False
        self._finished.append(finished_rows(oldest.table, self._call))
        self._file_run.end(oldest.run, oldest.start)
        self._under_way.popleft()

    @property
    def _ends_early(self) -> bool:
        return any(map(ended_early, (chunk.run for chunk in self._under_way)))

    def _cancel(self) -> None:
        for chunk in list(self._under_way):
            chunk.run.cancel()

    def _stop_all(self, interrupts: Interrupts) -> None:
        """Let all runs end: what is in flight is awaited, because it is paid, unless the user cancels it."""
        runs = [chunk.run for chunk in self._under_way]
        for run in runs:
            stop_run(run)
        with interrupts.cancelling(self._cancel):
            deadline = inf
            while (
                interrupts.pressed < _ABANDONED
                and time.monotonic() < deadline
                and not all(run.done() for run in runs)
            ):
                wait_for_one(runs)
                if interrupts.pressed:
                    deadline = min(deadline, time.monotonic() + UNWIND_SECONDS)

    def _keep_finished(self, file: PartWriter, interrupts: Interrupts) -> None:
        """Write the finished rows beside the target: those of written chunks, and of chunks that were under way."""
        tables: list[Iterable[Table]] = []
        count = 0
        if self._finished:
            rows = np.concatenate(self._finished)
            tables.append(_only(file.written(chunk_size()), rows))
            count += int(rows.sum())
        for chunk in self._under_way:
            written(chunk.run, None, interrupts)
            if chunk.run.answered:
                put_unwritten(chunk.table, self._columns, chunk.run, self._call)
                finished = finished_rows(chunk.table, self._call)
                tables.append([changed(chunk.table).only(finished)])
                count += int(finished.sum())
        if not count:
            return
        if self._target.partial is None:
            say_nothing_written(count, self._target)
        else:
            write_partial(self._target, chain.from_iterable(tables))

    def _raise_early(self, interrupts: Interrupts) -> NoReturn:
        """Tell how the call ended early, and raise."""
        status, error = self._file_run.stopped([chunk.run for chunk in self._under_way])
        for chunk in self._under_way:
            self._file_run.end(chunk.run, chunk.start)
        run = self._file_run.told("interrupted" if interrupts.pressed else status)
        set_last_run(run)
        self._file_run.say_ending(run)
        if interrupts.pressed:
            raise KeyboardInterrupt
        raise error or self._file_run.error_of_stop(run)

    def _complete(self) -> Enriched:
        run = self._file_run.told("done")
        set_last_run(run)
        self._file_run.say_ending(run)
        self._target.remove_partial()
        try:
            self._file_run.raise_or_warn(run)
        except (CompletionError, CompletionWarning) as error:
            return Enriched(run, self._found.rows, error)
        return Enriched(run, self._found.rows, None)


def _identity(source: Source, target: Target) -> bytes:
    """Identify a call over a file, as it is now."""
    path, state = os.path.realpath(source.name), Path(source.name).stat()
    parts = (path, state.st_size, state.st_mtime_ns, os.path.realpath(target.name))
    return blake2b(repr(parts).encode(), digest_size=16).digest()
