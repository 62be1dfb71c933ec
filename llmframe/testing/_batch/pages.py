"""Lists that are answered page by page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmframe.testing._requests import integer
from llmframe.testing._wire import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` entries, those behind the one whose id is `after`."""

    limit: int
    after: str | None


def window(query: Mapping[str, str], check: Callable[[dict[str, Any]], None], *, default: int) -> Window:
    """Check a query and read from it which page is asked for."""
    values: dict[str, Any] = dict(query)
    if "limit" in values:
        values["limit"] = integer(values["limit"])
    check(values)
    return Window(values.get("limit", default), values.get("after"))


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
