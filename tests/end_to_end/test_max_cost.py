"""A cap on the cost: never exceeded, hardly starved, and gone on from."""

from __future__ import annotations

import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
from helpers import MODEL, asked, texts, tune

import llmframe
from llmframe.testing import Batches, Fault, Reply

DOLLARS = 1e-3
"""Of each token, so that the ledger's tokens tell what was billed."""
BOUND = {"max_completion_tokens": 40}


@pytest.fixture(autouse=True)
def _prices():
    llmframe.options.prices = {MODEL: {"input": DOLLARS * 1e6, "output": DOLLARS * 1e6}}
    llmframe.options.errors = "coerce"


@pytest.fixture
def llm(llm):
    llm.answer = lambda _: "word " * 30
    return llm


def rows(*numbers):
    return pd.DataFrame({"q": [f"{text} {'Say it well. ' * 10}" for text in texts(*numbers)]})


def billed(llm):
    return llm.ledger.tokens * DOLLARS


def reached(frame, **settings):
    with pytest.raises(llmframe.CostLimitReached) as caught:
        frame.llm.complete("q", **{**BOUND, **settings})
    return caught.value


FAULTS = {
    "none": [],
    "500s": [Fault("500", rate=0.2)],
    "lost answers": [Fault("reset", rate=0.1)],
    "cut off and refused": [Fault("length_text", rate=0.2), Fault("refusal", rate=0.1)],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "concurrency"),
    [
        ("none", 1),
        ("none", 500),
        ("500s", 7),
        ("500s", 100),
        ("lost answers", 1),
        ("lost answers", 500),
        ("cut off and refused", 100),
    ],
)
@pytest.mark.filterwarnings("ignore::llmframe.CompletionWarning")
def test_live_the_cap_holds_and_is_used_up(llm, kind, concurrency):
    """Spent and reserved for lost answers come to 95 % of the cap at least."""
    llm.faults, llm.latency = FAULTS[kind], 0.01
    error = reached(rows(200), max_cost=9.77, max_concurrency=concurrency)
    assert billed(llm) <= 9.77
    assert error.spent + error.reserved >= 0.95 * 9.77
    assert error.spent == pytest.approx(error.run.cost, abs=1e-9)
    assert billed(llm) == pytest.approx(error.spent, abs=1e-9) or kind == "lost answers"
    assert error.to_finish > 0


@pytest.mark.filterwarnings("ignore::llmframe.CompletionWarning")
@pytest.mark.parametrize("kind", FAULTS)
def test_by_batch_each_part_fits_when_it_is_submitted(llm, kind):
    """After five parts that were made smaller it stops, and says what is left."""
    llm.faults = FAULTS[kind]
    error = reached(rows(200), max_cost=9.77, mode="batch")
    assert billed(llm) <= 9.77
    assert error.spent == pytest.approx(billed(llm), abs=1e-9)
    assert llm.ledger.batches_created > 1
    assert error.run.answered + error.run.failed < 200


@pytest.mark.slow
def test_by_batch_no_small_part_is_submitted_while_others_are_open(llm):
    """What they leave of the cap may be enough for all the rest."""
    tune(batch_requests=20, first_poll_seconds=0.05, longest_poll_seconds=0.05)
    llm.batches = Batches(seconds=0.3)
    reached(rows(200), max_cost=9.77, mode="batch")
    assert billed(llm) <= 9.77
    sizes = [batch["request_counts"]["total"] for batch in batches(llm)]
    assert min(sizes[:-1]) >= 5


def batches(llm):
    from openai import OpenAI

    with OpenAI(base_url=llm.base_url, api_key="any") as client:
        return sorted((each.to_dict() for each in client.batches.list()), key=lambda each: each["created_at"])


@pytest.mark.parametrize("mode", ["live", "batch"])
def test_running_it_again_continues_and_pays_nothing_twice(llm, mode):
    """The cap is each call's own; a higher bound on the output buys nothing again."""
    reached(rows(60), max_cost=1.5, mode=mode)
    df = rows(60).llm.complete("q", max_cost=50, mode=mode, max_completion_tokens=80)
    assert df["q_completion"].notna().all()
    assert set(llm.ledger.billed_by_request.values()) == {1}
    assert llm.ledger.billed == 60


def test_three_runs_at_once_keep_to_caps_of_their_own(llm):
    llm.latency = 0.02
    caps = [1.1, 2.3, 3.7]

    def spent(number):
        frame = pd.DataFrame({"q": f"{number}: " + rows(100)["q"]})
        return reached(frame, max_cost=caps[number]).spent

    with ThreadPoolExecutor(3) as pool:
        costs = list(pool.map(spent, range(3)))
    assert all(cost <= cap for cost, cap in zip(costs, caps, strict=True))
    assert billed(llm) == pytest.approx(sum(costs), abs=1e-9)


@pytest.mark.parametrize("requests", [8, 60])
def test_answers_by_a_dearer_tier_that_nobody_asked_for_stay_within_the_cap_and_use_it(llm, requests):
    """An account may have `service_tier="priority"` as its own setting, which costs twice as much."""
    llmframe.options.prices = {}
    llm.answer = lambda _: "word " * 300
    llm.latency = 0.05
    llm.faults = [Fault(Reply(completion={"service_tier": "priority"}))]
    cap = requests * 200 * 0.5e-6
    error = reached(asked(100), max_cost=cap, max_completion_tokens=200, max_concurrency=100)
    assert 0.7 * cap <= error.run.cost <= cap
    assert error.spent == error.run.cost


