"""The results of a run so far: values and failures of its requests and rows, tokens and dollars."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from llmframe._columns import RequestUsage
from llmframe._json import load
from llmframe._pacing import RungPolicy
from llmframe._run.money import Account
from llmframe._run.results.row_tables import RowTables
from llmframe._values import PARTLY, Failure

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import pandas as pd

    from llmframe._columns import Plan
    from llmframe._journal import StoredAnswer
    from llmframe._run.money import Prices
    from llmframe._values import Answer, AnswerKind, Outcome, Usage, Verdict


class Results:
    """Collects verdicts and failures of distinct requests, and returns values and reasons of rows.

    Attributes
    ----------
    rungs : RungPolicy
        By which rung is asked; it is given every verdict.
    account : Account
        What the answers cost, and what was not to be paid.
    answered, failed, truncated, partly : int
        Rows; those that are answered partly are not among the answered ones.
    rows_from_journal : int
        Rows that were answered from the journal.
    from_journal, asked : int
        Distinct requests from the journal, also those without an answer; distinct requests that were answered now.
    latencies, arrivals, costs : array of float
        The latency of each paid answer, its arrival since the run began, in seconds, and the US dollars that became known as
        spent since the arrival before.
    """

    def __init__(  # noqa: PLR0917 (what decides the results of a call)
        self,
        plan: Plan,
        kind: AnswerKind,
        prices: Prices,
        model: str,
        most_reasks: int = 0,
        rungs: RungPolicy | None = None,
    ) -> None:
        self.kind = kind
        self.rungs = rungs or RungPolicy(())
        self.answered = 0
        self.failed = len(plan.refused)
        self.truncated = 0
        self.partly = 0
        self.from_journal = 0
        self.rows_from_journal = 0
        self.asked = 0
        self.account = Account(prices, model)
        self.latencies = array("f")
        self.arrivals = array("f")
        self.costs = array("f")
        self._since_arrival = 0.0
        self._plan = plan
        self._tables = RowTables(plan)
        self._values = kind.storage(len(plan.keys), plan.texts)
        self._usage = self._values if isinstance(self._values, RequestUsage) else None
        """What each request took, where the call asks for that."""
        self._has_value = bytearray(len(plan.keys))
        self._distinct, self._draws = plan.distinct, plan.draws
        self._missing_draws = array("i", [self._draws]) * plan.distinct if self._draws > 1 else None
        """How many draws of each answer have no value yet."""
        self._paid_draws: set[int] = set()
        """The answers of several draws of which one was paid now."""
        self._began = time.monotonic()
        self._rows_of: list[int] = np.bincount(plan.codes[plan.codes >= 0], minlength=plan.distinct).tolist()
        self._failures: dict[int, Failure] = {}
        self._partial: dict[int, Failure] = {}
        """What of a value is missing, and why."""
        self._kept: dict[int, tuple[Verdict, StoredAnswer]] = {}
        """Stored answers with a part of their value, of requests that are asked again."""
        self._most_reasks = most_reasks
        self._reasks: Counter[int] = Counter()
        self._to_correct: dict[int, tuple[str, str]] = {}
        self._reopened: dict[int, Failure] = {}
        self._closed_again = 0
        self._first_misfits: dict[int, Failure] = {}
        self._reasked_now: set[int] = set()

    @property
    def cost(self) -> float | None:
        """US dollars of the paid answers whose cost is known; `None` where that is none of them."""
        return self.account.cost

    @property
    def tokens(self) -> Usage:
        """Tokens of the paid answers."""
        return self.account.tokens

    @property
    def unpriced(self) -> int:
        """Paid answers whose cost is unknown."""
        return self.account.unpriced

    @property
    def rows(self) -> int:
        """The selected rows of the call."""
        selected = self._plan.selected
        return self._plan.rows if selected is None else int(selected.sum())

    @property
    def to_answer(self) -> int:
        """The selected rows, except the skipped ones."""
        return self.rows - sum(self._plan.skipped.values())

    @property
    def duplicates(self) -> int:
        """Rows that share the request of another row."""
        return self.to_answer - len(self._plan.refused) - self._distinct

    @property
    def finished(self) -> int:
        """Rows with their value, all or a part of it, or their failure."""
        return self.answered + self.partly + self.failed

    @property
    def unfinished(self) -> int:
        return self.to_answer - self.finished

    def has_outcome(self, number: int) -> bool:
        """Return whether a request has its value or its failure."""
        return bool(self._has_value[number]) or number in self._failures

    def price(self, answer: Answer) -> float | None:
        """Return the cost of an answer in US dollars; `None` where its model's price or its tokens are unknown."""
        return self.account.price(answer)

    def judge(self, stored: StoredAnswer) -> Verdict:
        """Decide what a stored body means for this run's verb."""
        return self.kind.judge(load(stored.body))

    def add_stored(self, number: int, verdict: Verdict, stored: StoredAnswer) -> None:
        """Add an answer from the journal, and the verdict on it."""
        self.account.add_stored(stored.cost, self._copies(number))
        if self._usage is not None:
            self._usage.add(number, stored.usage, 0.0)
        self._reasked_now.discard(number)
        self.from_journal += 1
        rows = self._add_verdict(number, verdict, attempts=0, stored=True)
        if self._draws == 1 or number // self._draws not in self._paid_draws:
            self.rows_from_journal += rows

    def keep(self, number: int, verdict: Verdict, stored: StoredAnswer) -> None:
        """Keep a stored answer for which another one is asked, and the verdict on it."""
        if verdict.value is not None:
            self._kept[number] = verdict, stored

    def restore_kept(self) -> None:
        """Add the kept verdicts of requests that were asked again without getting an answer."""
        for number, kept in self._kept.items():
            failure = self._failures.get(number)
            if self._has_value[number] or (failure is not None and failure.paid):
                continue
            if failure is not None:
                del self._failures[number]
                self.failed -= self._failed_by(number)
            self.add_stored(number, *kept)
            if failure is not None:
                self._partial[number] = failure
        self._kept.clear()

    def add_paid(self, outcome: Outcome, verdict: Verdict, answer: Answer, cost: float | None) -> None:
        """Add a lane's paid answer, its cost in US dollars, if known, and the verdict on it."""
        number = outcome.request.number
        self.add_spend(number, answer, cost, copies=self._copies(number))
        self.latencies.append(outcome.seconds)
        self.arrivals.append(time.monotonic() - self._began)
        self.costs.append(self._since_arrival)
        self._since_arrival = 0.0
        if self._draws > 1:
            self._paid_draws.add(number // self._draws)
        self._add_verdict(number, verdict, outcome.attempts)
        self.asked += verdict.value is not None

    def add_spend(self, number: int, answer: Answer, cost: float | None, *, copies: int = 0) -> None:
        """Add what a paid answer took: its tokens, and US dollars if they are known; `copies` as of an account."""
        self.account.add_paid(answer, cost, copies)
        self._since_arrival += cost or 0.0
        if self._usage is not None:
            self._usage.add(number, answer.usage, cost)

    def _copies(self, number: int) -> int:
        """Return how many rows have the answer to a request beyond the first."""
        return self._rows_of[number // self._draws] - 1

    def _add_verdict(self, number: int, verdict: Verdict, attempts: int, *, stored: bool = False) -> int:
        """Add a value or a failure; return how many rows it answers."""
        value, problem = verdict.value, verdict.problem
        self.rungs.on_verdict(verdict, stored=stored)
        if value is None:
            failure = Failure(problem or "empty", verdict.detail, attempts, paid=True, raw=verdict.raw)
            self.add_failure(number, failure)
            if (correction := self.correction_of(number, verdict)) is not None:
                self._to_correct[number] = (verdict.raw or "", correction)
            return 0
        self._values[number] = value
        self._has_value[number] = True
        rows = self._answered_by(number)
        if problem == PARTLY:
            self.partly += rows
            self._partial[number] = Failure("refusal", verdict.detail, attempts, paid=True)
            return 0
        self.answered += rows
        if problem is not None:
            self.truncated += rows
        return rows

    def add_failure(self, number: int, failure: Failure) -> None:
        """Add a request's reason for having no answer."""
        self.failed += self._failed_by(number)
        self._failures[number] = failure

    def _answered_by(self, number: int) -> int:
        """Return how many rows this value answers: with several draws, only the last one answers them."""
        first = number // self._draws
        if self._missing_draws is not None:
            self._missing_draws[first] -= 1
            if self._missing_draws[first]:
                return 0
        return self._rows_of[first]

    def _failed_by(self, number: int) -> int:
        """Return how many rows fail by this failure alone: with several draws, one that fails is enough."""
        draws = range(number // self._draws * self._draws, (number // self._draws + 1) * self._draws)
        alone = self._draws == 1 or not any(draw in self._failures for draw in draws if draw != number)
        return self._rows_of[number // self._draws] if alone else 0

    def correction_of(self, number: int, verdict: Verdict) -> str | None:
        """Return what is wrong with an answer that does not fit, if it is to be asked again with that; otherwise `None`."""
        return verdict.correction if self._reasks[number] < self._most_reasks else None

    def reopen(self) -> dict[int, tuple[str, str]]:
        """Take back the failures for which an answer that fits is asked for; return the answers, and what is wrong with them."""
        corrections, self._to_correct = self._to_correct, {}
        for number in corrections:
            self._take_back(number)
            self._reasked_now.add(number)
            self._reasks[number] += 1
        return corrections

    @property
    def to_reask(self) -> int:
        """Requests whose answer does not fit, and that the run has not come to ask again."""
        return len(self._to_correct) + self._closed_again

    def reopen_all(self) -> list[int]:
        """Take back all failures, as they were of answers that were asked for in another way; return what has no value."""
        self._to_correct = {}
        for number in list(self._failures):
            self._take_back(number)
        return [number for number, has_value in enumerate(self._has_value) if not has_value]

    def _take_back(self, number: int) -> None:
        failure = self._reopened[number] = self._failures.pop(number)
        self.failed -= self._failed_by(number)
        self.from_journal -= _is_stored(failure)

    def close_again(self) -> None:
        """Put those back that have got no other outcome; the others have been asked again."""
        for number, failure in self._reopened.items():
            if not self.has_outcome(number):
                self._closed_again += 1
                self.add_failure(number, failure)
                self.from_journal += _is_stored(failure)
                self._reasked_now.discard(number)
            elif self._reasks[number]:
                self._first_misfits.setdefault(number, failure)
        self._reopened.clear()

    @property
    def unsure(self) -> int:
        """Rows of which a value is missing because it is not sure enough."""
        return self.kind.unsure(self._values, self._plan.codes)

    def by_row(self) -> Any:
        """Return each row's value so far, by position."""
        return self.kind.rows(self._values, self._plan.codes, self._plan.labels)

    def columns(self, index: pd.Index, names: Sequence[Hashable]) -> list[pd.Series]:
        """Make the columns of the values so far."""
        return self.kind.columns(self._values, self._plan.codes, index, names)

    def reasons(self) -> dict[int, Failure]:
        """Map the positions of failed rows to their reasons, in order."""
        failed = self._tables.by_position(self._failures | self._partial)
        return dict(sorted({**self._plan.refused, **failed}.items()))

    def reasons_by_row(self, ending: str) -> list[str | None]:
        """Return for each row one line that says why it has no value; `ending` is the reason of rows that were not sent."""
        return self._tables.explained(self.reasons(), self._is_answered, ending)

    def _is_answered(self, code: int) -> bool:
        return bool(self._has_value[code] if self._missing_draws is None else not self._missing_draws[code])

    def failed_by(self, code: str) -> list[int]:
        """Return the distinct requests, draws aside, that failed by this code in any draw."""
        return [number // self._draws for number, failure in self._failures.items() if failure.code == code]

    def unsent(self) -> dict[str, str]:
        """Say by column why rows were not sent: `"review missing"`."""
        return self._tables.unsent()

    def failures(self) -> pd.DataFrame:
        """Return one line for each failed row."""
        return self._tables.table(self.reasons(), raw=self.kind.shows_raw)

    @property
    def rows_reasked(self) -> int:
        """Rows whose answer did not fit and was asked again by this run."""
        distinct = {number // self._draws for number in self._reasked_now.copy()}
        return sum(self._rows_of[number] for number in distinct)

    def reasked(self) -> pd.DataFrame:
        """Return one line for each row whose answer was asked again, with what was wrong with the first."""
        return self._tables.table(self._tables.by_position(self._first_misfits), raw=True)


def _is_stored(failure: Failure) -> bool:
    """Return whether a failure is the verdict on an answer from the journal."""
    return failure.paid and not failure.attempts
