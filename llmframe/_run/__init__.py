"""The execution of one call: answers from the journal first, then a lane for the other requests; results, bar, cost.

A `Run` holds the state of a call during and after its work; `start`, `run_to_end` and `await_run` begin it on the
loop to which its client belongs. The verb decides how its answers are written.
"""

from llmframe._run.lanes import make_collector
from llmframe._run.money import Estimate, Prices
from llmframe._run.progress_bar import say
from llmframe._run.results import Results
from llmframe._run.run import Run, result_without_rows, wait_for
from llmframe._run.settings import AccountSettings, Asking, Rung, RunSettings, Verb
from llmframe._run.starting import await_run, last_run, run_to_end, start

__all__ = [
    "AccountSettings",
    "Asking",
    "Estimate",
    "Prices",
    "Results",
    "Run",
    "RunSettings",
    "Rung",
    "Verb",
    "await_run",
    "last_run",
    "make_collector",
    "result_without_rows",
    "run_to_end",
    "say",
    "start",
    "wait_for",
]