def test_re_asked_answers_and_votes_count(llm):
    llm.faults = [Fault("wrong_type", rate=0.5, times_per_request=1)]
    with pytest.raises(llmframe.CostLimitReached):
        rows(100).llm.extract("q", {"number": int}, max_cost=15, **BOUND)
    assert 0.9 * 15 <= billed(llm) <= 15
    before = billed(llm)
    with pytest.raises(llmframe.CostLimitReached):
        rows(100).llm.classify("q", ["a", "b"], votes=3, max_cost=15, **BOUND)
    assert 0.9 * 15 <= billed(llm) - before <= 15


def test_what_is_there_is_written_and_the_bar_and_the_error_tell_of_the_cap(llm, capfd):
    llmframe.options.progress = True
    df = rows(60)
    error = reached(df, max_cost=1.5)
    assert error.result is df
    assert df["q_completion"].notna().sum() == error.run.answered > 0
    assert "of $1.50" in capfd.readouterr().err
    assert "the cap of $1.50 is reached" in str(error)
    assert "cap</span><br>$1.50" in error.run._repr_html_()
    assert "run the call again" in str(error)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.spent, copy.reserved, copy.to_finish, copy.code) == (
        error.spent, error.reserved, error.to_finish, "max_cost",
    )  # fmt: skip


def test_without_a_journal_the_error_says_that_all_is_asked_again(llm):
    assert "with journal=False, the same call asks for all rows again" in str(
        reached(rows(60), max_cost=1.5, journal=False)
    )


def test_one_request_that_is_too_dear_does_not_keep_the_others_from_being_asked(llm):
    frame = pd.DataFrame({"q": ["word " * 3_000, *texts(5)]})
    error = reached(frame, max_cost=3)
    assert error.run.answered == 5
    assert frame["q_completion"].isna().tolist() == [True, False, False, False, False, False]


@pytest.mark.parametrize("mode", ["live", "batch"])
def test_a_cap_below_one_request_says_what_one_may_cost(llm, mode):
    """Running it again would not help."""
    error = reached(asked(3), max_cost=0.001, mode=mode)
    least = re.search(r"pass max_cost=(\S+) or more, or a smaller max_completion_tokens", str(error))
    assert llm.ledger.requests == 0
    assert (
        asked(1).llm.complete("q", max_cost=float(least[1]), mode=mode, **BOUND)["q_completion"].notna().all()
    )


@pytest.mark.parametrize("cap", [2.0, 2.6])
def test_what_finishing_costs_has_the_answers_that_are_still_to_be_asked_again(llm, cap):
    """Of 20 answers 11 do not fit, however often they are asked for."""
    llm.answer = lambda body: f'{{"number": {"true" if "number 1" in str(body["messages"]) else 7}}}'
    with pytest.raises(llmframe.CostLimitReached) as caught:
        rows(1, 21).llm.extract("q", {"number": int}, max_cost=cap, **BOUND)
    error = caught.value
    left = 20 - error.run.answered - len(error.run.reasked)
    assert error.to_finish == pytest.approx(left * error.spent / llm.ledger.billed)


PICTURE = [
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]}
]


@pytest.mark.parametrize(
    ("frame", "settings", "words"),
    [
        (asked(2), {}, "max_cost: nothing bounds what an answer may cost; pass max_completion_tokens=1000 as well"),
        (asked(2), {**BOUND, "model": "gpt-5-mini-x"}, "max_cost: no price is known for 'gpt-5-mini-x'"),
        (asked(2), {**BOUND, "web_search_options": {}}, "max_cost: nothing bounds what web_search_options= costs"),
        (pd.DataFrame({"q": [PICTURE]}), BOUND, "max_cost: row 0 has a part of type 'image_url'"),
        (asked(2), {**BOUND, "max_cost": -1}, "max_cost must be US dollars above 0"),
    ],
)  # fmt: skip
def test_what_has_no_worst_case_is_refused_before_anything_is_sent(llm, frame, settings, words):
    with pytest.raises(ValueError, match=words):
        frame.llm.complete("q", **{"max_cost": 1, **settings})
    assert llm.ledger.requests == 0
    assert "q_completion" not in frame.columns


def test_the_refusal_names_a_bound_by_the_longest_answer_so_far(llm):
    asked(2).llm.complete("q")
    longest = max(
        run["completion_tokens"] for run in [llmframe.last_run().tokens._asdict() | {"completion_tokens": 0}]
    )
    assert longest == 0
    with pytest.raises(
        ValueError, match=r"max_completion_tokens=\d+ as well \(the longest answer so far had \d+ tokens\)"
    ):
        asked(3).llm.complete("q", max_cost=1)


def test_where_output_costs_nothing_no_bound_is_needed(llm):
    llmframe.options.prices = {MODEL: {"input": 1, "output": 0}}
    asked(2).llm.complete("q", max_cost=1)
    llmframe.options.prices = {MODEL: {"input": 0, "output": 0}}
    assert asked(3).llm.complete("q", max_cost=1e-9)["q_completion"].notna().all()


def test_offline_and_from_the_journal_a_cap_stops_nothing(llm):
    asked(5).llm.complete("q", **BOUND)
    assert asked(5).llm.complete("q", max_cost=1e-9, **BOUND)["q_completion"].notna().all()
    assert asked(5).llm.complete("q", max_cost=1e-9, mode="offline")["q_completion"].notna().all()
