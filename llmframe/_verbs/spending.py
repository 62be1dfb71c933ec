"""What was spent, by the journal: a table of all its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from llmframe._journal import journal_exists, open_journal
from llmframe._loop import ShortTraceback, submit
from llmframe._verbs.arguments import journal_in_use

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmframe._journal import Place, Spend
    from llmframe._keywords import JournalPlace

_TOKENS = ("uncached", "cached", "written", "output", "reasoning")
"""The classes of a `Usage`."""


@ShortTraceback()
def spend(journal: JournalPlace | None = None) -> pd.DataFrame:
    """Return what was spent, by day, model, verb and lane: what the paid answers in the journal took.

    Answers that broke off and were asked again are counted too. What was pruned (`llmframe journal prune`), what was asked
    with `journal=False`, and requests whose outcome is unknown (`Run.uncertain`) are not in it.

    Parameters
    ----------
    journal : path or address, optional
        The journal's file or database; by default that of the options. A file is not created.

    Returns
    -------
    DataFrame
        One row for each day, model, verb and lane, sorted by them: `day` (datetime, the date in UTC), `model` that was asked,
        `verb` (missing where that is unknown) and `lane` (`"live"`, `"batch"` or `"flex"`); `answers`; their tokens, each in
        one class: `uncached`, `cached`, `written`, `output`, `reasoning` (int64, as of `Run.tokens`); `cost` (US dollars, at
        the prices of the day; missing where none is known) and `unpriced`, the answers whose cost is unknown.

    Examples
    --------
    >>> import llmframe
    >>> list(llmframe.spend().columns[:5])
    ['day', 'model', 'verb', 'lane', 'answers']
    """
    place = journal_in_use(journal)
    if place is False or not journal_exists(place):
        return _table([])
    task = submit(lambda: _read(place))
    task.wait()
    return _table(task.future.result())


async def _read(place: Place) -> list[Spend]:
    async with open_journal(place) as journal:
        return await journal.spend()


def _table(spent: Sequence[Spend]) -> pd.DataFrame:
    days = pd.Series([pd.Timestamp(each.day, unit="D") for each in spent], dtype="datetime64[us]")
    texts: dict[str, Any] = {
        name: pd.Series([getattr(each, name) for each in spent], dtype="str")
        for name in ("model", "verb", "lane")
    }
    tokens = {
        name: pd.Series([getattr(each.usage, name) for each in spent], dtype="int64") for name in _TOKENS
    }
    return pd.DataFrame(
        {
            "day": days,
            **texts,
            "answers": pd.Series([each.answers for each in spent], dtype="int64"),
            **tokens,
            "cost": pd.Series([each.cost for each in spent], dtype="float64"),
            "unpriced": pd.Series([each.unpriced for each in spent], dtype="int64"),
        }
    )
