"""Rows that fail are told in the client, and cost no other row its answer."""

from __future__ import annotations

import dask.dataframe as dd
import pytest
from helpers import about, asked, paid_again

import llmframe
from llmframe.testing import Fault

SCHEDULERS = ["synchronous", "threads", pytest.param("processes", marks=pytest.mark.slow)]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_client_gets_the_error_with_code_label_and_counts(scheduler, llm):
    llm.faults = [Fault("context_length_exceeded", when=about(4))]
    answered = dd.from_pandas(asked(6), npartitions=2).llm.complete("q")
    with pytest.raises(llmframe.CompletionError, match="label 4") as caught:
        answered.compute(scheduler=scheduler)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.counts == {"context_length_exceeded": 1}
    assert caught.value.failures["label"].tolist() == [4]


def test_a_partition_keeps_all_its_answers_and_others_that_have_not_begun_are_not_asked(llm):
    llm.faults = [Fault("context_length_exceeded", when=about(*range(0, 20, 5)))]
    answered = dd.from_pandas(asked(20), npartitions=4).llm.complete("q")
    with pytest.raises(llmframe.CompletionError):
        answered.compute(scheduler="synchronous")
    assert llm.ledger.billed == 4
    llm.faults = []
    assert answered.compute()["q_completion"].notna().all()
    assert llm.ledger.billed == 20
    assert paid_again(llm) == 0


def test_rows_can_fail_quietly_and_say_why(llm):
    llm.faults = [Fault("context_length_exceeded", when=about(4))]
    ddf = dd.from_pandas(asked(6), npartitions=2)
    answered = ddf.llm.complete("q", into="a", error_into="why", errors="coerce")
    with pytest.warns(llmframe.CompletionWarning, match="label 4"):
        computed = answered.compute()
    assert computed["a"].isna().tolist() == [False, False, False, False, True, False]
    assert computed["why"][4].startswith("context_length_exceeded: ")


def test_what_no_row_survives_stops_with_its_code(llm):
    llm.faults = [Fault("invalid_api_key")]
    with pytest.raises(llmframe.StoppedError) as caught:
        dd.from_pandas(asked(6), npartitions=2).llm.complete("q").compute()
    assert caught.value.code == "invalid_api_key"


def test_existing_values_that_do_not_fit_are_an_error_before_anything_is_sent(llm):
    rows = asked(6).assign(n="a text")
    ddf = dd.from_pandas(rows, npartitions=2)
    typed = ddf.llm.extract("q", {"n": float}, where=ddf["q"] == rows["q"][0], overwrite=True)
    with pytest.raises(ValueError, match="n"):
        typed.compute()
    assert llm.ledger.requests == 0
