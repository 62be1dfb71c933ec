"""When a request may leave, and whether it is tried again: decisions only, without clock, I/O or event loop.

`Pace` counts the requests in flight and applies every limit (a window, the limits that the server states, a rate that
is learnt); `RetryPolicy` decides what a fault means for its row and for the run. Callers pass `now`, seconds on a
monotonic clock.
"""

from llmframe._pacing.headers import RateHeaders, retry_after
from llmframe._pacing.pace import Pace
from llmframe._pacing.refusals import (
    evenly,
    is_lasting,
    is_of_the_moment,
    refusal_kind,
    remedy,
    row_remedy,
    stated_status,
)
from llmframe._pacing.retry import NO_KEY, Attempts, GiveUp, Patience, Retry, RetryPolicy, StopRun
from llmframe._pacing.token_bucket import Ticket

__all__ = [
    "NO_KEY",
    "Attempts",
    "GiveUp",
    "Pace",
    "Patience",
    "RateHeaders",
    "Retry",
    "RetryPolicy",
    "StopRun",
    "Ticket",
    "evenly",
    "is_lasting",
    "is_of_the_moment",
    "refusal_kind",
    "remedy",
    "retry_after",
    "row_remedy",
    "stated_status",
]
