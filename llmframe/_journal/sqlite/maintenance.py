"""What the owner of a journal asks of it: how much is there, all of it as JSON, and that old answers go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from llmframe._json import load

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


class Upkeep:
    """Counts, exports and prunes a journal.

    Parameters
    ----------
    transaction, outside
        Give the connection within a transaction, and outside of one, to be "read" or "written".
    """

    def __init__(
        self,
        transaction: Callable[[], AbstractContextManager[sqlite3.Connection]],
        outside: Callable[[str], AbstractContextManager[sqlite3.Connection]],
    ) -> None:
        self._transaction = transaction
        self._outside = outside

    def summary(self) -> dict[str, Any]:
        """Count what is there: answers, those without a text, tokens, dollars, claims, and dates."""
        with self._outside("read") as connection:
            row = connection.execute(
                "SELECT count(*), coalesce(sum(problem IS NOT NULL AND problem <> 'truncated'), 0), "
                "coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0), sum(cost), min(created), max(created) FROM answer"
            ).fetchone()
            claims = connection.execute(
                "SELECT (SELECT count(*) FROM claim) + (SELECT coalesce(sum(length(keys)), 0) / 16 FROM flight)"
            ).fetchone()[0]
            runs = connection.execute("SELECT count(*) FROM run").fetchone()[0]
        names = ("answers", "without_text", "prompt_tokens", "completion_tokens", "cost", "oldest", "newest")
        return {**dict(zip(names, row, strict=True)), "claims": claims, "runs": runs}

    def export(self) -> Iterator[dict[str, Any]]:
        """Yield every answer with its recipe, oldest first."""
        with self._outside("read") as connection:
            cursor = connection.execute(
                "SELECT lower(hex(key)) AS key, problem, detail, body, prompt_tokens, completion_tokens, cached_tokens, "
                "reasoning_tokens, cost, lane, tier, model, created, description AS recipe "
                "FROM answer JOIN recipe ON recipe.id = answer.recipe ORDER BY answer.id"
            )
            names = [column[0] for column in cursor.description]
            for row in cursor:
                record = dict(zip(names, row, strict=True))
                yield {
                    **record,
                    "body": load(record["body"]),
                    "recipe": orjson.loads(record["recipe"]),
                }

    def prune(self, before: float) -> int:
        """Delete answers from before this time (seconds since the epoch); return how many."""
        with self._transaction() as connection:
            pruned = connection.execute("DELETE FROM answer WHERE created < ?", (before,)).rowcount
            connection.execute("DELETE FROM run WHERE started < ?", (before,))
        with self._outside("written") as connection:
            connection.execute("VACUUM")
        return pruned
