"""Client CPU per row, all in, against the SDK in a semaphore and against bare aiohttp.

What: `df.llm.complete` as a user calls it: plan, limits, claims, journal (fresh each time), progress bar (drawn
as in a terminal), results, written column. Against what: the same rows to the same server through
`AsyncOpenAI.chat.completions.create` in a semaphore of 100, and through bare aiohttp + orjson with 100 workers.
CPU time of this process only (all its threads), imports and a warm-up excluded; the server has its own process
and core, and no latency. Sides alternate, fifteen rounds; the SDK, which takes twenty times as long, asks the
first 1,000 of the 8,000 rows.

    python tests/bench/cpu.py

Targets (DESIGN.md, section 7): <= 0.1 x the SDK, <= 1.25 x bare.
"""

from __future__ import annotations

import asyncio
from contextlib import redirect_stderr
from statistics import median

import aiohttp
import measure
import openai
import orjson

import llmframe  # noqa: F401 (registers df.llm)

ROWS, ROUNDS, IN_FLIGHT = 8_000, 15, 100
SDK_ROWS = 1_000
SHOWN = {"bare": "bare aiohttp + orjson", "ours": "llmframe, all in", "sdk": "the SDK in a semaphore"}


def complete(frame, base_url, folder, **more) -> None:
    with redirect_stderr(measure.Terminal()):
        frame.copy().llm.complete(
            "review", measure.PROMPT, into="summary", **measure.settings(base_url, folder, **more)
        )


async def _sdk(prompts, base_url) -> list[str]:
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one(prompt: str) -> str:
        async with gate:
            answer = await client.chat.completions.create(
                model=measure.MODEL, messages=[{"role": "user", "content": prompt}]
            )
            return answer.choices[0].message.content

    async with openai.AsyncOpenAI(base_url=base_url, api_key="any") as client:
        return await asyncio.gather(*map(one, prompts))


async def bare(prompts, base_url, in_flight=IN_FLIGHT) -> list[str]:
    """Ask with nothing around aiohttp: a worker posts, reads and takes the text out."""
    url, headers = f"{base_url}/chat/completions", {"content-type": "application/json"}
    answers = [""] * len(prompts)
    waiting = iter(enumerate(prompts))

    async def work() -> None:
        for index, prompt in waiting:
            body = orjson.dumps({"model": measure.MODEL, "messages": [{"role": "user", "content": prompt}]})
            async with session.post(url, data=body, headers=headers) as answer:
                data = orjson.loads(await answer.read())
            answers[index] = data["choices"][0]["message"]["content"]

    async with aiohttp.ClientSession(
        headers={"authorization": "Bearer any"}, connector=aiohttp.TCPConnector(limit=in_flight)
    ) as session:
        await asyncio.gather(*(work() for _ in range(in_flight)))
    return answers


def prompts(frame) -> list[str]:
    return [measure.PROMPT.format(review=text) for text in frame["review"].tolist()]


def _by_hand(ask, frame, base_url) -> None:
    made = frame.copy()
    made["summary"] = asyncio.run(ask(prompts(frame), base_url))


def main() -> list[measure.Line]:
    with measure.server() as server, measure.scratch() as folder:
        frame, few, url = measure.reviews(ROWS), measure.reviews(300, seed=1), server.base_url

        def sides(rows):
            works = {
                "ours": lambda: complete(rows, url, folder),
                "ours at 100": lambda: complete(rows, url, folder, max_concurrency=IN_FLIGHT),
                "bare": lambda: _by_hand(bare, rows, url),
            }
            measured = {name: measure.cpu_per_row(work, len(rows)) for name, work in works.items()}
            first = rows.head(SDK_ROWS)
            return measured | {"sdk": measure.cpu_per_row(lambda: _by_hand(_sdk, first, url), len(first))}

        measure.alternate(sides(few), 1)
        found = measure.alternate(sides(frame), ROUNDS)
    ours, names = found["ours"], {"sdk": "the SDK in a semaphore", "bare": "bare aiohttp + orjson"}
    lines = [
        measure.at_most(f"CPU per row / {names[side]}", measure.ratios(ours, found[side]), most)
        for side, most in (("sdk", 0.1), ("bare", 1.25))
    ]
    for side, name in names.items():
        shown = measure.spread(measure.ratios(found["ours at 100"], found[side]))
        lines.append(measure.Line(f"  the same with max_concurrency=100 / {name}", shown))
    for name, values in found.items():
        numbers = {f"us: {SHOWN[name]}": median(values)} if name in SHOWN else {}
        shown = measure.spread(values, ".0f", " us")
        lines.append(measure.Line(f"  information: CPU per row, {name}", shown, numbers=numbers))
    return lines


if __name__ == "__main__":
    measure.report(main())
