"""The command line: `llmframe complete`, `batches`, `collect`, `cancel`, `demo`, `journal` and `serve`."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import orjson

import llmframe
from llmframe._columns import TEXT
from llmframe._files import check_suffix, read_texts, separator, write_columns
from llmframe._journal import journal_path, open_journal
from llmframe._loop import encodable, wait_until_shown
from llmframe._options import check, check_environment, options

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import pandas as pd

    from llmframe._journal import Journal

T = TypeVar("T")

DONE, ROWS_FAILED, UNUSABLE, STOPPED, INTERRUPTED = 0, 1, 2, 3, 130

_DEMO_PROMPT = "Is this product review positive or negative? Answer with one word.\n\n{review}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        0: every row has its answer; 1: rows failed, the others are written; 2: the command cannot be
        executed; 3: the run stopped early; 130: interrupted. After 3 and 130 nothing is written, and the
        same command continues.
    """
    try:
        return _execute(arguments)
    finally:
        for stream in (sys.stdout, sys.stderr):
            _let_go(stream)


def _execute(arguments: Sequence[str] | None) -> int:
    parsed = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = parsed.command
    try:
        return command(parsed)
    except KeyboardInterrupt:
        return _print_error("interrupted; run the same command again to continue", INTERRUPTED)
    except llmframe.StoppedError as error:
        return _print_error(str(error), STOPPED)
    except (llmframe.LLMFrameError, KeyError, OSError, TypeError, ValueError) as error:
        return _print_error(str(error.args[0] if isinstance(error, KeyError) else error), UNUSABLE)


def _print_error(message: str, code: int) -> int:
    from llmframe._run import say  # noqa: PLC0415 (only errors need it)

    say(f"llmframe: {message}")
    wait_until_shown()
    return code


def _print(text: str) -> None:
    """Print what a command is for; a reader that has gone does not want it."""
    with suppress(BrokenPipeError):
        print(encodable(text, sys.stdout), flush=True)


def _tell(text: str) -> None:
    """Print about what is done: it stays done, whatever becomes of stdout."""
    with suppress(Exception):  # of whatever stands in for stdout
        _print(text)


def _let_go(stream: Any) -> None:
    """Drop what cannot be written, which Python would try again as it exits, and then exit with status 120."""
    try:
        if stream is not None:
            stream.flush()
    except Exception:  # noqa: BLE001 (of whatever stands in for the stream)
        with suppress(Exception), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())


def _complete(parsed: argparse.Namespace) -> int:
    source, target = Path(parsed.source), Path(parsed.target)
    check_suffix(target.suffix)
    _check_target(target, force=parsed.force)
    frame, names = read_texts(source, separator(source))
    settings = {name: getattr(parsed, name) for name in _SETTINGS if getattr(parsed, name) is not None}
    return _enrich(
        frame,
        target,
        names,
        column=parsed.column,
        prompt=parsed.prompt,
        into=parsed.into,
        error_into=parsed.error_into,
        overwrite={None: False, "all": True}.get(parsed.overwrite, parsed.overwrite),
        progress=not parsed.quiet,
        **settings,
        **dict(parsed.param),
    )


def _enrich(frame: pd.DataFrame, target: Path, names: Sequence[str] = (), **arguments: Any) -> int:
    """Answer a column and write the frame; its first columns keep the names of the file that they are from."""
    code = DONE
    try:
        frame.llm.complete(**arguments)
    except llmframe.StoppedError:
        raise
    except (llmframe.CompletionError, llmframe.CompletionWarning) as error:  # a warning under `-W error`
        code = _print_error(str(error), ROWS_FAILED)
    write_columns(frame, [*names, *frame.columns[len(names) :]], target, separator(target))
    _tell(f"{len(frame):,} rows are in {target}")
    return code


def _check_target(target: Path, *, force: bool) -> None:
    if target.exists() and not force:
        raise ValueError(f"{target} is already there; name another file, or pass --force to replace it")
    if not target.parent.is_dir():
        raise ValueError(f"there is no folder {target.parent} to write {target.name} into")


def _demo(parsed: argparse.Namespace) -> int:
    from llmframe.testing import LocalServer, reviews  # noqa: PLC0415 (only the demo needs the server)

    target = Path(parsed.target) if parsed.target else _unused(Path("llmframe-demo.csv"))
    check_suffix(target.suffix)
    _check_target(target, force=False)
    frame = reviews()
    task: dict[str, Any] = {
        "column": "review",
        "prompt": _DEMO_PROMPT,
        "into": "sentiment",
        "max_completion_tokens": 500,
    }
    if parsed.live:
        code = _enrich(frame, target, reasoning_effort="low", **task)
    else:
        _tell(
            "A demonstration: the answers are MADE UP by a server that this command starts on this machine."
        )
        _tell(
            "No key is used, nothing leaves this machine, and nothing is paid. --live asks the configured API."
        )
        with LocalServer(latency=0.1) as server:
            code = _enrich(
                frame,
                target,
                base_url=server.base_url,
                api_key="demo",
                model="gpt-6-luna",
                journal=False,
                **task,
            )
    _tell(frame[["product", "review", "sentiment"]].head(8).to_string(max_colwidth=48))
    if not parsed.live:
        _tell("These answers are made up; so is what the bar says they cost.")
    return code


