"""Scripts that end, or are interrupted, with a run in flight."""

from __future__ import annotations

import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from end_to_end.scripts import PATIENCE, QUICK, ROWS, ended, kept, start_script
from helpers import MODEL
from loop.calls import reviews

import llmframe
from llmframe.testing import Fault, LocalServer

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

EXIT_SECONDS = 15.0
"""How long a script may take to end, on a machine that is busy with other things."""


@pytest.fixture
def script(tmp_path: Path, server: LocalServer) -> Callable[[str], subprocess.Popen[str]]:
    """Give a function that starts a script with the server and the journal of the test."""
    return partial(start_script, tmp_path, server)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "status", "said"),
    [("", 0, ""), ("sys.exit(3)", 3, ""), ('raise RuntimeError("oops")', 1, "RuntimeError: oops")],
    ids=["falls off", "sys.exit", "exception"],
)
def test_a_script_may_end_with_a_run_in_flight(
    script: Any, server: LocalServer, tmp_path: Path, *, ending: str, status: int, said: str
) -> None:
    """What had come is in the journal, and the process ends soon, without noise."""
    server.faults = [Fault("hang", after=QUICK)]
    process = script(f"""
run = df.llm.complete("review", into="answer", wait=False, progress=False)
while run.answered < {QUICK}:
    time.sleep(0.01)
print("ending", flush=True)
{ending}
""")
    assert process.stdout.readline() == "ending\n"
    began = time.monotonic()
    code, _, err = ended(process)
    assert time.monotonic() - began < EXIT_SECONDS
    assert code == status
    assert err.strip().splitlines()[-1:] == ([said] if said else [])
    assert kept(tmp_path) == (QUICK, 0)
    assert server.ledger.wait_for(lambda ledger: ledger.in_flight == 0)


INTERRUPTED = """
try:
    {call}
finally:
    print(int(df["answer"].notna().sum()), flush=True)
"""


CALLS = {
    "plain": 'df.llm.complete("review", into="answer")',
    "asyncio, plain": """
    async def main():
        df.llm.complete("review", into="answer")
    asyncio.run(main())""",
    "asyncio, awaited": """
    async def main():
        await df.llm.acomplete("review", into="answer")
    asyncio.run(main())""",
    "uvloop, plain": """
    import uvloop
    async def main():
        df.llm.complete("review", into="answer")
    uvloop.run(main())""",
    "own client, nested": """
    import openai
    async def main():
        async with openai.AsyncOpenAI() as client:
            df.llm.complete("review", into="answer", client=client)
    asyncio.run(main())""",
}


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_ctrl_c_in_a_script_writes_what_came_and_the_next_run_goes_on(
    script: Any, server: LocalServer, tmp_path: Path, call: str
) -> None:
    """A script ends by `KeyboardInterrupt` with a partial column; run again it pays only what is missing."""
    server.faults = [Fault("hang", after=QUICK)]
    process = script(INTERRUPTED.format(call=call))
    assert server.ledger.wait_for(
        lambda ledger: ledger.answered >= QUICK and ledger.in_flight >= 100, timeout=PATIENCE
    ), ended(process)
    time.sleep(0.3)  # what the server has sent is not yet what the script has read
    process.send_signal(signal.SIGINT)
    code, out, err = ended(process, EXIT_SECONDS)
    assert code == -signal.SIGINT
    answered = int(out)
    assert 0 < answered <= QUICK
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert err.count("interrupted: run the cell again to continue") == 1
    assert kept(tmp_path) == (answered, 0)
    assert server.ledger.wait_for(lambda ledger: ledger.in_flight == 0)
    server.faults = []
    llmframe.options.base_url, llmframe.options.api_key = server.base_url, "any"
    assert reviews(ROWS).llm.complete("review", into="answer", model=MODEL)["answer"].notna().all()
    assert server.ledger.billed == ROWS + QUICK - answered


def test_an_own_client_on_a_loop_that_cannot_be_nested_is_refused(script: Any, server: LocalServer) -> None:
    """Under uvloop a plain call with an own async client says what to write instead, and patches nothing."""
    code, out, err = ended(
        script("""
import openai, uvloop
async def main():
    async with openai.AsyncOpenAI() as client:
        try:
            df.llm.complete("review", into="answer", client=client)
        except RuntimeError as error:
            print(error)
        print(hasattr(asyncio, "_nest_patched"), "answer" in df)
        await df.head(5).llm.acomplete("review", into="answer", client=client, progress=False)
uvloop.run(main())
""")
    )
    assert (code, err) == (0, "")
    assert "await df.llm.acomplete" in out
    assert out.endswith("False False\n")
    assert server.ledger.billed == 5
