"""One call carried out: the journal's answers first, then a lane for the rest; its results, its bar, its cost.

A `Run` holds all that is known of a call while and after it works; `start`, `run_to_end` and `await_run` begin it on
the loop where its client belongs. How a verb writes its answers is the verb's own, given as `WriteBack`.
"""

from llmframe._run.lanes import make_collector
from llmframe._run.prices import Prices
from llmframe._run.results import Results
from llmframe._run.run import Run, WriteBack
from llmframe._run.settings import AccountSettings, RunSettings, Verb
from llmframe._run.starting import await_run, last_run, run_to_end, start

__all__ = [
    "AccountSettings",
    "Prices",
    "Results",
    "Run",
    "RunSettings",
    "Verb",
    "WriteBack",
    "await_run",
    "last_run",
    "make_collector",
    "run_to_end",
    "start",
]
