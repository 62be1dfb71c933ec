"""What `complete`, `extract` and `classify` have in common: a file is read, its rows are answered, and a file is written."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import llmframe
from llmframe.cli.output import DONE, INTERRUPTED, ROWS_FAILED, UNUSABLE, note, own_words, print_error, tell
from llmframe.cli.places import STREAM, Target, places
from llmframe.cli.typed_cells import read_existing
from llmframe._files.where import rows_where

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    import numpy.typing as npt

    from llmframe._files import Table

SETTINGS = (
    "model", "system", "mode", "errors", "max_cost", "max_concurrency", "requests_per_minute", "tokens_per_minute", "max_retries",
    "timeout", "base_url", "journal", "fresh", "retry_failed", "version",
)  # fmt: skip
"""Options that are arguments of every verb under the same name."""


def enrich_file(parsed: argparse.Namespace, verb: str, own: Mapping[str, Any]) -> int:
    """Read IN, answer its rows and write OUT; `own` are the arguments that not every verb has."""
    source, target = places(
        parsed.source, parsed.target, given=parsed.format, sep=parsed.sep, encoding=parsed.encoding
    )
    target.check(force=parsed.force)
    table = source.read()
    for name, labels in table.duplicates().items():
        note(
            f"{parsed.source}: several columns are named {name!r}; for --column and --prompt they are {labels!r}"
        )
    settings = {name: getattr(parsed, name) for name in SETTINGS}
    return enrich(
        table,
        target.separated_as(table.sep if source.format is target.format else None),
        verb,
        column=parsed.column,
        prompt=parsed.prompt,
        where=_rows_to_send(table.frame, parsed.where, parsed.limit, texts=source.format.is_delimited),
        error_into=parsed.error_into,
        overwrite={None: False, "all": True}.get(parsed.overwrite, parsed.overwrite),
        progress=not parsed.quiet,
        **{name: value for name, value in {**settings, **own}.items() if value is not None},
        **dict(parsed.param),
    )


def _rows_to_send(
    frame: pd.DataFrame, condition: str | None, limit: int | None, *, texts: bool
) -> npt.NDArray[np.bool_] | None:
    """Return the rows of which the condition holds, at most the first `limit` of them; `None`: all rows."""
    if condition is None and limit is None:
        return None
    rows = np.ones(len(frame), dtype=bool) if condition is None else rows_where(condition, frame, texts=texts)
    return rows if limit is None else rows & (np.cumsum(rows) <= limit)


def enrich(table: Table, target: Target, verb: str, *, progress: bool = True, **arguments: Any) -> int:
    """Answer the rows and write the file; when that ends early, write the finished rows beside it."""
    code, frame = DONE, table.frame
    columns = _columns_of(verb, frame, arguments) if arguments.get("overwrite") else None
    if columns is not None:
        read_existing(frame, columns)
    before = llmframe.last_run()
    try:
        with own_words():
            getattr(frame.llm, verb)(progress=progress, **arguments)
    except (KeyboardInterrupt, llmframe.StoppedError, llmframe.JournalError) as error:
        run = llmframe.last_run()
        if run is None or run is before:
            raise
        if run.answered:
            if columns is not None and arguments["overwrite"] is True:
                _put_values(frame, columns, run.values)
            _keep_finished_rows(table, target, error_into=arguments.get("error_into"))
        if isinstance(error, KeyboardInterrupt):
            return INTERRUPTED  # the run has said so, and how to continue
        raise
    except (llmframe.CompletionError, llmframe.CompletionWarning) as error:  # a warning under `-W error`
        code = print_error(str(error), ROWS_FAILED)
    if not progress:
        note(_counts())
    return _write(table, target, code, kept=arguments.get("journal") is not False)


def _write(table: Table, target: Target, code: int, *, kept: bool) -> int:
    try:
        target.write(_changed(table))
    except (OSError, ValueError) as error:
        way_on = "the answers are in the journal: run the same command again"
        if not kept:
            way_on = "--no-journal kept no answer"
        return print_error(f"{target.name} cannot be written: {error}; {way_on}", UNUSABLE)
    target.remove_partial()
    if target.partial is None:  # which may be stdout, by a name or as `-`
        note(f"{_rows(len(table.frame))} written to {'stdout' if target.name == STREAM else target.name}")
    else:
        tell(f"{_rows(len(table.frame))} in {target.name}")
    return code


def _rows(count: int, kind: str = "") -> str:
    return f"{count:,} {kind}{'row is' if count == 1 else 'rows are'}"


def _changed(table: Table) -> Table:
    """Return the table with the columns that llmframe wrote, by its records."""
    return replace(table, changed=frozenset(table.frame.attrs.get("llmframe", {})))


def _columns_of(verb: str, frame: pd.DataFrame, arguments: Mapping[str, Any]) -> pd.DataFrame:
    """Return the columns that a verb writes, without rows, for which nothing is sent."""
    empty = frame.iloc[:0].copy()
    alone = {"where": None, "error_into": None, "overwrite": True, "journal": False, "mode": "live"}
    getattr(empty.llm, verb)(progress=False, **{**arguments, **alone})
    return empty[list(empty.attrs["llmframe"])]


def _put_values(frame: pd.DataFrame, columns: pd.DataFrame, values: Any) -> None:
    """Put a run's values into the columns that the verb was to replace, which it does only when a run is complete."""
    answers = [values[name] for name in values] if isinstance(values, pd.DataFrame) else [values]
    for name, cells in zip(columns, answers, strict=True):
        frame[name] = pd.Series(cells).array
    frame.attrs["llmframe"] = {**frame.attrs.get("llmframe", {}), **{name: {} for name in columns}}


def _keep_finished_rows(table: Table, target: Target, *, error_into: str | None) -> None:
    written = [name for name in table.frame.attrs.get("llmframe", {}) if name != error_into]
    finished = table.frame[written].notna().any(axis="columns").to_numpy()
    count = int(finished.sum())
    if target.partial is None:
        note(f"{_rows(count)} finished; {target.name} gets all rows or none, so nothing was written")
        return
    try:
        target.partial.write(_changed(table).only(finished))
    except (OSError, ValueError) as error:  # why the run ended is said in any case
        note(f"{target.partial.name} cannot be written: {error}")
    else:
        note(f"{_rows(count, 'finished ')} in {target.partial.name}")


def _counts() -> str:
    """Return what `--quiet` keeps of how a run ended."""
    run = llmframe.last_run()
    if run is None:
        return "nothing was sent"
    counts = {
        "unsure": run.unsure,
        "failed": run.failed,
        "not sent (missing or blank)": sum(run.skipped.values()),
        "requests from the journal": run.from_journal,
    }
    parts = [f"{run.answered:,} of {run.rows:,} rows answered"]
    parts += [f"{count:,} {what}" for what, count in counts.items() if count]
    cost = "at an unknown cost" if run.cost is None else f"${run.cost:,.4f}"
    return ", ".join([*parts, f"at least {cost}" if run.cost is not None and run.unpriced else cost])
