"""The execution of one call: answers from the journal first, then a lane for the other requests; results, bar, cost.

A `Run` holds the state of a call during and after its work; `start`, `run_to_end` and `await_run` begin it on the
loop to which its client belongs; `estimate` tells what it would cost instead. The verb decides how its answers are written.
"""

from llmframe._run.chunks import SharedByChunks, is_open, leave, recipe_of
from llmframe._run.estimates import Estimate, await_estimate, check_dry_run, estimate
from llmframe._run.joined import FileRun, JoinedRun, ended_early, stop_run, wait_for_one
from llmframe._run.lanes import make_collector
from llmframe._run.money import Prices
from llmframe._run.progress_bar import say
from llmframe._run.results import Results
from llmframe._run.run import Run, result_without_rows, wait_for, written
from llmframe._run.settings import AccountSettings, Asking, Rung, RunSettings, Verb
from llmframe._run.starting import await_run, last_run, look_up, run_to_end, set_last_run, start

__all__ = [
    "AccountSettings",
    "Asking",
    "Estimate",
    "FileRun",
    "JoinedRun",
    "Prices",
    "Results",
    "Run",
    "RunSettings",
    "Rung",
    "SharedByChunks",
    "Verb",
    "await_estimate",
    "await_run",
    "check_dry_run",
    "ended_early",
    "estimate",
    "is_open",
    "last_run",
    "leave",
    "look_up",
    "make_collector",
    "recipe_of",
    "result_without_rows",
    "run_to_end",
    "say",
    "set_last_run",
    "start",
    "stop_run",
    "wait_for",
    "wait_for_one",
    "written",
]
