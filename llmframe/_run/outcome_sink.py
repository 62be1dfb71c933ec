"""Where all that comes is taken in: outcomes of a lane, results of batches, and what other runs answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmframe._batch.reattach import in_open_batch
from llmframe._journal.lease import Lease
from llmframe._pacing.retry import Stop
from llmframe._run.feed import Recorder
from llmframe._values import Failure, Outcome, Request, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmframe._batch.lines import Result
    from llmframe._columns.plan import Plan
    from llmframe._errors import JournalError
    from llmframe._journal.protocol import Journal, Kept, Session
    from llmframe._journal.sqlite.batch_store import Part
    from llmframe._run.results import Score
    from llmframe._values import Key


class Intake:
    """Enters what comes into the score and the journal.

    Parameters
    ----------
    waits_for_batches
        Whether requests that are in an open batch are waited for; otherwise they end the run.
    halt
        Ends the run.
    """

    def __init__(
        self,
        plan: Plan,
        score: Score,
        journal: Journal,
        session: Session,
        halt: Callable[[Stop], None],
        *,
        waits_for_batches: bool,
    ) -> None:
        self.recorder = Recorder(journal, session, self.journal_failed)
        self.lease = Lease(journal, session, self.journal_failed)
        self.inherited = 0
        """Requests that a vanished run had claimed, and may have paid without keeping the answers."""
        self._plan = plan
        self._score = score
        self._since = session.since
        self._halt = halt
        self._waits_for_batches = waits_for_batches
        self._places: dict[Key, int] | None = None

    def hear(self, outcome: Outcome) -> float | None:
        """Take a lane's outcome; return what it cost."""
        cost = self._score.hear(outcome)
        if outcome.answer is None:
            self.recorder.gave_up(outcome.request.key)
        else:
            self.recorder.answered(outcome.answer, cost)
        return cost

    def take(self, result: Result, part: Part) -> float | None:
        """Take a result of a batch that this run did not submit, whether it asks for it or not."""
        index = self._place(result.key)
        asked = index >= 0 and part.created >= self._since and not self._score.settled(index)
        request = Request(result.key, index, b"")
        if result.answer is not None:
            answer = result.answer._replace(asked=part.created)
            if asked:
                return self.hear(Outcome(request, answer, None))
            cost = self._score.price(answer)
            self.recorder.answered(answer, cost)
            return cost
        fault = result.fault
        if asked and fault is not None and fault.trouble in {Trouble.ROW, Trouble.PARAMETER}:
            self._score.fail(index, Failure(fault.code, fault.message))
        return None

    def _place(self, key: Key) -> int:
        if self._places is None:
            self._places = {known: index for index, known in enumerate(self._plan.keys)}
        return self._places.get(key, -1)

    def settle(self, index: int, kept: Kept) -> None:
        """Take what another run answered meanwhile."""
        if not self._score.settled(index):
            self._score.recall(index, kept)

    def settled(self, index: int) -> bool:
        """Tell whether nothing more is to come for a request."""
        return self._score.settled(index)

    def taken_over(self, uncertain: int) -> None:
        """Count what a vanished run had claimed."""
        self.inherited += uncertain

    def in_batches(self, nonces: Sequence[str]) -> None:
        """Hear that another run is submitting requests of this one in batches."""
        if nonces and not self._waits_for_batches:
            self._halt(in_open_batch(["a batch of another run"]))

    def journal_failed(self, error: JournalError) -> None:
        """Stop sending: answers could not be kept."""
        self._halt(Stop("journal", str(error), "mend that; the answers so far are in the column"))
