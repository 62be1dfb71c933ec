"""A verb's call over a file: what is asked of its rows, and how the file is read, answered and written as a whole."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from llmframe._errors import CompletionError, CompletionWarning, JournalError, StoppedError, counted
from llmframe._files import (
    SEPARATORS,
    ChunkSize,
    Source,
    Target,
    TextStyle,
    check_encoding,
    columns_named,
    format_of,
    read_existing,
    rows_where,
)
from llmframe._options import options
from llmframe._run import is_open, last_run, leave, say
from llmframe._verbs.calls import run_or_return
from llmframe._verbs.complete import complete_frame
from llmframe._verbs.extract import extract_frame
from llmframe._verbs.questions import classify_frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from llmframe._files import FilePath, Table
    from llmframe._options import Tuning
    from llmframe._run import Run, SharedByChunks
    from llmframe._verbs.calls import FrameCall

_COMMON: dict[str, Any] = {"column": None, "prompt": None, "overwrite": False, "error_into": None}
_VERBS: dict[str, tuple[Any, dict[str, Any]]] = {
    "complete": (complete_frame, {"into": None, "raw": False, "usage": False}),
    "extract": (
        extract_frame,
        {
            "schema": None, "prefix": None, "quotes": False, "examples": None, "reask": 1, "raw": False, "usage": False,
        },
    ),
    "classify": (classify_frame, {"labels": None, "into": None}),
}  # fmt: skip


def chunk_size() -> ChunkSize:
    """Return how much of a file is read at a time."""
    tuning: Tuning = getattr(options, "_tuning")  # noqa: B009 (it is none of the user's options)
    return ChunkSize(tuning.file_chunk_rows, tuning.file_chunk_bytes)


@dataclass(frozen=True)
class FileCall:
    """What is asked of a file's rows: a verb and its arguments.

    Attributes
    ----------
    own : mapping
        The arguments that the verb's function names.
    settings : mapping
        All others.
    where : str or None
        A condition on the columns, of the rows to send.
    limit : int or None
        Of these only the first so many are sent.
    """

    verb: str
    own: Mapping[str, Any]
    settings: Mapping[str, Any]
    where: str | None = None
    limit: int | None = None

    @classmethod
    def of(
        cls, verb: str, arguments: Mapping[str, Any], *, where: str | None = None, limit: int | None = None
    ) -> FileCall:
        """Take the arguments that the verb has on a frame."""
        defaults = {**_COMMON, **_VERBS[verb][1]}
        own = {name: arguments.get(name, default) for name, default in defaults.items()}
        settings = {name: value for name, value in arguments.items() if name not in defaults}
        return cls(verb, own, settings, where, limit)

    @property
    def overwrite(self) -> Any:
        return self.own["overwrite"]

    def over(
        self,
        frame: pd.DataFrame,
        rows: npt.NDArray[np.bool_] | None,
        *,
        shared: SharedByChunks | None = None,
        **changed: Any,
    ) -> FrameCall:
        """Return the call over a frame of these rows."""
        call: FrameCall = _VERBS[self.verb][0](
            frame, {**self.settings, **changed}, where=rows, shared=shared, **self.own
        )
        return call

    def existing(self, frame: pd.DataFrame) -> pd.DataFrame | None:
        """Return the columns that the verb writes, without rows, where they may replace or fill others; nothing is sent."""
        if not self.overwrite:
            return None
        empty = frame.iloc[:0].copy()
        alone = replace(self, own={**self.own, "error_into": None, "overwrite": True})
        run_or_return(alone.over(empty, None, journal=False, mode="live", progress=False), wait=True)
        return empty[list(empty.attrs["llmframe"])]


@dataclass(frozen=True)
class Survey:
    """What is known of a file before anything is sent.

    Attributes
    ----------
    first : Table
        All of a file that is a single chunk, or can be read only once; of another one its columns without rows.
    is_whole : bool
        Whether that is all.
    rows : int
        How many it has.
    names : sequence of str
        The names of all columns.
    selected : bool array or None
        The rows that are sent; `None`: all.
    """

    first: Table
    is_whole: bool
    rows: int
    names: Sequence[str]
    selected: npt.NDArray[np.bool_] | None

    def selected_in(self, table: Table) -> npt.NDArray[np.bool_] | None:
        """Return which rows of a chunk are sent."""
        if self.selected is None:
            return None
        start = int(table.frame.index[0]) if len(table.frame) else 0
        return self.selected[start : start + len(table.frame)]


def files_of(
    source: FilePath, target: FilePath, *, sep: str | None, encoding: str | None
) -> tuple[Source, Target]:
    """Return the files of a call by their names, whose suffixes say the formats.

    Raises
    ------
    ValueError
        When one says none, or `sep` or `encoding` is for other formats.
    """
    formats = []
    for name, reading in ((source, True), (target, False)):
        found = format_of(Path(name), reading=reading)
        if found is None:
            raise ValueError(f"the suffix of {name} says no format; name it .csv, .tsv, .jsonl or .parquet")
        formats.append(found)
    if sep is not None and sep not in SEPARATORS:
        raise ValueError(f"sep: {sep!r} is no separator; write ',' ';' '|' or '\\t'")
    if encoding is not None:
        check_encoding(encoding)
    read, written = formats
    return (
        Source(os.fspath(source), read, TextStyle(sep, encoding)),
        Target(os.fspath(target), written, TextStyle(written.sep or sep)),
    )


def check_target(source: Source, target: Target, call: FileCall, *, force: bool) -> None:
    """Refuse a target that cannot be written, or that is there, unless the same call wrote it and it is as it was then."""
    target.check(force=force or target.state is None or _is_own(source, target, call))


def _is_own(source: Source, target: Target, call: FileCall) -> bool:
    if source.is_stream or os.path.realpath(source.name) == os.path.realpath(target.name):
        return False
    try:
        with closing(source.chunks(chunk_size())) as chunks:
            first = next(chunks)
        # As if nothing were there: what the call reads and writes is then known, and nothing else.
        frame_call = replace(call, own={**call.own, "overwrite": True}).over(
            first.frame.iloc[:0].copy(), None, progress=False
        )
    except (KeyError, TypeError, ValueError):  # which are said when the call is made
        return False
    return is_open(
        frame_call.settings, frame_call.recipe, _written_identity(source, target, call, frame_call)
    )


def remember(source: Source, target: Target, call: FileCall, frame_call: FrameCall) -> None:
    """Let the journal know the file that a call has written, which the same call may replace."""
    if target.state is not None and not source.is_stream:
        identity = _written_identity(source, target, call, frame_call)
        leave(frame_call.settings, frame_call.recipe, identity, is_open=True)


def _written_identity(source: Source, target: Target, call: FileCall, frame_call: FrameCall) -> bytes:
    parts = (
        os.path.realpath(source.name),
        target.state,
        frame_call.writes,
        call.overwrite,
        call.where,
        call.limit,
    )
    return blake2b(repr(parts).encode(), digest_size=16).digest()


def survey(source: Source, call: FileCall) -> Survey:
    """Read a file once, so that one that cannot be read, or a condition that cannot hold, costs nothing.

    Of a file that states its rows, and without a condition, only the beginning is read.
    """
    if source.is_stream:
        table = source.read()
        return Survey(table, True, len(table.frame), table.names, _chosen(source, call, [table]))
    size = chunk_size()
    stated = source.stated_rows() if call.where is None else None
    with closing(source.chunks(size)) as chunks:
        first = next(chunks)
        is_whole = stated == len(first.frame) if stated is not None else next(chunks, None) is None
    if is_whole:
        return Survey(first, True, len(first.frame), first.names, _chosen(source, call, [first]))
    first = _without_rows(first)
    if stated is not None:
        selected = None if call.limit is None else np.arange(stated) < call.limit
        return Survey(first, False, stated, first.names, selected)
    tested = frozenset() if call.where is None else frozenset(columns_named(call.where))
    names, rows, tables = list(first.names), 0, []
    for table in source.chunks(replace(size, only=tested)):
        names += [name for name in table.names if name not in names]
        tables.append(replace(table, rows=None))
        rows += len(table.frame)
    return Survey(first, False, rows, names, _chosen(source, call, tables))


def _without_rows(table: Table) -> Table:
    return replace(table, frame=table.frame.iloc[:0].copy(), rows=None)


def _chosen(source: Source, call: FileCall, tables: Sequence[Table]) -> npt.NDArray[np.bool_] | None:
    """Return the rows of which the condition holds, at most the first `limit` of them; `None`: all rows."""
    if call.where is None and call.limit is None:
        return None
    frame = pd.concat([table.frame for table in tables]) if len(tables) > 1 else tables[0].frame
    rows = np.ones(len(frame), dtype=bool)
    if call.where is not None:
        rows = rows_where(call.where, frame, texts=source.format.is_delimited)
    return rows if call.limit is None else rows & (np.cumsum(rows) <= call.limit)


@dataclass(frozen=True)
class Enriched:
    """A file that was written.

    Attributes
    ----------
    error : CompletionError, CompletionWarning or None
        What is to be raised, as rows failed.
    """

    run: Run
    rows: int
    error: CompletionError | CompletionWarning | None

    def concluded(self) -> Run:
        """Return the run, or raise."""
        if self.error is not None:
            raise self.error
        return self.run


def enrich_table(
    table: Table, target: Target, call: FileCall, rows: npt.NDArray[np.bool_] | None = None
) -> Enriched:
    """Answer a table's rows and write the file; when that ends early, write the finished rows beside it."""
    error: CompletionError | CompletionWarning | None = None
    columns = call.existing(table.frame)
    if columns is not None:
        read_existing(table.frame, columns)
    frame_call = call.over(table.frame, rows)
    try:
        run_or_return(frame_call, wait=True)
    except (KeyboardInterrupt, StoppedError, JournalError):
        if last_run() is frame_call.run and frame_call.run.answered:
            put_unwritten(table, columns, frame_call.run, call)
            with_answers = finished_rows(table, call)
            if target.partial is None:
                say_nothing_written(int(with_answers.sum()), target)
            else:
                write_partial(target, [changed(table).only(with_answers)])
        raise
    except (CompletionError, CompletionWarning) as failed:  # a warning under `-W error`
        error = failed
    try:
        target.write(changed(table))
    except (OSError, ValueError) as unwritable:
        raise unwritten(target, unwritable, frame_call) from error
    target.remove_partial()
    return Enriched(frame_call.run, len(table.frame), error)