def _unused(path: Path) -> Path:
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in range(2, 10_000))
    return path if not path.exists() else next(other for other in numbered if not other.exists())


def _show_journal(parsed: argparse.Namespace) -> int:
    path = _existing_journal(parsed.journal)
    summary = _with_journal(path, lambda journal: journal.summary(TEXT.judge))
    _print(f"journal: {path}")
    _print(f"size: {_size(path):,} bytes")
    for name in ("oldest", "newest"):
        moment = summary.pop(name)
        _print(f"{name} answer: {_date(moment) if moment else 'none'}")
    cost = summary.pop("cost")
    for name, value in summary.items():
        _print(f"{name.replace('_', ' ')}: {value:,}")
    known = "unknown" if cost is None else f"${cost:,.4f}"
    _print(f"cost: {'at least ' if cost is not None and summary['unpriced'] else ''}{known}")
    return DONE


def _size(path: Path) -> int:
    parts = (path, Path(f"{path}-wal"))
    return sum(part.stat().st_size for part in parts if part.exists())


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _export_journal(parsed: argparse.Namespace) -> int:
    target = Path(parsed.target)
    _check_target(target, force=parsed.force)
    path = _existing_journal(parsed.journal)
    with tempfile.TemporaryFile() as records:  # the target is written when everything has been read
        count = _with_journal(path, lambda journal: _export(journal, records))
        records.seek(0)
        with target.open("wb") as file:
            shutil.copyfileobj(records, file)
    _tell(f"{count:,} answers are in {target}")
    return DONE


async def _export(journal: Journal, file: IO[bytes]) -> int:
    count = 0
    async for record in journal.export(TEXT.judge):
        file.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        count += 1
    return count


def _prune_journal(parsed: argparse.Namespace) -> int:
    path = _existing_journal(parsed.journal)
    before = time.time() - parsed.days * 86_400
    pruned = _with_journal(path, lambda journal: journal.prune(before))
    _tell(f"{pruned:,} answers older than {parsed.days:g} days are gone from {path}")
    return DONE


def _with_journal(path: Path, call: Callable[[Journal], Awaitable[T]]) -> T:
    async def with_open_journal() -> T:
        async with open_journal(path) as journal:
            return await call(journal)

    return asyncio.run(with_open_journal())


def _existing_journal(given: str | None) -> Path:
    chosen = given or options.journal
    check_environment("journal", chosen)
    check("journal", chosen)
    path = journal_path(Path(chosen) if isinstance(chosen, str) else True).absolute()
    if not path.exists():
        raise ValueError(f"there is no journal at {path} yet")
    return path


def _batches(parsed: argparse.Namespace) -> int:
    return _print_batches(llmframe.batches(**_batch_settings(parsed)))


def _collect(parsed: argparse.Namespace) -> int:
    return _print_batches(llmframe.collect(**_batch_settings(parsed)))


def _cancel(parsed: argparse.Namespace) -> int:
    _tell(f"{parsed.batch}: {llmframe.cancel(parsed.batch, **_batch_settings(parsed))}")
    return DONE


def _batch_settings(parsed: argparse.Namespace) -> dict[str, Any]:
    return {"journal": parsed.journal, "base_url": parsed.base_url}


def _print_batches(batches: pd.DataFrame) -> int:
    if batches.empty:
        _print("there are no batches")
        return DONE
    created = batches["created"].dt.strftime("%Y-%m-%d %H:%M UTC")
    _print(
        batches.assign(created=created)
        .fillna({"id": "", "cost": float("nan")})
        .to_string(index=False, na_rep="-")
    )
    return DONE


def _serve(parsed: argparse.Namespace) -> int:
    from llmframe.testing import Limits, serve  # noqa: PLC0415

    limited = parsed.requests_per_minute or parsed.tokens_per_minute
    limits = None
    if limited:
        limits = Limits(
            requests_per_minute=parsed.requests_per_minute, tokens_per_minute=parsed.tokens_per_minute
        )
    serve(
        parsed.port,
        ready=lambda base_url: _tell(f"made-up answers at {base_url} (any key; Ctrl-C ends it)"),
        latency=parsed.latency,
        limits=limits,
        headers=not parsed.no_headers,
    )
    return DONE


