"""What rows cost with the prompt cache, against a loop that does not know of it.

What: dollars for 1,000 rows of 500 tokens behind a system message of 2,000, three in ten of them duplicates; live and by
batch, as `run.cost` has it. Against what: a plain `gather` of `AsyncOpenAI.chat.completions.create`, priced by its usage. The
server caches and bills as the provider does: unless told otherwise, every row of the loop writes its 2,500 tokens at
1.25 times the price. Its duplicates are under way together; one after another they would read what the first of them wrote,
which is the second pair of lines and information only. Figures of money: one round each.

    python tests/bench/caching.py [--rows 1000]

Targets: <= 0.35 x live, <= 0.36 x by batch.
"""

from __future__ import annotations

import asyncio
import random
import sys
from urllib.parse import urlsplit

import measure
import pandas as pd
from genai_prices import Usage, calc_price
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

import llmframe

PREFIX_TOKENS, ROW_TOKENS, DUPLICATES, LATENCY = 2_000, 500, 0.3, 2.0
GUIDE = ("Read this guide, and answer by it. " * PREFIX_TOKENS)[: 4 * PREFIX_TOKENS]
_URL = "https://api.openai.com/v1"


def _rows(count: int) -> list[str]:
    chance = random.Random(0)
    distinct = [
        (f"Review {number} " + measure.PROMPT * 100)[: 4 * ROW_TOKENS]
        for number in range(round(count * (1 - DUPLICATES)))
    ]
    rows = [*distinct, *chance.sample(distinct, count - len(distinct))]
    chance.shuffle(rows)
    return rows


def _client(base_url: str) -> AsyncOpenAI:
    """Return a client of OpenAI's own address whose requests reach the local server."""

    async def to_local_server(request) -> None:
        request.headers["connection"] = "close"
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=urlsplit(base_url).port)

    http_client = DefaultAsyncHttpxClient(event_hooks={"request": [to_local_server]})
    return AsyncOpenAI(api_key="any", base_url=_URL, http_client=http_client, max_retries=0)


async def _loop(base_url: str, rows: list[str], *, at_once: bool) -> float:
    async with _client(base_url) as client:

        async def ask(row: str) -> float:
            messages = [{"role": "system", "content": GUIDE}, {"role": "user", "content": row}]
            answer = await client.chat.completions.create(model=measure.MODEL, messages=messages)
            return _dollars(answer.usage)

        if at_once:
            return sum(await asyncio.gather(*map(ask, rows)))
        return sum([await ask(row) for row in rows])


def _dollars(usage) -> float:
    details = usage.prompt_tokens_details
    tokens = Usage(
        input_tokens=usage.prompt_tokens,
        cache_read_tokens=details.cached_tokens,
        cache_write_tokens=details.cache_write_tokens,
        output_tokens=usage.completion_tokens,
    )
    return float(calc_price(tokens, measure.MODEL).total_price)


def _ours(base_url: str, rows: list[str], mode: str) -> float:
    frame = pd.DataFrame({"review": rows})
    llmframe.options._tuning = llmframe.options._tuning._replace(first_poll_seconds=0.1)
    call = {
        "client": _client(base_url),
        "model": measure.MODEL,
        "mode": mode,
        "journal": False,
        "progress": False,
    }
    frame.llm.complete("review", system=GUIDE, into="answer", **call)
    assert frame["answer"].notna().all()
    return llmframe.last_run().cost


def _measured(count: int) -> dict[str, float]:
    rows = _rows(count)
    works = {
        "at once": (LATENCY, lambda url: asyncio.run(_loop(url, rows, at_once=True))),
        "one after another": (0.0, lambda url: asyncio.run(_loop(url, rows, at_once=False))),
        "live": (LATENCY / 10, lambda url: _ours(url, rows, "live")),
        "batch": (0.0, lambda url: _ours(url, rows, "batch")),
    }
    found = {}
    for name, (latency, work) in works.items():
        with measure.server(prompt_cache=True, latency=latency) as server:
            found[name] = work(server.base_url) / count * 1_000
    return found


def main(count: int = 1_000) -> list[measure.Line]:
    dollars = _measured(count)
    lines = [
        measure.at_most(
            f"dollars per 1,000 rows {way} / a plain gather",
            [dollars[name] / dollars["at once"]],
            most,
            ".3f",
        )
        for name, way, most in (("live", "live, the prefix cached", 0.35), ("batch", "by batch", 0.36))
    ]
    return [
        *lines,
        *(
            measure.Line(
                f"  the same {name} / a loop, one row after another",
                f"{dollars[name] / dollars['one after another']:.3f}",
            )
            for name in ("live", "batch")
        ),
        *(
            measure.Line(f"  information: dollars per 1,000 rows, {name}", f"{amount:.4f}")
            for name, amount in dollars.items()
        ),
    ]


if __name__ == "__main__":
    words = sys.argv
    measure.report(main(int(words[words.index("--rows") + 1]) if "--rows" in words else 1_000))