def unwritten(target: Target, error: Exception, call: FrameCall) -> OSError:
    """Return the error of a file that cannot be written, although its rows are answered."""
    way_on = "the answers are in the journal: run the same call again"
    if call.settings.journal is False:
        way_on = "journal=False kept no answer"
    return OSError(f"{target.name} cannot be written: {error}; {way_on}")


def changed(table: Table) -> Table:
    """Return the table with the columns that llmframe wrote, by its records."""
    return replace(table, changed=frozenset(table.frame.attrs.get("llmframe", {})))


def put_unwritten(table: Table, columns: pd.DataFrame | None, run: Run, call: FileCall) -> None:
    """Put a run's values into the columns that the verb was to replace, which it does only when a run is complete."""
    if columns is None or call.overwrite is not True:
        return
    frame, values = table.frame, run.values  # noqa: PD011 (a run's)
    answers = [values[name] for name in values] if isinstance(values, pd.DataFrame) else [values]
    for name, cells in zip(columns, answers, strict=True):
        frame[name] = pd.Series(cells).array
    frame.attrs["llmframe"] = {**frame.attrs.get("llmframe", {}), **{name: {} for name in columns}}


def finished_rows(table: Table, call: FileCall) -> npt.NDArray[np.bool_]:
    """Return which rows have a value that the verb wrote."""
    written = [name for name in table.frame.attrs.get("llmframe", {}) if name != call.own["error_into"]]
    rows: npt.NDArray[np.bool_] = table.frame[written].notna().any(axis="columns").to_numpy(dtype=bool)
    return rows


def say_nothing_written(count: int, target: Target) -> None:
    """Say that a pipe gets all rows or none."""
    say(
        f"llmframe: {_are(count, 'row')} finished; {target.name} gets all rows or none, so nothing was written"
    )


def write_partial(target: Target, tables: Iterable[Table]) -> None:
    """Write the finished rows beside the target; why the run ended is said in any case."""
    partial, count = target.partial, 0
    if partial is None:
        return
    try:
        with partial.opened() as file:
            for table in tables:
                file.add(table)
                count += len(table.frame)
    except (OSError, ValueError) as error:
        say(f"llmframe: {partial.name} cannot be written: {error}")
    else:
        say(f"llmframe: {_are(count, 'finished row')} in {partial.name}")


def _are(count: int, noun: str) -> str:
    return f"{counted(count, noun)} {'is' if count == 1 else 'are'}"
