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
llmframe.llm(["a list"])  # refused
llmframe.complete(["Hello"], colunm="review")  # refused
repr(llmframe.complete(["Hello"]).cost)  # refused
llmframe.options.modle = "gpt-6-luna"  # refused
llmframe.options.timeout = "long"  # refused
repr(llmframe.options.modle)  # refused
llmframe.option_context(modle="gpt-6-luna")  # refused
llmframe.batches(journl="answers.sqlite")  # refused
