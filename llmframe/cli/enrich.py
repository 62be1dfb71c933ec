"""What `complete`, `extract` and `classify` have in common: a file is read, its rows are answered, and a file is written."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import llmframe
from llmframe._files import STREAM
from llmframe._verbs import FileCall, check_target, enrich, enrich_table, survey
from llmframe.cli.output import DONE, INTERRUPTED, ROWS_FAILED, note, own_words, print_error, tell
from llmframe.cli.places import places

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from llmframe._files import Table, Target
    from llmframe._verbs import Enriched

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
    settings = {name: getattr(parsed, name) for name in SETTINGS}
    call = FileCall.of(
        verb,
        {
            "column": parsed.column,
            "prompt": parsed.prompt,
            "error_into": parsed.error_into,
            "overwrite": {None: False, "all": True}.get(parsed.overwrite, parsed.overwrite),
            "progress": not parsed.quiet,
            **{name: value for name, value in {**settings, **own}.items() if value is not None},
            **dict(parsed.param),
        },
        where=parsed.where,
        limit=parsed.limit,
    )
    check_target(source, target, call, force=parsed.force)
    found = survey(source, call)
    for name, labels in found.first.duplicates().items():
        note(
            f"{parsed.source}: several columns are named {name!r}; for --column and --prompt they are {labels!r}"
        )
    separated = target.separated_as(found.first.sep if source.format is target.format else None)
    return _ended(partial(enrich, source, separated, call, found), separated, quiet=parsed.quiet)


def enrich_frame(table: Table, target: Target, verb: str, **arguments: Any) -> int:
    """Answer the rows of a table and write the file."""
    return _ended(partial(enrich_table, table, target, FileCall.of(verb, arguments)), target)


def _ended(enrich: Callable[[], Enriched], target: Target, *, quiet: bool = False) -> int:
    """Write a file, say how that ended, and return the exit code."""
    before = llmframe.last_run()
    try:
        with own_words():
            enriched = enrich()
    except KeyboardInterrupt:
        if llmframe.last_run() in {None, before}:
            raise
        return INTERRUPTED  # the run has said so, and how to continue
    except OSError as error:
        if isinstance(error.__cause__, llmframe.CompletionError):
            note(str(error.__cause__))
        raise
    code = DONE if enriched.error is None else print_error(str(enriched.error), ROWS_FAILED)
    if quiet:
        note(_counts())
    if target.partial is None:  # which may be stdout, by a name or as `-`
        note(f"{_rows(enriched.rows)} written to {'stdout' if target.name == STREAM else target.name}")
    else:
        tell(f"{_rows(enriched.rows)} in {target.name}")
    return code


def _rows(count: int) -> str:
    return f"{count:,} {'row is' if count == 1 else 'rows are'}"


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
