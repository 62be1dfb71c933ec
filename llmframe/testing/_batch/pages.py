"""Pagination of lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmframe.testing._requests import integer
from llmframe.testing._wire import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class PageQuery:
    """A query for at most `limit` entries that follow the one whose id is `after`."""

    limit: int
    after: str | None


def page_query(
    query: Mapping[str, str], check: Callable[[dict[str, Any]], None], *, default: int
) -> PageQuery:
    """Return the query of a page, or raise `Invalid`."""
    values: dict[str, Any] = dict(query)
    if "limit" in values:
        values["limit"] = integer(values["limit"])
    check(values)
    return PageQuery(values.get("limit", default), values.get("after"))


def page(entries: list[dict[str, Any]], query: PageQuery) -> dict[str, Any]:
    """Return one page of a list in the API's shape."""
    start = 0
    if query.after is not None:
        start = next((i for i, entry in enumerate(entries, 1) if entry["id"] == query.after), -1)
        if start < 0:
            raise Invalid(f"Invalid 'after': there is no '{query.after}' here.", "after", "invalid_value")
    shown = entries[start : start + query.limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": start + query.limit < len(entries),
    }
