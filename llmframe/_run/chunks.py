"""What the runs of a file's chunks have in common: one cap, one fresh start, and one count of duplicates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmframe._columns import Together
from llmframe._pacing import Budget, BudgetShare

if TYPE_CHECKING:
    from collections.abc import Mapping


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
        The digest and the description of what is asked, when it is known.
    """

    identity: bytes
    plans: Together = field(default_factory=Together)
    budget: Budget | None = None
    recipe: tuple[bytes, Mapping[str, Any]] | None = None
    _runs: int = 0

    def budget_of(self, budget: Budget) -> Budget:
        """Return a run's share of what all may spend together, of which the first one brings the cap."""
        if self.budget is None:
            self.budget = budget
        self._runs += 1
        return BudgetShare(self.budget, self._runs)
