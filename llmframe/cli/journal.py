"""`llmframe journal`: the journal is made, shown, exported and pruned."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from math import fsum
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

import orjson

import llmframe
from llmframe._addresses import DatabaseAddress
from llmframe._columns import judge_any
from llmframe._files import check_new, replacement
from llmframe._journal import database_grants, journal_exists, journal_path, journal_place, open_journal
from llmframe._options import check, check_environment, options
from llmframe.cli.output import DONE, show, tell

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable

    from llmframe._journal import Journal, Place

T = TypeVar("T")


def show_journal(parsed: argparse.Namespace) -> int:
    place = _existing_journal(parsed.journal)
    if parsed.spend:
        return _show_spend(place)
    summary = _with_journal(place, lambda journal: journal.summary(judge_any))
    show(f"journal: {place}")
    if isinstance(place, Path):
        show(f"size: {_size(place):,} bytes")
    for name in ("oldest", "newest"):
        moment = summary.pop(name)
        show(f"{name} answer: {_date(moment) if moment else 'none'}")
    cost = summary.pop("cost")
    for name, value in summary.items():
        show(f"{name.replace('_', ' ')}: {value:,}")
    known = "unknown" if cost is None else f"${cost:,.4f}"
    show(f"cost: {'at least ' if cost is not None and summary['unpriced'] else ''}{known}")
    return DONE


def _show_spend(place: Place) -> int:
    spent = llmframe.spend(place)
    if spent.empty:
        show("nothing was spent")
        return DONE
    show(
        spent.assign(day=spent["day"].dt.strftime("%Y-%m-%d")).to_string(
            index=False, na_rep="-", float_format="%.6f"
        )
    )
    least = "at least " if spent["unpriced"].any() else ""
    show(f"cost: {least}${fsum(spent['cost'].dropna()):,.4f}" if spent["cost"].any() else "cost: unknown")
    return DONE


def _size(path: Path) -> int:
    parts = (path, Path(f"{path}-wal"))
    return sum(part.stat().st_size for part in parts if part.exists())


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")


def export_journal(parsed: argparse.Namespace) -> int:
    check_new(parsed.target, force=parsed.force)
    place = _existing_journal(parsed.journal)
    with replacement(parsed.target, "OUT") as file:
        count = _with_journal(place, lambda journal: _export(journal, file))
    tell(f"{count:,} answers are in {parsed.target}")
    return DONE


async def _export(journal: Journal, file: IO[bytes]) -> int:
    count = 0
    async for record in journal.export(judge_any):
        file.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        count += 1
    return count


def init_journal(parsed: argparse.Namespace) -> int:
    place = _chosen_journal(parsed.journal)
    _with_journal(place, lambda journal: journal.batches.list_parts(only_open=True))  # opening it makes it
    tell(f"the journal is at {place}")
    if isinstance(place, DatabaseAddress):
        tell(f"another role that uses it needs: {database_grants()}")
    return DONE


def prune_journal(parsed: argparse.Namespace) -> int:
    place = _existing_journal(parsed.journal)
    before = time.time() - parsed.days * 86_400
    pruned = _with_journal(place, lambda journal: journal.prune(before))
    tell(f"{pruned:,} answers older than {parsed.days:g} days are gone from {place}")
    return DONE


def _with_journal(place: Place, call: Callable[[Journal], Awaitable[T]]) -> T:
    async def with_open_journal() -> T:
        async with open_journal(place) as journal:
            return await call(journal)

    return asyncio.run(with_open_journal())


def _chosen_journal(given: str | None) -> Place:
    chosen = given or options.journal
    if chosen in {None, False}:
        chosen = True
    check_environment("journal", chosen)
    check("journal", chosen)
    place = journal_place(chosen)
    return place if isinstance(place, DatabaseAddress) else journal_path(place).absolute()


def _existing_journal(given: str | None) -> Place:
    place = _chosen_journal(given)
    if not journal_exists(place):
        raise ValueError(f"there is no journal at {place} yet")
    return place
