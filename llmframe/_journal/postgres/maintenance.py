"""Maintenance of a journal in a database: its summary, its export as JSON, and the deletion of old answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from llmframe._json import load

if TYPE_CHECKING:
    from psycopg import Cursor

    from llmframe._journal.postgres.database import Database
    from llmframe._journal.protocol import Judge

_ROWS_AT_ONCE = 500
_NAMES = (
    "key", "body", "prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "cache_write_tokens",
    "cost", "lane", "tier", "model", "created", "output_bound", "recipe",
)  # fmt: skip


def summarise(database: Database, judge: Judge) -> dict[str, Any]:
    def counts(cursor: Cursor) -> tuple[Any, ...]:
        cursor.execute(
            "SELECT count(*), coalesce(sum(prompt_tokens), 0)::int8, coalesce(sum(completion_tokens), 0)::int8, "
            "sum(cost) FILTER (WHERE cost >= 0), count(*) - count(cost) FILTER (WHERE cost >= 0), "
            "min(created), max(created), (SELECT count(*) FROM llmframe.claim), (SELECT count(*) FROM llmframe.run) "
            "FROM llmframe.answer"
        )
        return cursor.fetchall()[0]

    answers, *rest = database.run(counts)
    names = ("prompt_tokens", "completion_tokens", "cost", "unpriced", "oldest", "newest", "claims", "runs")
    without_text, after = 0, 0
    while bodies := _page(database, "SELECT id, body FROM llmframe.answer", after):
        after = bodies[-1][0]
        without_text += sum(judge(load(body)).value is None for _, body in bodies)
    return {"answers": answers, "without_text": without_text, **dict(zip(names, rest, strict=True))}


def _page(database: Database, select: str, after: int) -> list[tuple[Any, ...]]:
    """Return the next rows after a row number: no cursor stays open between transactions."""
    page = f"{select} WHERE answer.id > %s ORDER BY answer.id LIMIT {_ROWS_AT_ONCE}"
    return database.run(lambda cursor: cursor.execute(page, (after,)).fetchall())


def export_some(database: Database, judge: Judge, after: int) -> list[tuple[int, dict[str, Any]]]:
    """Return the next answers after a row number, each with its own number."""
    columns = ", ".join(_NAMES[:-1])
    rows = _page(
        database,
        f"SELECT answer.id, {columns}, description "  # noqa: S608
        "FROM llmframe.answer JOIN llmframe.recipe ON recipe.id = answer.recipe",
        after,
    )
    return [(number, _record(dict(zip(_NAMES, row, strict=True)), judge)) for number, *row in rows]


def _record(stored: dict[str, Any], judge: Judge) -> dict[str, Any]:
    key, body = stored.pop("key"), load(stored["body"])
    verdict = judge(body)
    judged = {"key": key.hex(), "problem": verdict.problem, "detail": verdict.detail}
    return {**judged, **stored, "body": body, "recipe": orjson.loads(stored["recipe"])}


def prune(database: Database, before: float) -> int:
    def work(cursor: Cursor, _: float) -> int:
        pruned = cursor.execute("DELETE FROM llmframe.answer WHERE created < %s", (before,)).rowcount
        cursor.execute("DELETE FROM llmframe.run WHERE started < %s", (before,))
        return pruned

    return database.transaction(work)
