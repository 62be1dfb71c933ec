"""The same column through other libraries, each in an environment of its own.

What: 1,500 rows at 100 in flight against a local server with 50 ms latency, through `df.llm.complete`, through
the SDK's `AsyncOpenAI` in a semaphore, LiteLLM's `acompletion` in a semaphore, and LangChain's `ChatOpenAI.abatch`;
each does only the asking, llmframe all that it does. Each side is a process of its own that warms up with 100 rows,
then times itself; sides alternate, three rounds. Environments are made with pip in the temporary folder and kept
there; a library that cannot be installed is skipped, with the reason.

    python tests/bench/peers.py

No targets: they tell what is usual. CPU per row and rows per second, ours over theirs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from statistics import median

import cpu
import measure

ROWS, ROUNDS, IN_FLIGHT, LATENCY = 1_500, 3, 100, 0.05

_HEAD = """
import asyncio, json, os, sys, time
url, in_flight, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.environ["OPENAI_API_KEY"] = "any"
words = "soup hot spoon cold waiter brought bread twice never smiled rain fell ".split()
prompts = [f"Summarise this review in one line: {n:07d} " + " ".join(words * 3)[:190] for n in range(rows + 100)]
def timed(ask):
    ask(prompts[rows:])
    cpu, wall = time.process_time(), time.perf_counter()
    answers = ask(prompts[:rows])
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    assert len(answers) == rows and all(answers)
    print(json.dumps({"cpu": cpu / rows * 1e6, "rate": rows / wall}))
def gathered(one):
    async def ask(prompts):
        gate = asyncio.Semaphore(in_flight)
        async def gated(prompt):
            async with gate:
                return await one(prompt)
        return await asyncio.gather(*map(gated, prompts))
    loop = asyncio.new_event_loop()
    timed(lambda prompts: loop.run_until_complete(ask(prompts)))
"""
_SIDES = {
    "llmframe": ("", """
import pandas as pd
import llmframe
llmframe.options.progress = False
def ask(prompts):
    frame = pd.DataFrame({"q": prompts})
    frame.llm.complete("q", into="a", base_url=url, api_key="any", model="gpt-6-luna", max_concurrency=in_flight)
    return frame["a"].tolist()
timed(ask)
"""),
    "the SDK in a semaphore": ("", """
import openai
client = openai.AsyncOpenAI(base_url=url, api_key="any")
async def one(prompt):
    messages = [{"role": "user", "content": prompt}]
    return (await client.chat.completions.create(model="gpt-6-luna", messages=messages)).choices[0].message.content
gathered(one)
"""),
    "LiteLLM in a semaphore": ("litellm", """
import litellm
async def one(prompt):
    messages = [{"role": "user", "content": prompt}]
    answer = await litellm.acompletion("openai/gpt-6-luna", messages, api_base=url, api_key="any")
    return answer.choices[0].message.content
gathered(one)
"""),
    "LangChain's abatch": ("langchain-openai", """
from langchain_openai import ChatOpenAI
model = ChatOpenAI(model="gpt-6-luna", base_url=url, api_key="any", use_responses_api=False)
loop = asyncio.new_event_loop()
def ask(prompts):
    batch = model.abatch(prompts, config={"max_concurrency": in_flight})
    return [answer.content for answer in loop.run_until_complete(batch)]
timed(ask)
"""),
}  # fmt: skip


def _python(package: str) -> str:
    """Give the interpreter of a peer's environment, which is made when it is not there."""
    if not package:
        return sys.executable
    folder = Path(tempfile.gettempdir()) / "llmframe-bench-peers" / package
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
    if subprocess.run(
        [python, "-m", "pip", "show", "-q", package], capture_output=True, check=False
    ).returncode:
        installed = subprocess.run(
            [python, "-m", "pip", "install", "-q", package], capture_output=True, text=True, check=False
        )
        if installed.returncode:
            raise RuntimeError(installed.stderr.strip().splitlines()[-1])
    return str(python)


def _measured(python: str, code: str, url: str, folder: str) -> dict[str, float]:
    words = [python, "-c", _HEAD + code, url, str(IN_FLIGHT), str(ROWS)]
    environment = measure.clean_environment(LLMFRAME_JOURNAL=measure.settings(url, folder)["journal"])
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> list[measure.Line]:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in _SIDES}
    skipped: dict[str, str] = {}
    with measure.server(latency=LATENCY) as server, measure.scratch() as folder:
        for _ in range(ROUNDS):
            for name, (package, code) in _SIDES.items():
                if name in skipped:
                    continue
                try:
                    found[name].append(_measured(_python(package), code, server.base_url, folder))
                except RuntimeError as error:
                    skipped[name] = str(error)
    lines = [measure.Line(f"{name}: skipped", reason[:60]) for name, reason in skipped.items()]
    ours = found.pop("llmframe")
    for name, theirs in found.items():
        if name in skipped:
            continue
        for what, title in (("cpu", "CPU per row"), ("rate", "rows/s")):
            pairs = measure.ratios([run[what] for run in ours], [run[what] for run in theirs])
            numbers = {f"us: {name}": median(run["cpu"] for run in theirs)} if what == "cpu" else {}
            numbers = numbers if name not in cpu.SHOWN.values() else {}
            lines.append(measure.Line(f"{title}, ours / {name}", measure.spread(pairs), numbers=numbers))
    return lines


if __name__ == "__main__":
    measure.report(main())
