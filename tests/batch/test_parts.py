"""A column goes out in parts, and comes back to its rows."""

from __future__ import annotations

import openai
import pandas as pd
import pytest
from batch.calls import complete, input_files, right
from helpers import asked, texts, tune

import llmframe
from llmframe.testing import Batches


def test_rows_go_out_in_parts_and_come_back_to_their_places(llm):
    """Duplicates are one request, missing rows are not sent, and the tokens cost half."""
    tune(batch_requests=40)
    frame = pd.DataFrame({"q": [*texts(100), None, *texts(30)]}, index=[0] * 131)
    run = complete(frame)
    assert frame["a"].isna().sum() == 1
    assert right(frame.dropna())
    assert llm.ledger.batches_created == 3
    assert llm.ledger.billed == run.sent == run.distinct == 100
    assert run.retries == run.uncertain == 0
    live = pd.DataFrame({"q": texts(100)})
    complete(live, mode="live", journal=False)
    assert run.cost == pytest.approx(llmframe.last_run().cost / 2)
    assert complete(frame, overwrite=True).sent == 0
    assert llm.ledger.batches_created == 3


def test_a_part_has_no_more_bytes_than_the_api_takes(llm):
    """A request that is larger than a part fails alone."""
    tune(batch_bytes=2_000)
    llm.batches = Batches(max_bytes=2_000)
    frame = pd.DataFrame({"q": [*texts(40), "é" * 2_000]})
    with pytest.raises(llmframe.CompletionError, match="request_too_large"):
        complete(frame)
    assert right(frame.head(40))
    assert llm.ledger.batches_created > 3


def test_input_files_are_deleted_after_the_collection_unless_they_are_wanted(llm):
    """The result files stay in the account."""
    for keep, left in ((False, 0), (True, 1)):
        llmframe.options.keep_batch_files = keep
        complete(asked(5), version=str(keep))
        assert input_files(llm) == left


def test_the_account_is_not_asked_when_all_is_in_the_journal(llm):
    """A run of answered rows needs no key and no network."""
    complete(asked(5))
    llm.stop()
    llmframe.options.api_key = None
    assert complete(asked(5)).from_journal == 5


def test_azure_is_refused_because_it_has_another_batch_api(llm):
    """The call fails before anything is planned."""
    client = openai.AzureOpenAI(api_key="k", api_version="2024-10-21", azure_endpoint="http://localhost:9")
    with pytest.raises(ValueError, match=r"^mode: .*mode='live'"):
        complete(asked(2), client=client)
