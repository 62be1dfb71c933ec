"""`llmframe complete` and `llmframe demo`: a file is read, a column is answered, and a file is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import llmframe
from llmframe._files import Table
from llmframe.cli.endings import DONE, INTERRUPTED, ROWS_FAILED, UNUSABLE, print_error
from llmframe.cli.output import note, own_words, tell
from llmframe.cli.places import STREAM, Target, places, target_of
from llmframe.cli.where import rows_where

if TYPE_CHECKING:
    import argparse

    import numpy.typing as npt
    import pandas as pd

SETTINGS = (
    "model", "system", "mode", "errors", "max_concurrency", "requests_per_minute", "tokens_per_minute", "max_retries",
    "timeout", "base_url", "journal", "fresh", "retry_failed", "version",
)  # fmt: skip
"""Options that are arguments of the verb under the same name."""

_DEMO_PROMPT = "Is this product review positive or negative? Answer with one word.\n\n{review}"


def complete(parsed: argparse.Namespace) -> int:
    source, target = places(
        parsed.source, parsed.target, given=parsed.format, sep=parsed.sep, encoding=parsed.encoding
    )
    target.check(force=parsed.force)
    table = source.read()
    for name, labels in table.duplicates().items():
        note(
            f"{parsed.source}: several columns are named {name!r}; for --column and --prompt they are {labels!r}"
        )
    settings = {name: getattr(parsed, name) for name in SETTINGS if getattr(parsed, name) is not None}
    return _enrich(
        table,
        target.separated_as(table.sep if source.format is target.format else None),
        into=parsed.into or (f"{parsed.column}_completion" if parsed.column else "completion"),
        column=parsed.column,
        prompt=parsed.prompt,
        where=_rows_to_send(table.frame, parsed.where, parsed.limit, texts=source.format.is_delimited),
        error_into=parsed.error_into,
        overwrite={None: False, "all": True}.get(parsed.overwrite, parsed.overwrite),
        progress=not parsed.quiet,
        **settings,
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


def _enrich(table: Table, target: Target, *, into: str, progress: bool = True, **arguments: Any) -> int:
    """Answer a column and write the file; when that ends early, write the finished rows beside it."""
    code = DONE
    before = llmframe.last_run()
    try:
        with own_words():
            table.frame.llm.complete(into=into, progress=progress, **arguments)
    except (KeyboardInterrupt, llmframe.StoppedError, llmframe.JournalError) as error:
        if llmframe.last_run() is before:
            raise
        _keep_finished_rows(table, target, into)
        if isinstance(error, KeyboardInterrupt):
            return INTERRUPTED  # the run has said so, and how to continue
        raise
    except (llmframe.CompletionError, llmframe.CompletionWarning) as error:  # a warning under `-W error`
        code = print_error(str(error), ROWS_FAILED)
    if not progress:
        note(_counts())
    try:
        target.write(_changed(table))
    except (OSError, ValueError) as error:
        kept = "the answers are in the journal: run the same command again"
        if arguments.get("journal") is False:
            kept = "--no-journal kept no answer"
        return print_error(f"{target.name} cannot be written: {error}; {kept}", UNUSABLE)
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


def _keep_finished_rows(table: Table, target: Target, into: str) -> None:
    frame, run = table.frame, llmframe.last_run()
    if into not in frame.attrs.get("llmframe", {}) and run is not None:  # a column to replace is left alone
        frame[into] = run.values  # noqa: PD011 (a run's, not a Series')
        frame.attrs["llmframe"] = {**frame.attrs.get("llmframe", {}), into: {}}
    finished = frame[into].notna().to_numpy()
    count = int(finished.sum())
    if not count:
        return
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
        "failed": run.failed,
        "not sent (missing or blank)": sum(run.skipped.values()),
        "requests from the journal": run.from_journal,
    }
    parts = [f"{run.answered:,} of {run.rows:,} rows answered"]
    parts += [f"{count:,} {what}" for what, count in counts.items() if count]
    cost = "at an unknown cost" if run.cost is None else f"${run.cost:,.4f}"
    return ", ".join([*parts, f"at least {cost}" if run.cost is not None and run.unpriced else cost])


def demo(parsed: argparse.Namespace) -> int:
    from llmframe.testing import LocalServer, reviews  # noqa: PLC0415 (only the demo needs the server)

    default = Path("llmframe-demo.csv")
    name = parsed.target or str(default if parsed.force else _unused(default))
    target = target_of(name, given="csv" if name == STREAM else None)
    target.check(force=parsed.force)
    say = tell if target.partial else note
    frame = reviews()
    table = Table(frame, list(frame.columns))
    task: dict[str, Any] = {
        "column": "review",
        "prompt": _DEMO_PROMPT,
        "into": "sentiment",
        "max_completion_tokens": 500,
    }
    if parsed.live:
        code = _enrich(table, target, reasoning_effort="low", **task)
    else:
        say("A demonstration: the answers are MADE UP by a server that this command starts on this machine.")
        say(
            "No key is used, nothing leaves this machine, and nothing is paid. --live asks the configured API."
        )
        with LocalServer(latency=0.1) as server:
            local: dict[str, Any] = {
                "base_url": server.base_url,
                "api_key": "demo",
                "model": "gpt-6-luna",
                "journal": False,
            }
            code = _enrich(table, target, **local, **task)
    say(frame[["product", "review", "sentiment"]].head(8).to_string(max_colwidth=48))
    if not parsed.live:
        say("These answers are made up; so is what the bar says they cost.")
    return code


def _unused(path: Path) -> Path:
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in range(2, 10_000))
    return path if not path.exists() else next(other for other in numbered if not other.exists())
