"""When a request may leave, and whether it is tried again: decisions only, without clock, I/O or event loop.

`Pace` counts an account's requests in flight and applies every limit (a window, the limits that the server or the user
states, a rate that is learnt), and each run takes part by its `RunPace`; `RetryPolicy` decides what a fault means for
its row and for the run. Callers pass `now`, seconds on a monotonic clock.
"""

from llmframe._pacing.budget import OVER_BUDGET, Budget, BudgetShare, Fit
from llmframe._pacing.headers import RateHeaders, retry_after
from llmframe._pacing.pace import Pace, RunPace
from llmframe._pacing.refusals import (
    ASK_AGAIN,
    concerns_answer_form,
    evenly,
    is_lasting,
    is_of_the_moment,
    names_answer_form,
    refusal_kind,
    remedy,
    row_remedy,
    stated_status,
)
from llmframe._pacing.retry import NO_KEY, Attempts, GiveUp, Patience, Retry, RetryPolicy, StopRun
from llmframe._pacing.rungs import FIRST_ANSWERS, RungPolicy
from llmframe._pacing.ticket import Ticket

__all__ = [
    "ASK_AGAIN",
    "FIRST_ANSWERS",
    "NO_KEY",
    "OVER_BUDGET",
    "Attempts",
    "Budget",
    "BudgetShare",
    "Fit",
    "GiveUp",
    "Pace",
    "Patience",
    "RateHeaders",
    "Retry",
    "RetryPolicy",
    "RunPace",
    "RungPolicy",
    "StopRun",
    "Ticket",
    "concerns_answer_form",
    "evenly",
    "is_lasting",
    "is_of_the_moment",
    "names_answer_form",
    "refusal_kind",
    "remedy",
    "retry_after",
    "row_remedy",
    "stated_status",
]
