"""Lists that are answered page by page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmframe.testing._requests import rules as r
from llmframe.testing._wire import Invalid

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` entries, those behind the one whose id is `after`."""

    limit: int
    after: str | None


def window(query: Mapping[str, str], *, most: int, default: int, more: tuple[str, ...] = ()) -> Window:
    """Read which page is asked for; `more` names what else a query may hold."""
    for name in query:
        if name not in {"limit", "after", *more}:
            raise r.unknown(name)
    limit = r.whole(query["limit"], "limit", r.integer(1, most)) if "limit" in query else default
    return Window(limit, query.get("after"))


def page(entries: list[dict[str, Any]], asked: Window) -> dict[str, Any]:
    """Return the part of a list that is asked for, in the API's shape."""
    start = 0
    if asked.after is not None:
        start = next((i for i, entry in enumerate(entries, 1) if entry["id"] == asked.after), -1)
        if start < 0:
            raise Invalid(f"Invalid 'after': there is no '{asked.after}' here.", "after", "invalid_value")
    shown = entries[start : start + asked.limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": start + asked.limit < len(entries),
    }
