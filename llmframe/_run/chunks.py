"""What the runs of a file's chunks have in common, and what the journal knows of a file's call."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from llmframe._columns import Together
from llmframe._errors import JournalError
from llmframe._journal import journal_path, open_journal
from llmframe._loop import submit
from llmframe._pacing import Budget, BudgetShare

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from llmframe._columns import Plan
    from llmframe._journal import Journal
    from llmframe._run.settings import RunSettings

RecipeRecord: TypeAlias = "tuple[bytes, Mapping[str, Any]]"
"""The digest of what is asked, and its description."""


def recipe_of(plan: Plan) -> RecipeRecord:
    """Return what identifies in a journal what is asked of each row."""
    return plan.recipe_digest, plan.recipes[0].describe()


def is_open(settings: RunSettings, recipe: RecipeRecord, identity: bytes) -> bool:
    """Return whether the journal has a call with this identity that was begun and not finished."""

    async def look(journal: Journal) -> bool:
        session = await journal.begin(*recipe, fresh=identity, sends=False)
        known = session.since < session.began
        await journal.end(session, {}, finished=not known)
        return known

    place = settings.journal
    if place is False or (isinstance(place, bool | Path) and not journal_path(place).exists()):
        return False  # and none is made for the question
    return _with_journal(settings, look)


def leave(settings: RunSettings, recipe: RecipeRecord, identity: bytes, *, is_open: bool) -> None:
    """Let the journal have a call with this identity, begun and not finished, or finished."""

    async def begin_and_end(journal: Journal) -> bool:
        session = await journal.begin(*recipe, fresh=identity, sends=False)
        await journal.end(session, {}, finished=not is_open)
        return True

    if settings.journal is not False:
        _with_journal(settings, begin_and_end)


def _with_journal(settings: RunSettings, use: Callable[[Journal], Awaitable[bool]]) -> bool:
    async def with_open_journal() -> bool:
        async with open_journal(settings.journal, settings.tuning) as journal:
            return await use(journal)

    with suppress(JournalError):  # whose run has said so
        return submit(with_open_journal).future.result()
    return False


@dataclass
class SharedByChunks:
    """What the runs of a file's chunks have in common.

    Attributes
    ----------
    identity : bytes
        Identifies the file's run, which a fresh one continues.
    plans : Together
        What their plans have in common.
    budget : Budget or None
        What they may spend together.
    recipe : tuple or None
        What is asked of each row, when it is known.
    """

    identity: bytes
    plans: Together = field(default_factory=Together)
    budget: Budget | None = None
    recipe: RecipeRecord | None = None
    began: float = field(default_factory=time.time)
    """When the first of them began, in seconds since the epoch: what was answered since is not asked again."""
    _runs: int = 0

    def budget_of(self, budget: Budget) -> Budget:
        """Return a run's share of what all may spend together, of which the first one brings the cap."""
        if self.budget is None:
            self.budget = budget
        self._runs += 1
        return BudgetShare(self.budget, self._runs)
