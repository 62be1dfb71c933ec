"""Who adds to the results of a run: a lane's outcomes, and batches that others submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmframe._columns import CUT_OFF
from llmframe._values import Again, Failure, FaultKind, Outcome, Recorded, Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmframe._batch import BatchResult
    from llmframe._columns import Plan
    from llmframe._journal import BatchPart, Recorder
    from llmframe._run.results.results import Results
    from llmframe._values import Answer, Key, Verdict


class OutcomeSink:
    """Adds a lane's outcomes to the results and the journal.

    Parameters
    ----------
    output_bound
        The tokens that each request allows its answer; `None`: not stated.
    """

    def __init__(self, results: Results, recorder: Recorder, output_bound: int | None = None) -> None:
        self._results = results
        self._recorder = recorder
        self.output_bound = output_bound
        self.asked_once: set[Key] = set()
        """Requests with a recorded answer whose ending is unknown."""

    def add_outcome(self, outcome: Outcome) -> Recorded | None:
        """Add an outcome; return its answer's cost and the verb's verdict on it, if it has an answer."""
        answer, body = outcome.answer, outcome.body
        if answer is None or body is None:
            failure = outcome.failure or Failure("no_answer", "the lane brought no answer")
            self._results.add_failure(outcome.request.number, failure)
            self._recorder.release_claim(outcome.request.key)
            return None
        answer = answer._replace(
            output_bound=answer.output_bound or self.output_bound,
            request_bytes=len(outcome.request.body) or None,
        )
        verdict = self._judge(answer, body)
        cost = self._record(answer, verdict)
        if verdict.again is Again.ONCE:
            self.asked_once.add(answer.key)
        if verdict.again is None:
            self._results.add_paid(outcome, verdict, answer, cost)
        else:
            self._results.add_spend(outcome.request.number, answer, cost)
        return Recorded(cost, verdict)

    def _judge(self, answer: Answer, body: Mapping[str, Any]) -> Verdict:
        """Judge a body; an error in judging does not lose the paid answer."""
        try:
            return self._results.kind.judge(body)
        except BaseException:
            self._record(answer, None)
            raise

    def record(self, answer: Answer, body: Mapping[str, Any]) -> float | None:
        """Keep a paid answer that no request of this run waits for; return its cost in US dollars, if known."""
        return self._record(answer, self._judge(answer, body))

    def _record(self, answer: Answer, verdict: Verdict | None) -> float | None:
        """Keep a paid answer, whatever becomes of its price: one that broke off as what was spent, and not as an answer."""
        broke_off = verdict is not None and verdict.again is Again.PASSING
        cost = None
        try:
            cost = self._results.price(answer)
        finally:
            (self._recorder.add_spend if broke_off else self._recorder.add_answer)(answer, cost)
        return cost


class CollectedResults:
    """Adds results of batches that this run did not submit, whether it needs them or not.

    Parameters
    ----------
    since
        Seconds since the epoch; results of older batches are kept, but do not answer this run.
    """

    def __init__(self, plan: Plan, results: Results, sink: OutcomeSink, since: float) -> None:
        self._plan = plan
        self._results = results
        self._sink = sink
        self._since = since
        self._numbers: dict[Key, int] | None = None

    def add_result(self, result: BatchResult, part: BatchPart) -> float | None:
        """Add a result; return the cost of its answer in US dollars, if known."""
        number = self._number(result.key)
        needed = number >= 0 and part.created >= self._since and not self._results.has_outcome(number)
        if result.answer is not None and result.body is not None:
            # What an earlier call allowed its answers is not known; what they took is the least that it was.
            bound = result.answer.usage.completion if self._sink.output_bound is not None else None
            answer = result.answer._replace(asked=part.created, output_bound=bound or None)
            if needed and self._serves(answer, result.body):
                request = Request(result.key, number, b"")
                recorded = self._sink.add_outcome(Outcome(request, answer, result.body, None))
                return None if recorded is None else recorded.cost
            return self._sink.record(answer, result.body)
        fault = result.fault
        if needed and fault is not None and fault.kind in {FaultKind.ROW, FaultKind.PARAMETER}:
            self._results.add_failure(number, Failure(fault.code, fault.message))
        return None

    def _serves(self, answer: Answer, body: Mapping[str, Any]) -> bool:
        """Return whether an answer may be this call's: if it was cut off, it was given no less than this call gives."""
        wanted, given = self._sink.output_bound, answer.output_bound
        if wanted is None or given is None or given >= wanted:
            return True
        return self._results.kind.judge(body).problem not in CUT_OFF

    def _number(self, key: Key) -> int:
        if self._numbers is None:
            self._numbers = {known: number for number, known in enumerate(self._plan.keys)}
        return self._numbers.get(key, -1)
