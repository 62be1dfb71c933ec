"""What type checkers must refuse: each line that ends in `# refused`, and no other."""

from __future__ import annotations

import pandas as pd

import llmframe

df = pd.DataFrame({"review": ["Works well."]})
reviews: pd.Series = df["review"]

llmframe.llm(df).complete("review", temprature=0)  # refused
llmframe.llm(df).complete("review", errors="coerc")  # refused
llmframe.llm(df).complete("review", mode="fast")  # refused
llmframe.llm(df).complete("review", overwrite="mising")  # refused
llmframe.llm(df).complete("review", stream=True)  # refused
llmframe.llm(df).complete("review", max_concurrency="many")  # refused
llmframe.llm(df).complete("review", wait=False).fillna("")  # refused
llmframe.llm(df).complte("review")  # refused
llmframe.llm(reviews).complete(into="gist")  # refused
llmframe.llm(df).extract("review")  # refused
llmframe.llm(df).extract("review", ["part"], prefx="x")  # refused
llmframe.llm(df).extract("review", ["part"], quotes="yes")  # refused
llmframe.llm(df).extract("review", ["part"], examples="a text")  # refused
llmframe.llm(df).extract("review", ["part"], response_format={"type": "json_object"})  # refused
llmframe.llm(df).classify("review")  # refused
llmframe.llm(df).classify("review", ["a", "b"], vote=3)  # refused
llmframe.llm(df).classify("review", ["a", "b"], engine="dice")  # refused
llmframe.llm(df).classify("review", ["a", "b"], confidence="yes")  # refused
llmframe.llm(reviews).classify(["a", "b"], into="x")  # refused
llmframe.llm(df).ask("review", {"a": bool}, other="x")  # refused
llmframe.llm(df).ask("review", {"a": bool}, tools=[])  # refused
llmframe.llm(df).ask("review", ["a"])  # refused
llmframe.classify(["x"], ["a", "b"], raw=True)  # refused
llmframe.llm(["a list"])  # refused
llmframe.complete(["Hello"], colunm="review")  # refused
repr(llmframe.complete(["Hello"]).cost)  # refused
llmframe.options.modle = "gpt-6-luna"  # refused
llmframe.options.timeout = "long"  # refused
repr(llmframe.options.modle)  # refused
llmframe.option_context(modle="gpt-6-luna")  # refused
llmframe.batches(journl="answers.sqlite")  # refused
