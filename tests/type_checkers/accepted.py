"""What type checkers must accept, with the types that they must know."""

from __future__ import annotations

from typing import assert_type

import pandas as pd
from openai import AsyncOpenAI

import llmframe
from llmframe.testing import LocalServer

df = pd.DataFrame({"review": ["Works well."], "stars": [5]})
reviews: pd.Series = df["review"]

assert_type(llmframe.llm(df).complete("review", "{stars}: {review}", into="gist"), pd.DataFrame)
assert_type(llmframe.llm(df).complete("review", where=df["stars"] < 3, overwrite="missing"), pd.DataFrame)
assert_type(llmframe.llm(df).complete("review", wait=False), llmframe.Run)
assert_type(llmframe.llm(df).complete(prompt=lambda row: str(row["review"])), pd.DataFrame)
llmframe.llm(df).complete("review", model="gpt-6-luna", temperature=0, stop=["."], errors="coerce")
llmframe.llm(df).complete("review", response_format={"type": "json_object"}, extra_headers={"x-team": "a"})
llmframe.llm(df).complete("review", mode="batch", journal=False, client=AsyncOpenAI(), max_concurrency=None)
assert_type(llmframe.llm(df).to_csv(), str | None)

answers: pd.Series = llmframe.llm(reviews).complete("Shout: {}", reasoning_effort="low")
assert_type(llmframe.llm(reviews).complete("Shout: {}", wait=False), llmframe.Run)
assert_type(llmframe.llm(reviews).complete("Shout: {}", raw=True), pd.DataFrame)
assert_type(llmframe.llm(reviews).complete("Shout: {}", raw=True, wait=False), llmframe.Run)

assert_type(llmframe.llm(df).complete("review", raw=True), pd.DataFrame)
assert_type(llmframe.explode(df, "parts", prefix="part_"), pd.DataFrame)
assert_type(llmframe.llm(df).extract("review", {"part": str, "hours": (float, "How many?")}), pd.DataFrame)
assert_type(llmframe.llm(df).extract("review", ["part"], quotes=True, examples=df), pd.DataFrame)
assert_type(llmframe.llm(reviews).extract(["part"], wait=False), llmframe.Run)
assert_type(llmframe.llm(reviews).extract(["part"], examples=[{"text": "a", "part": None}]), pd.DataFrame)
assert_type(llmframe.extract(["a"], ["part"], quotes=True), pd.DataFrame)

assert_type(llmframe.llm(df).complete("review", dry_run=True, max_cost=2.5), llmframe.Estimate)
assert_type(llmframe.llm(df).classify("review", ["a", "b"], dry_run=20), llmframe.Estimate)
assert_type(llmframe.llm(df).complete("review", usage=True, dry_run=False), pd.DataFrame)
assert_type(llmframe.llm(reviews).complete("Shout: {}", usage=True), pd.DataFrame)
assert_type(llmframe.llm(reviews).classify(["a", "b"], usage=True), pd.DataFrame)
assert_type(llmframe.llm(reviews).extract(["part"], dry_run=True), llmframe.Estimate)
assert_type(llmframe.complete(["Hello"], dry_run=True), llmframe.Estimate)

assert_type(llmframe.llm(df).stale("gist", prompt="Anew.", temperature=0), pd.Series)
assert_type(llmframe.llm(df).refresh("gist", model="gpt-6-luna", overwrite=True), pd.DataFrame)
assert_type(llmframe.llm(df).refresh("gist", prompt="Anew.", preview=30, max_cost=1.0), pd.DataFrame)
assert_type(llmframe.llm(df).refresh("gist", labels=["a", "b"], dry_run=True), llmframe.Estimate)

LABELS = ["praise", "complaint"]
assert_type(llmframe.llm(df).classify("review", LABELS, confidence=True, votes=3), pd.DataFrame)
assert_type(llmframe.llm(df).classify("review", {"a": "x", "b": ""}, other="c", threshold=0.8), pd.DataFrame)
assert_type(llmframe.llm(df).classify("review", LABELS, multi=True, wait=False), llmframe.Run)
labels: pd.Series = llmframe.llm(reviews).classify(LABELS, engine="chat", threshold=0.8, votes=5)
assert_type(llmframe.llm(reviews).classify(LABELS, confidence=True), pd.DataFrame)
assert_type(llmframe.llm(reviews).classify(LABELS, probabilities=True), pd.DataFrame)
assert_type(llmframe.llm(reviews).classify(LABELS, multi=True), pd.DataFrame)
assert_type(llmframe.llm(reviews).classify(LABELS, raw=True), pd.DataFrame)
assert_type(llmframe.llm(reviews).classify(LABELS, raw=True, wait=False), llmframe.Run)
assert_type(llmframe.classify(["a", None], LABELS), list[str | None])
assert_type(llmframe.classify(["a", None], LABELS, confidence=True), pd.DataFrame)
assert_type(llmframe.classify(["a", None], LABELS, wait=False), llmframe.Run)
assert_type(llmframe.llm(df).classify("review", reviews.unique()), pd.DataFrame)

QUESTIONS = {"spam": bool, "topic": ["billing", "bug"], "urgency": llmframe.Levels(["low", "high"])}
assert_type(llmframe.llm(df).ask("review", QUESTIONS, prefix="q_", confidence=True, votes=3), pd.DataFrame)
assert_type(llmframe.llm(df).ask("review", QUESTIONS, wait=False), llmframe.Run)
assert_type(llmframe.llm(reviews).ask(QUESTIONS, engine="decisions"), pd.DataFrame)
assert_type(llmframe.ask(["a"], QUESTIONS), pd.DataFrame)

assert_type(llmframe.complete(["Hello", None]), list[str | None])
assert_type(llmframe.complete([[{"role": "user", "content": "Hello"}]], seed=1), list[str | None])
assert_type(llmframe.complete(["Hello"], wait=False), llmframe.Run)
assert_type(llmframe.complete(["Hello"], wait=False).cost, float | None)


async def awaited() -> None:
    assert_type(await llmframe.acomplete(["Hello"], verbosity="low"), list[str | None])
    assert_type(await llmframe.llm(df).acomplete("review", service_tier="flex"), pd.DataFrame)
    assert_type(await llmframe.llm(reviews).acomplete(raw=True), pd.DataFrame)
    assert_type(await llmframe.llm(df).arefresh("gist", preview=30), pd.DataFrame)
    assert_type(await llmframe.llm(df).aclassify("review", LABELS), pd.DataFrame)
    assert_type(await llmframe.llm(reviews).aclassify(LABELS, confidence=True), pd.DataFrame)
    assert_type(await llmframe.llm(reviews).aask(QUESTIONS), pd.DataFrame)
    assert_type(await llmframe.aclassify(["a"], LABELS), list[str | None])
    assert_type(await llmframe.aclassify(["a"], LABELS, multi=True), pd.DataFrame)


llmframe.options.model = "gpt-6-luna"
llmframe.options.requests_per_minute = 500
llmframe.options.mode = None
assert_type(llmframe.options.timeout, float | None)
with llmframe.option_context(model="gpt-6-luna", prices={"mine": {"input": 1, "output": 2}}), LocalServer():
    assert_type(llmframe.batches(journal="answers.sqlite"), pd.DataFrame)
    assert_type(llmframe.last_run(), llmframe.Run | None)
