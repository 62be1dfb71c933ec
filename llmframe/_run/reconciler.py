"""A feed's access to its run: which requests have an outcome, and which answers other runs have recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmframe._batch import in_open_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmframe._journal import StoredAnswer
    from llmframe._run.results import Results
    from llmframe._values import Stop


class Reconciler:
    """Updates a run's results with the answers of other runs.

    Parameters
    ----------
    stop
        Stops the run.
    waits_for_batches
        Whether the run waits for requests in open batches; otherwise they stop the run.

    Attributes
    ----------
    inherited : int
        Requests that a run which no longer exists had claimed, and may have paid without keeping the answers.
    """

    def __init__(self, results: Results, stop: Callable[[Stop], None], *, waits_for_batches: bool) -> None:
        self.inherited = 0
        self._results = results
        self._stop = stop
        self._waits_for_batches = waits_for_batches

    def has_outcome(self, number: int) -> bool:
        """Return whether a request has its value or its failure."""
        return self._results.has_outcome(number)

    def reconcile(self, number: int, stored: StoredAnswer) -> None:
        """Add an answer that another run has recorded meanwhile."""
        if not self._results.has_outcome(number):
            self._results.add_stored(number, self._results.judge(stored))

    def add_inherited(self, uncertain: int) -> None:
        """Count requests that a run which no longer exists had claimed."""
        self.inherited += uncertain

    def on_batches(self, nonces: Sequence[str]) -> None:
        """Stop the run when requests of it are in another run's batches, unless it waits for batches."""
        if nonces and not self._waits_for_batches:
            self._stop(in_open_batch(["a batch of another run"]))
