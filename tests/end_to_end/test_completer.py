"""What Tab and Shift-Tab offer in a notebook, in a real kernel."""

from __future__ import annotations

import re

import pytest
from end_to_end.kernels import Kernel

from llmframe._keywords import CompletionKeywords, OptionKeywords


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    with Kernel(tmp_path_factory.mktemp("completer")) as kernel:
        kernel.run(
            "import pandas as pd, llmframe; df = pd.DataFrame({'review': ['a']}); reviews = df['review']"
        )
        yield kernel


@pytest.mark.slow
@pytest.mark.parametrize("call", ["df.llm.complete(", "reviews.llm.complete(", "llmframe.complete("])
def test_tab_offers_every_keyword_of_a_verb(kernel, call):
    assert {f"{name}=" for name in CompletionKeywords.__annotations__} <= set(kernel.complete(call))


def test_tab_completes_the_beginning_of_a_keyword(kernel):
    assert kernel.complete("df.llm.complete('review', reason") == ["reasoning_effort="]


def test_tab_offers_every_option(kernel):
    names = OptionKeywords.__annotations__
    assert set(names) <= {match.rpartition(".")[2] for match in kernel.complete("llmframe.options.")}
    assert {f"{name}=" for name in names} <= set(kernel.complete("llmframe.option_context("))


def test_shift_tab_says_what_a_keyword_means(kernel):
    shown = re.sub(r"\x1b\[[0-9;]*m", "", kernel.inspect("df.llm.complete"))
    assert "requests_per_minute: 'float | None' = None" in shown
    assert "A ceiling of this process and account" in shown
