"""Reading and maintenance of a whole journal in a database: its summary, what was spent, its answers by recipe or as JSON, and the deletion of old ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from llmframe._journal.spending import spend_by_day
from llmframe._json import load

if TYPE_CHECKING:
    from psycopg import Cursor

    from llmframe._journal.postgres.database import Database
    from llmframe._journal.protocol import Judge, Spend

_ROWS_AT_ONCE = 500
_NAMES = (
    "key", "body", "prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "cache_write_tokens",
    "cost", "lane", "tier", "model", "created", "output_bound", "recipe",
)  # fmt: skip


_TOKENS = "prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, cache_write_tokens"
_PAID = " UNION ALL ".join(
    f"SELECT {_TOKENS}, cost, lane, tier, model, recipe, created FROM llmframe.{table}"  # noqa: S608
    for table in ("answer", "spent")
)
"""All that was paid: the answers, and what broke off."""


def spend(database: Database) -> list[Spend]:
    select = (
        "SELECT floor(created / 86400)::int8, recipe, model, "  # noqa: S608
        "CASE WHEN lane = 'live' AND tier = 'flex' THEN 'flex' ELSE lane END AS way, count(*), "
        "sum(prompt_tokens)::int8, sum(completion_tokens)::int8, sum(cached_tokens)::int8, sum(reasoning_tokens)::int8, "
        "sum(cache_write_tokens)::int8, sum(cost) FILTER (WHERE cost >= 0), count(cost) FILTER (WHERE cost >= 0) "
        f"FROM ({_PAID}) AS paid GROUP BY 1, recipe, model, way"
    )
    described = "SELECT id, description FROM llmframe.recipe"
    rows = database.run(lambda cursor: cursor.execute(select).fetchall())
    recipes = database.run(lambda cursor: cursor.execute(described).fetchall())
    return spend_by_day(rows, dict(recipes))


def some_answers_of(database: Database, digest: bytes, until: float, after: int) -> list[tuple[int, bytes]]:
    """Return the next bodies of a recipe's answers after a row number, each with its own number."""
    select = (
        "SELECT id, body FROM llmframe.answer WHERE id > %s AND created <= %s "  # noqa: S608
        f"AND recipe = (SELECT id FROM llmframe.recipe WHERE digest = %s) ORDER BY id LIMIT {_ROWS_AT_ONCE}"
    )
    return database.run(lambda cursor: cursor.execute(select, (after, until, digest)).fetchall())


def summarise(database: Database, judge: Judge) -> dict[str, Any]:
    def counts(cursor: Cursor) -> tuple[Any, ...]:
        cursor.execute(
            "SELECT (SELECT count(*) FROM llmframe.answer), count(*) - (SELECT count(*) FROM llmframe.answer), "  # noqa: S608
            "coalesce(sum(prompt_tokens), 0)::int8, coalesce(sum(completion_tokens), 0)::int8, "
            "sum(cost) FILTER (WHERE cost >= 0), count(*) - count(cost) FILTER (WHERE cost >= 0), "
            "(SELECT min(created) FROM llmframe.answer), (SELECT max(created) FROM llmframe.answer), "
            "(SELECT count(*) FROM llmframe.claim), (SELECT count(*) FROM llmframe.run) "
            f"FROM ({_PAID}) AS paid"
        )
        return cursor.fetchall()[0]

    answers, broken_off, *rest = database.run(counts)
    names = ("prompt_tokens", "completion_tokens", "cost", "unpriced", "oldest", "newest", "claims", "runs")
    without_text, after = 0, 0
    while bodies := _page(database, "SELECT id, body FROM llmframe.answer", after):
        after = bodies[-1][0]
        without_text += sum(judge(load(body)).value is None for _, body in bodies)
    found = {"answers": answers, "without_text": without_text, "broken_off": broken_off}
    return {**found, **dict(zip(names, rest, strict=True))}


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
        cursor.execute("DELETE FROM llmframe.spent WHERE created < %s", (before,))
        cursor.execute("DELETE FROM llmframe.run WHERE started < %s", (before,))
        return pruned

    return database.transaction(work)
