"""Calls in forked children."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from end_to_end.scripts import PATIENCE, ended, kept, start_script

from llmframe.testing import LocalServer

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def script(tmp_path: Path, server: LocalServer) -> Callable[[str], subprocess.Popen[str]]:
    """Give a function that starts a script with the server and the journal of the test."""
    return partial(start_script, tmp_path, server)


FORKED = """
import multiprocessing
df = df.head(40)
df.llm.complete("review", into="answer")
background = llmframe.complete([f"background {i}" for i in range(300)], wait=False, max_concurrency=5)

def ask(name):
    frame = pd.DataFrame({"review": [f"{name} {i}" for i in range(10)]})
    frame.llm.complete("review", into="answer")
    again = df.copy()
    again.llm.complete("review", into="answer")
    print(f"child {frame['answer'].notna().sum()} {again['answer'].notna().sum()}\\n", end="", flush=True)
"""


FORK = """
for number in range(4):
    child = os.fork()
    if not child:
        ask(number)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


PROCESSES = """
fork = multiprocessing.get_context("fork")
children = [fork.Process(target=ask, args=(number,)) for number in range(4)]
for child in children:
    child.start()
for child in children:
    child.join()
    assert child.exitcode == 0
"""


@pytest.mark.slow
@pytest.mark.parametrize("forking", [FORK, PROCESSES], ids=["os.fork", "multiprocessing"])
def test_forked_children_call_for_themselves(script: Any, server: LocalServer, forking: str) -> None:
    """Children call without a hang after the parent's calls, and while a run of the parent's works and draws."""
    process = script(
        f"{FORKED}\n{forking}\nprint(len(background.result()), len(llmframe.complete(['last'])))"
    )
    code, out, err = ended(process, 2 * PATIENCE)
    assert code == 0, err
    assert sorted(out.splitlines()) == ["300 1"] + ["child 10 40"] * 4
    assert server.ledger.billed == 40 + 300 + 4 * 10 + 1


@pytest.mark.slow
def test_a_childs_answers_outlive_the_parents_run(script: Any, tmp_path: Path) -> None:
    """What a child was answered is in the journal, also when its parent's run ended meanwhile."""
    with LocalServer(latency=0.2) as slow:
        process = script(f"""
llmframe.options.base_url = {slow.base_url!r}
llmframe.options.max_concurrency = 10
llmframe.options.progress = False
background = llmframe.complete([f"parent {{i}}" for i in range(20)], wait=False)
while background.answered < 5:
    time.sleep(0.01)
child = os.fork()
if not child:
    llmframe.complete([f"child {{i}}" for i in range(60)])
    os._exit(0)
background.result()
assert os.waitpid(child, 0)[1] == 0
""")
        code, _, err = ended(process)
        assert (code, err) == (0, "")
        assert slow.ledger.billed == 80
    assert kept(tmp_path) == (80, 0)
