"""The pages of a list: which is asked for next, and when all have been read. This module only decides.

A list that cannot be read to its end must not be taken for a short one: its batches would be paid a second time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmframe._api.batch_states import text
from llmframe._pacing import StopRun
from llmframe._values import Stop

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_STALLED = 5
"""After this many pages in succession without a new entry, although more are announced, the list cannot be read."""
_MOST_PAGES = 1_000


class UnreadablePagesError(StopRun):
    """The pages of a list do not come to an end, or one is no page."""

    def __init__(self, message: str) -> None:
        super().__init__(Stop("unparsable_answer", message, "mend the server's list"))


class Pages:
    """Follows the pages of one list by `after`.

    OpenAI's cursor is the id of a page's last entry; a server with cursors of its own names them in `last_id`. Some
    servers announce no further pages: the list then ends with an empty page, or with the first one again where a
    server ignores `after` and has sent all of its entries at once.

    Parameters
    ----------
    limit
        How many entries a page is asked to have.
    """

    def __init__(self, limit: int) -> None:
        self.after: str | None = None
        """The cursor of the next page; `None` for the first one."""
        self.complete = False
        self.stalled = 0
        """The number of pages in succession that brought nothing new."""
        self._limit = limit
        self._pages = 0
        self._ids: set[str] = set()
        self._tried: set[str] = set()
        self._untried: list[str] = []
        """Cursors of the last page with new entries, and of those after it."""

    def add(self, page: object) -> list[dict[str, Any]]:
        """Add a page as the server sent it, and return its entries that are on no earlier page.

        Raises
        ------
        UnreadablePagesError
            When the list cannot be read to its end.
        """
        entries, page = _entries(page)
        ids = [text(entry.get("id")) for entry in entries]
        new = [entry for entry, name in zip(entries, ids, strict=True) if name not in self._ids]
        self._ids.update(name for name in ids if name)
        self.stalled = 0 if new else self.stalled + 1
        self._pages += 1
        self._follow(page, [*ids[-1:], text(page.get("last_id"))], shown=len(entries))
        return new

    def _follow(self, page: Mapping[str, Any], cursors: list[str | None], shown: int) -> None:
        more = _flag(page.get("has_more"))
        if not self.stalled:
            self._untried.clear()
        self._untried += (each for each in cursors if each and each not in self._tried)
        cursor = self._untried[0] if self._untried else None
        whole = cursor is None and shown != self._limit
        if more is False or (more is None and (not shown or whole)):
            self.complete = True
        elif cursor is None and shown:
            raise UnreadablePagesError("the server announces more pages, but sends the same one again")
        elif self.stalled >= _MOST_STALLED or self._pages >= _MOST_PAGES:
            raise UnreadablePagesError("the server announces more pages, but sends nothing new")
        elif cursor is not None:
            self._tried.add(cursor)
            self._untried = [each for each in self._untried if each != cursor]
            self.after = cursor


def _entries(page: object) -> tuple[list[dict[str, Any]], Mapping[str, Any]]:
    """Return the entries of a page, and the page; a bare list is one, and null has no entries."""
    if isinstance(page, list):
        page = {"data": page}
    data = page.get("data", page) if isinstance(page, dict) else page
    if isinstance(page, dict) and (data is None or isinstance(data, list)):
        entries = [each for each in data or () if each is not None]
        if all(isinstance(each, dict) for each in entries):
            return entries, page
    raise UnreadablePagesError("the answer is no page of a list")


def _flag(value: object) -> bool | None:
    """Return what `has_more` says; `None` where it is absent or no answer."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    return bool(value) if isinstance(value, int) else None
