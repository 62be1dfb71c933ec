"""Errors, runs, options and option contexts through pools of processes, in every way of starting them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from end_to_end.scripts import PATIENCE, ended, start_script

from llmframe.testing import Fault

if TYPE_CHECKING:
    from pathlib import Path

    from llmframe.testing import LocalServer

pytestmark = pytest.mark.slow

TASKS = """
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

SECRET = "sk-proj-0123456789abcdefghij"
context = llmframe.option_context(api_key=SECRET, model="gpt-6-luna", errors="raise", progress=False)

def fail(context):
    with context:
        llmframe.complete(["x", "bad"])

def stop(context):
    with context:
        llmframe.complete(["no quota"])

def ask_without_a_journal(context):
    with context:
        llmframe.complete(["x"], journal="script.py")

def coerce(context):
    with context, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        llmframe.complete(["x", "bad"], errors="coerce")
    return llmframe.last_run(), caught[0].message

def settings(options, context):
    with context:
        return options, options.api_key, options.model

def tell(call):
    for task in (fail, stop, ask_without_a_journal):
        try:
            call(task, context)
        except llmframe.LLMFrameError as error:
            print(type(error).__name__, "Traceback" in str(error.__cause__))
            if isinstance(error, llmframe.CompletionError):
                print(error.code, error.counts, error.failures["label"].tolist(), error.run, error.result)
    run, warning = call(coerce, context)
    print(run.status, run.done(), run.answered, run.failed, run.values[1], type(warning).__name__)
    options, *values = call(settings, llmframe.options, context)
    print(options is llmframe.options, *values)

@contextmanager
def executor(method):
    with ProcessPoolExecutor(1, mp_context=get_context(method)) as pool:
        yield lambda task, *arguments: pool.submit(task, *arguments).result()

@contextmanager
def pool(method):
    with get_context(method).Pool(1) as pool:
        yield lambda task, *arguments: pool.apply(task, arguments)

@contextmanager
def joblib(backend):
    from joblib import Parallel, delayed
    yield lambda task, *arguments: Parallel(2, backend=backend)([delayed(task)(*arguments)])[0]
"""

TOLD = """\
CompletionError True
context_length_exceeded {'context_length_exceeded': 1} [1] None None
StoppedError True
insufficient_quota {'insufficient_quota': 1} [0] None None
JournalError True
done True 1 1 None CompletionWarning
True any gpt-6-luna
"""
STARTS = [
    *((pool, method) for pool in ("executor", "pool") for method in ("fork", "spawn", "forkserver")),
    ("joblib", "loky"),
    ("joblib", "multiprocessing"),
]


@pytest.mark.parametrize(("pool", "method"), STARTS)
def test_a_pool_hands_on_what_calls_raise_return_and_are_told(
    pool: str, method: str, tmp_path: Path, server: LocalServer
) -> None:
    """Errors keep what they tell; the key and what belongs to one process stay there: workers use their own."""
    server.faults = [
        Fault("context_length_exceeded", when=lambda body: "bad" in str(body["messages"])),
        Fault("insufficient_quota", when=lambda body: "no quota" in str(body["messages"])),
    ]
    end = f"if __name__ == '__main__':\n    with {pool}({method!r}) as call:\n        tell(call)\n"
    code, out, err = ended(start_script(tmp_path, server, TASKS + end), 2 * PATIENCE)
    assert code == 0, err
    assert out == TOLD
