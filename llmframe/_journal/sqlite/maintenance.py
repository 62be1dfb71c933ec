"""Reading and maintenance of a whole journal's file: its summary, what was spent, its answers by recipe or as JSON, and the deletion of old ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from llmframe._journal.spending import spend_by_day
from llmframe._journal.sqlite.schema import check_answer, has_column
from llmframe._json import load

if TYPE_CHECKING:
    import sqlite3

    from llmframe._journal.protocol import Judge, Spend
    from llmframe._journal.sqlite.database import Database
    from llmframe._values import Key

_ROWS_AT_ONCE = 500


def summarise(database: Database, judge: Judge) -> dict[str, Any]:
    with database.outside("read") as connection:
        answers, oldest, newest = connection.execute(
            "SELECT count(*), min(created), max(created) FROM answer"
        ).fetchone()
        row = connection.execute(
            "SELECT coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0), "  # noqa: S608
            "sum(cost) FILTER (WHERE cost >= 0), count(*) - count(cost) FILTER (WHERE cost >= 0), count(*) "
            f"FROM ({_paid(connection)})"
        ).fetchone()
        stored = connection.execute("SELECT key, body, checksum FROM answer")
        without_text = sum(judge(_body(database, *answer)).value is None for answer in stored)
        claims = connection.execute(
            "SELECT (SELECT count(*) FROM part_claim) + (SELECT coalesce(sum(length(keys)), 0) / 16 FROM claim)"
        ).fetchone()[0]
        runs = connection.execute("SELECT count(*) FROM run").fetchone()[0]
    *spent, paid = row
    counted = dict(
        zip(("prompt_tokens", "completion_tokens", "cost", "unpriced"), spent, strict=True),
        oldest=oldest,
        newest=newest,
    )
    found = {"answers": answers, "without_text": without_text, "broken_off": paid - answers}
    return {**found, **counted, "claims": claims, "runs": runs}


def _paid(connection: sqlite3.Connection) -> str:
    """Return the query of all that was paid: the answers, and what broke off, which earlier versions did not keep."""
    columns = (
        "prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, cache_write_tokens, cost, lane, tier, model, "
        "recipe, created"
    )
    tables = ["answer", *(["spent"] if has_column(connection, "spent", "cost") else [])]
    return " UNION ALL ".join(f"SELECT {columns} FROM {table}" for table in tables)  # noqa: S608


def spend(database: Database) -> list[Spend]:
    with database.outside("read") as connection:
        rows = connection.execute(
            "SELECT CAST(created / 86400 AS INTEGER), recipe, model, "  # noqa: S608
            "CASE WHEN lane = 'live' AND tier = 'flex' THEN 'flex' ELSE lane END AS way, count(*), "
            "sum(prompt_tokens), sum(completion_tokens), sum(cached_tokens), sum(reasoning_tokens), "
            "sum(cache_write_tokens), sum(cost) FILTER (WHERE cost >= 0), count(cost) FILTER (WHERE cost >= 0) "
            f"FROM ({_paid(connection)}) GROUP BY 1, recipe, model, way"
        ).fetchall()
        described = dict(connection.execute("SELECT id, description FROM recipe"))
    return spend_by_day(rows, described)


def export_some(database: Database, judge: Judge, after: int) -> list[tuple[int, dict[str, Any]]]:
    """Return the next answers after a row number, each with its own number."""
    with database.outside("read") as connection:
        cursor = connection.execute(
            "SELECT answer.id, checksum, key, body, prompt_tokens, completion_tokens, cached_tokens, "
            "reasoning_tokens, cache_write_tokens, cost, lane, tier, model, created, output_bound, description AS recipe "
            "FROM answer JOIN recipe ON recipe.id = answer.recipe WHERE answer.id > ? ORDER BY answer.id LIMIT ?",
            (after, _ROWS_AT_ONCE),
        )
        names = [column[0] for column in cursor.description[2:]]
        return [
            (number, _record(database, dict(zip(names, row, strict=True)), checksum, judge))
            for number, checksum, *row in cursor
        ]


def some_answers_of(database: Database, digest: bytes, until: float, after: int) -> list[tuple[int, bytes]]:
    """Return the next bodies of a recipe's answers after a row number, each with its own number."""
    with database.outside("read") as connection:
        rows = connection.execute(
            "SELECT id, key, body, checksum FROM answer WHERE id > ? AND created <= ? "
            "AND recipe = (SELECT id FROM recipe WHERE digest = ?) ORDER BY id LIMIT ?",
            (after, until, digest, _ROWS_AT_ONCE),
        ).fetchall()
    for _, key, body, stored in rows:
        check_answer(database.path, key, body, stored)
    return [(number, body) for number, _, body, _ in rows]


def _record(database: Database, stored: dict[str, Any], checksum: int, judge: Judge) -> dict[str, Any]:
    key = stored.pop("key")
    body = _body(database, key, stored["body"], checksum)
    verdict = judge(body)
    judged = {"key": key.hex(), "problem": verdict.problem, "detail": verdict.detail}
    return {**judged, **stored, "body": body, "recipe": orjson.loads(stored["recipe"])}


def _body(database: Database, key: Key, body: bytes, checksum: int) -> Any:
    """Check a stored body for damage, and read it as JSON."""
    check_answer(database.path, key, body, checksum)
    return load(body)


def prune(database: Database, before: float) -> int:
    with database.transaction() as connection:
        pruned = connection.execute("DELETE FROM answer WHERE created < ?", (before,)).rowcount
        connection.execute("DELETE FROM spent WHERE created < ?", (before,))
        connection.execute("DELETE FROM run WHERE started < ?", (before,))
    with database.outside("written") as connection:
        connection.execute("VACUUM")
    return pruned