_SETTINGS = (
    "model", "system", "mode", "errors", "max_concurrency", "max_retries", "timeout", "base_url", "journal",
    "fresh", "retry_failed", "version",
)  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llmframe", description="Run an LLM over a column of a CSV.")
    parser.add_argument("--version", action="version", version=f"llmframe {llmframe.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_complete(commands)
    _add_batches(commands)
    _add_demo(commands)
    _add_journal(commands)
    _add_serve(commands)
    return parser


def _add_complete(commands: Any) -> None:
    parser = commands.add_parser(
        "complete", help="answer every row of a CSV into a new column of another CSV"
    )
    parser.set_defaults(command=_complete)
    parser.add_argument(
        "source", metavar="IN.csv", help="read as text, so that every other column stays as it is"
    )
    parser.add_argument(
        "target", metavar="OUT.csv", help="UTF-8 with the mark that Excel needs, formulas neutralised"
    )
    parser.add_argument("--column", help="the column with the texts")
    parser.add_argument("--prompt", help="an instruction, or a template such as '{title}: {review}'")
    parser.add_argument("--into", help="name of the new column (default: COLUMN_completion)")
    parser.add_argument("--error-into", help="a column for the reasons of rows without an answer")
    parser.add_argument("--overwrite", choices=("missing", "all"), help="fill or replace an existing column")
    parser.add_argument("--system", help="a system message, text or template")
    parser.add_argument("--model")
    parser.add_argument(
        "--mode", choices=("live", "batch", "offline"), help="batch: half the price, within 24 hours"
    )
    parser.add_argument("--errors", choices=("raise", "coerce"))
    parser.add_argument(
        "--max-concurrency", type=int, metavar="N", help="most requests in flight (default: adapts)"
    )
    parser.add_argument("--max-retries", type=int, metavar="N")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="for one request")
    parser.add_argument("--base-url", metavar="URL")
    parser.add_argument("--journal", metavar="PATH", help="where paid answers are kept")
    parser.add_argument(
        "--no-journal", dest="journal", action="store_const", const=False, help="keep nothing"
    )
    parser.add_argument("--fresh", action="store_const", const=True, help="ask again now")
    parser.add_argument(
        "--retry-failed", action="store_const", const=True, help="ask again what was paid and no answer"
    )
    parser.add_argument(
        "--as-version", dest="version", metavar="MARK", help="keep these answers apart under a mark"
    )
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        type=_param,
        metavar="NAME=VALUE",
        help="a parameter of the API, such as temperature=0",
    )
    parser.add_argument("--force", action="store_true", help="replace OUT.csv if it is there")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _param(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        return name, orjson.loads(value)
    except orjson.JSONDecodeError:
        return name, value


def _add_batches(commands: Any) -> None:
    parser = commands.add_parser("batches", help="list the batches that the journal knows")
    _add_batch_settings(parser, _batches)
    parser = commands.add_parser("collect", help="take in the answers of all batches that have ended")
    _add_batch_settings(parser, _collect)
    parser = commands.add_parser("cancel", help="cancel a batch")
    _add_batch_settings(parser, _cancel)
    parser.add_argument("batch", metavar="ID", help="the batch's id, as `llmframe batches` lists it")


def _add_batch_settings(
    parser: argparse.ArgumentParser, command: Callable[[argparse.Namespace], int]
) -> None:
    parser.set_defaults(command=command)
    parser.add_argument("--journal", metavar="PATH", help="another journal than the default one")
    parser.add_argument("--base-url", metavar="URL")


def _add_demo(commands: Any) -> None:
    parser = commands.add_parser(
        "demo", help="enrich the shipped sample with made-up answers, free and offline"
    )
    parser.set_defaults(command=_demo)
    parser.add_argument("target", nargs="?", metavar="OUT.csv", help="default: llmframe-demo.csv")
    parser.add_argument(
        "--live", action="store_true", help="ask the configured API instead (this costs a cent or two)"
    )


def _add_journal(commands: Any) -> None:
    parser = commands.add_parser("journal", help="show, export or prune what is kept of paid answers")
    parser.set_defaults(command=_show_journal)
    parser.add_argument("--journal", metavar="PATH", help="another journal than the default one")
    actions = parser.add_subparsers(metavar="ACTION")
    export = actions.add_parser("export", help="write every answer as a line of JSON")
    export.set_defaults(command=_export_journal)
    export.add_argument("target", metavar="OUT.jsonl")
    export.add_argument("--force", action="store_true", help="replace OUT.jsonl if it is there")
    prune = actions.add_parser("prune", help="delete old answers")
    prune.set_defaults(command=_prune_journal)
    prune.add_argument("--days", type=float, required=True, help="delete what is older")


def _add_serve(commands: Any) -> None:
    parser = commands.add_parser("serve", help="run the local server of made-up answers, for tests")
    parser.set_defaults(command=_serve)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--requests-per-minute", type=int, metavar="N")
    parser.add_argument("--tokens-per-minute", type=int, metavar="N")
    parser.add_argument("--no-headers", action="store_true", help="send no x-ratelimit headers")
