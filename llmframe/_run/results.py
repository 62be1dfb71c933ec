"""What is known of a run's rows so far: answers, reasons, tokens and dollars."""

from __future__ import annotations

import time
from array import array
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from llmframe._columns.text_answers import content
from llmframe._columns.write_back import spread
from llmframe._json import load
from llmframe._values import Failure, Usage

if TYPE_CHECKING:
    from llmframe._columns.plan import Plan
    from llmframe._journal.protocol import Kept
    from llmframe._run.prices import Prices
    from llmframe._values import Answer, Outcome


class Score:
    """Takes answers and failures of distinct requests, and speaks of rows.

    Attributes
    ----------
    answers : list of str or None
        The text of each distinct request of the plan, as far as it is there.
    answered, failed, truncated : int
        Rows.
    from_journal : int
        Distinct requests.
    latencies, arrivals : array of float
        Seconds that each paid answer took, and when it came, since the run began.
    """

    def __init__(self, plan: Plan, prices: Prices, model: str) -> None:
        self.answers: list[str | None] = [None] * len(plan.keys)
        self.answered = 0
        self.failed = len(plan.refused)
        self.truncated = 0
        self.from_journal = 0
        self._tokens = [0, 0, 0, 0]
        self.latencies = array("f")
        self.arrivals = array("f")
        self._plan = plan
        self._prices = prices
        self._model = model
        self._began = time.monotonic()
        self._rows_of: list[int] = np.bincount(plan.codes[plan.codes >= 0], minlength=len(plan.keys)).tolist()
        self._failures: dict[int, Failure] = {}
        self._spent = 0.0
        self._priced = True

    @property
    def cost(self) -> float | None:
        """US dollars of the paid answers; `None` where a price is unknown."""
        return self._spent if self._priced else None

    @property
    def tokens(self) -> Usage:
        """Tokens of the paid answers."""
        return Usage(*self._tokens)

    @property
    def rows(self) -> int:
        """Rows that the call was to ask."""
        selected = self._plan.selected
        return self._plan.rows if selected is None else int(selected.sum())

    @property
    def to_answer(self) -> int:
        """Rows that have a prompt, or should have had one."""
        return self.rows - sum(self._plan.skipped.values())

    @property
    def unfinished(self) -> int:
        return self.to_answer - self.answered - self.failed

    def settled(self, index: int) -> bool:
        """Tell whether a request has its answer, or its reason for having none."""
        return self.answers[index] is not None or index in self._failures

    def price(self, answer: Answer) -> float | None:
        """Say what an answer cost, in US dollars; `None` where its model's price is unknown."""
        return self._prices.cost(answer.model, self._model, answer.usage, answer.lane, answer.tier)

    def recall(self, index: int, kept: Kept) -> None:
        """Take an answer from the journal."""
        self.from_journal += 1
        text = content(load(kept.body))[0]
        self._take(index, text, kept.problem, kept.detail, attempts=0)

    def hear(self, outcome: Outcome) -> float | None:
        """Take a lane's outcome; return what its answer cost, if there is one and its price is known."""
        request, answer, failure, attempts, seconds = outcome
        index = request.number
        if answer is None:
            self.fail(index, failure or Failure("no_answer", "the lane brought no answer"))
            return None
        cost = self.price(answer)
        self._count(answer.usage)
        if cost is None:
            self._priced = False
        else:
            self._spent += cost
        self.latencies.append(seconds)
        self.arrivals.append(time.monotonic() - self._began)
        self._take(index, answer.text, answer.problem, answer.detail, attempts)
        return cost

    def _count(self, usage: Usage) -> None:
        tokens = self._tokens
        tokens[0] += usage[0]
        tokens[1] += usage[1]
        tokens[2] += usage[2]
        tokens[3] += usage[3]

    def _take(self, index: int, text: str | None, problem: str | None, detail: str, attempts: int) -> None:
        if text is None:
            self.fail(index, Failure(problem or "empty", detail, attempts))
            return
        rows = self._rows_of[index]
        self.answers[index] = text
        self.answered += rows
        if problem is not None:
            self.truncated += rows

    def fail(self, index: int, failure: Failure) -> None:
        """Take a request's reason for having no answer."""
        self._failures[index] = failure
        self.failed += self._rows_of[index]

    def by_row(self) -> list[str | None]:
        """Each row's answer so far, by position."""
        return spread(self.answers, self._plan.codes)

    def reasons(self) -> dict[int, Failure]:
        """Map the positions of failed rows to their reasons, in order."""
        reasons = dict(self._plan.refused)
        codes = self._plan.codes
        numbers = np.fromiter(self._failures, dtype=np.int32, count=len(self._failures))
        for position in np.flatnonzero(np.isin(codes, numbers)).tolist():
            reasons[position] = self._failures[int(codes[position])]
        return dict(sorted(reasons.items()))

    def explanations(self, ending: str) -> list[str | None]:
        """Say in one line for each row why it has no answer; `ending` says it of rows that were not tried."""
        reasons = self.reasons()
        return [self._explain(position, reasons, ending) for position in range(self._plan.rows)]

    def _explain(self, position: int, reasons: dict[int, Failure], ending: str) -> str | None:
        reason = reasons.get(position)
        if reason is not None:
            return f"{reason.code}: {reason.message}"
        column = self._plan.skipped_for(position)
        if column is not None:
            return f"not sent: {column} is missing or blank"
        code = int(self._plan.codes[position])
        return None if code < 0 or self.answers[code] is not None else f"not asked: {ending}"

    def failures(self) -> pd.DataFrame:
        """Give a line for each failed row."""
        lines: list[dict[str, Any]] = [
            {
                "position": position,
                "label": self._plan.labels[position],
                "code": reason.code,
                "message": reason.message,
                "attempts": reason.attempts,
            }
            for position, reason in self.reasons().items()
        ]
        return pd.DataFrame(lines, columns=["position", "label", "code", "message", "attempts"])
