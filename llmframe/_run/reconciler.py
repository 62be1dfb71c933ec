"""What a feed asks of its run: what is settled already, and what the answers of other runs mean for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmframe._batch import in_open_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmframe._journal import StoredAnswer
    from llmframe._run.results import Results
    from llmframe._values import Stop


class Reconciler:
    """Brings a run's results in line with what other runs did meanwhile.

    Parameters
    ----------
    halt
        Ends the run.
    waits_for_batches
        Whether requests that are in an open batch are waited for; otherwise they end the run.

    Attributes
    ----------
    inherited : int
        Requests that a vanished run had claimed, and may have paid without keeping the answers.
    """

    def __init__(self, results: Results, halt: Callable[[Stop], None], *, waits_for_batches: bool) -> None:
        self.inherited = 0
        self._results = results
        self._halt = halt
        self._waits_for_batches = waits_for_batches

    def is_settled(self, number: int) -> bool:
        """Tell whether nothing more is to come for a request."""
        return self._results.is_settled(number)

    def reconcile(self, number: int, stored: StoredAnswer) -> None:
        """Take an answer that another run was given meanwhile."""
        if not self._results.is_settled(number):
            self._results.add_stored(number, self._results.judge(stored))

    def add_inherited(self, uncertain: int) -> None:
        """Count what a vanished run had claimed."""
        self.inherited += uncertain

    def on_batches(self, nonces: Sequence[str]) -> None:
        """End the run where another run has requests of this one in batches, unless batches are waited for."""
        if nonces and not self._waits_for_batches:
            self._halt(in_open_batch(["a batch of another run"]))
