"""What a run takes from the journal, and what it asks again."""

import pandas as pd
import pytest
from helpers import about, answer, asked

import llmframe
from llmframe.testing import Fault, LocalServer


def answers_to(frame):
    return [answer(text) for text in frame["q"]]


def test_a_rerun_pays_only_for_new_rows(llm):
    """Reordered and repeated rows are known again; new ones are asked."""
    asked(20).llm.complete("q")
    frame = pd.concat([asked(30).iloc[::-1], asked(5)])
    frame.llm.complete("q", into="a")
    assert frame["a"].tolist() == answers_to(frame)
    assert llm.ledger.billed == 30
    assert llmframe.last_run().from_journal == 20


def test_fresh_asks_again_and_its_answers_count_from_then_on(llm):
    """A fresh run asks every row once more; plain runs after it give its answers."""
    frame = asked(10)
    said = []
    with LocalServer(answer=lambda _: said[-1]) as speaker:
        for word, fresh in (("old", False), ("new", True), ("never", False)):
            said.append(word)
            frame.llm.complete("q", into="a", overwrite=True, fresh=fresh, base_url=speaker.base_url)
        assert set(frame["a"]) == {"new"}
        assert speaker.ledger.billed == 20


def test_a_fresh_run_that_was_cut_short_goes_on(llm):
    """Repeated after an error in mid-run, it asks only for what it had not got."""
    asked(40).llm.complete("q")
    llm.reset()
    llm.faults = [Fault("insufficient_quota", after=15)]
    with pytest.raises(llmframe.StoppedError, match="quota"):
        asked(40).llm.complete("q", fresh=True, max_concurrency=1)
    assert llm.ledger.billed == 15
    llm.faults = []
    asked(3).llm.complete("q", fresh=True)  # other rows in between
    assert llm.ledger.billed == 15 + 3
    asked(40).sample(frac=1).llm.complete("q", fresh=True)
    assert llm.ledger.billed == 40 + 3
    assert sorted(llm.ledger.billed_by_request.values()) == [1] * 37 + [2] * 3
    asked(40).llm.complete("q", fresh=True)
    assert llm.ledger.billed == 80 + 3


def test_a_version_is_another_identity_that_resumes(llm):
    """version="v2" asks once more, and its answers are found again under that name only."""
    for version, billed in ((None, 5), ("v2", 10), ("v2", 10), (None, 10), ("v3", 15)):
        asked(5).llm.complete("q", version=version)
        assert llm.ledger.billed == billed


def test_without_dedupe_each_duplicate_has_a_draw_of_its_own_that_resumes(llm):
    """The k-th duplicate is the k-th draw: repeated runs and longer frames pay only for new draws."""
    frame = pd.DataFrame({"q": ["Say a number."] * 4 + ["Say a word."]})
    frame.llm.complete("q", into="a", dedupe=False)
    assert llm.ledger.billed == 5
    frame.llm.complete("q", into="b", dedupe=False)
    assert llm.ledger.billed == 5
    assert frame["a"].tolist() == frame["b"].tolist()
    pd.concat([frame, frame[["q"]].head(2)]).llm.complete("q", into="c", dedupe=False)
    assert llm.ledger.billed == 7
    frame.llm.complete("q", into="d")
    assert llm.ledger.billed == 7


PAID_FAILURES = {
    "refusal": "refusal",
    "content_filter": "content_filter",
    "length_empty": "length",
    "empty": "empty",
    "empty_choices": "no_choices",
}


def test_paid_failures_are_reported_again_without_asking_again(llm):
    """A re-run names them with the same codes and sends nothing; retry_failed=True asks just for them."""
    llm.faults = [Fault(kind, when=about(row)) for row, kind in enumerate(PAID_FAILURES)]
    frame = asked(25)
    for _ in range(2):
        with pytest.raises(llmframe.CompletionError) as caught:
            frame.llm.complete("q", into="a", overwrite=True)
        failures = caught.value.run.failures
        assert failures["code"].tolist() == list(PAID_FAILURES.values())
        assert failures["position"].tolist() == list(range(5))
        assert frame["a"].notna().sum() == 20
        assert llm.ledger.billed == 25
    llm.faults = []
    frame.llm.complete("q", into="a", overwrite=True, retry_failed=True)
    assert frame["a"].tolist() == answers_to(frame)
    assert llm.ledger.billed == 30
    frame.llm.complete("q", into="b")
    assert llm.ledger.billed == 30


def test_offline_sends_nothing_and_names_what_is_not_there(llm):
    """Answers come from the journal without key or server; other rows fail as not_in_journal."""
    asked(3).llm.complete("q")
    address = llm.base_url
    llm.stop()
    llmframe.options.api_key = None
    frame = asked(5)
    with pytest.raises(llmframe.CompletionError, match="not_in_journal") as caught:
        frame.llm.complete("q", into="a", mode="offline", base_url=address)
    assert frame["a"].isna().tolist() == [False] * 3 + [True] * 2
    assert caught.value.run.failures["code"].tolist() == ["not_in_journal"] * 2
    assert llm.ledger.requests == 3
    full = asked(3)
    full.llm.complete("q", into="a", base_url=address)
    assert full["a"].tolist() == answers_to(full)
    with pytest.raises(llmframe.StoppedError, match="OPENAI_API_KEY") as stopped:
        asked(5).llm.complete("q", into="a", base_url=address)
    assert stopped.value.code == "no_api_key"
    assert stopped.value.result["a"].notna().sum() == 3
