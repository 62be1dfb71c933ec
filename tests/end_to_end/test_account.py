"""The account against the server's own ledger, to the cent: `Run.cost`, the columns of `usage=True`, and `spend()`."""

from __future__ import annotations

import json
from math import fsum

import pandas as pd
import pytest
from helpers import about, asked, texts, tune

import llmframe
from llmframe.testing import Batches, Fault, Reply

PRICES = {"gpt-6-luna": {"input": 0.10, "cached_input": 0.01, "cache_write": 0.125, "output": 0.50}}
"""What the table says of the model, US dollars per million tokens."""
CLASSES = ("uncached", "cached", "written", "output", "reasoning")
ROWS = 24


def billed(server):
    return server.ledger.dollars(PRICES)


def column_sum(frame):
    """Return the sum of the one column of dollars."""
    (name,) = [name for name in frame if str(name).endswith("cost")]
    return fsum(frame[name].dropna())


def spent():
    table = llmframe.spend()
    assert table["unpriced"].sum() == 0
    return fsum(table["cost"])


def check(server, frame, *, before=0.0):
    """Check that all that knows of money says the same, since `before` was billed."""
    run = llmframe.last_run()
    now = billed(server) - before
    assert now > 0
    assert run.cost == pytest.approx(now, abs=1e-12)
    assert column_sum(frame) == pytest.approx(now, abs=1e-12)
    assert spent() == pytest.approx(billed(server), abs=1e-12)
    tokens = run.tokens
    assert tokens.total == sum(getattr(tokens, name) for name in CLASSES)
    return run


def uses(prompt, cached, written, output, reasoning):
    """Answer with this usage, which the server then bills."""
    stated = {
        "prompt_tokens": prompt,
        "completion_tokens": output + reasoning,
        "total_tokens": prompt + output + reasoning,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }
    return Reply(completion={"usage": stated})


def broken_off(times):
    return Fault(Reply(choice={"finish_reason": "error"}), times_per_request=times, when=about(3, 4))


def ask(frame, *, duplicates=0, **more):
    frame = pd.concat([frame, frame.head(duplicates)], ignore_index=True)
    return frame.llm.complete("q", into="a", usage=True, errors="coerce", **more)


def test_plain_answers(llm, lane):
    """By batch at half the price, and duplicates once."""
    frame = ask(asked(ROWS), duplicates=5)
    run = check(llm, frame)
    assert frame["a_cost"].tail(5).tolist() == [0.0] * 5
    assert (frame["a_cost"].head(ROWS) > 0).all()
    assert llmframe.spend()["lane"].tolist() == [lane]
    assert {(lane, "default")} == {kind[1:] for kind in llm.ledger.billed_tokens}
    assert run.saved.duplicates == pytest.approx(frame["a_cost"].head(5).sum())


def test_flex(llm):
    frame = ask(asked(ROWS), service_tier="flex")
    check(llm, frame)
    assert llmframe.spend()["lane"].tolist() == ["flex"]
    assert billed(llm) == pytest.approx(llm.ledger.dollars(PRICES, {}) / 2)


def test_retries_and_500s(llm, lane):
    """An attempt that was not answered is not billed."""
    llm.faults = [
        Fault("500", rate=0.5, times_per_request=2),
        Fault("rate_limit", rate=0.3, times_per_request=1),
    ]
    tune(first_resubmit_seconds=0.01)
    run = check(llm, ask(asked(ROWS), max_retries=8))
    assert run.retries > 0


def test_every_class_of_tokens(llm, lane):
    """Read from the cache, written into it, and reasoning, at their own prices."""
    llm.faults = [
        Fault(uses(5_000, 3_000, 1_024, 40, 100), when=about(*range(8))),
        Fault(uses(2_000, 0, 2_000, 7, 0), when=about(8, 9)),
    ]
    run = check(llm, ask(asked(ROWS)))
    assert run.tokens.cached == 8 * 3_000
    assert run.tokens.written == 8 * 1_024 + 2 * 2_000
    assert run.tokens.reasoning == 8 * 100
    (row,) = llmframe.spend().to_dict("records")
    for name in CLASSES:
        assert row[name] == getattr(run.tokens, name)


def test_answers_that_were_paid_and_are_none(llm, lane):
    """Refusals, and a limit that was spent before any text came."""
    llm.faults = [
        Fault("refusal", when=about(1)),
        Fault("length_empty", when=about(2)),
        Fault("length_text", when=about(5)),
    ]
    with pytest.warns(llmframe.CompletionWarning):
        frame = ask(asked(ROWS))
    check(llm, frame)
    assert frame.loc[[1, 2], "a"].isna().all()
    assert (frame.loc[[1, 2], "a_cost"] > 0).all()
    assert frame.loc[2, "a_output_tokens"] == 512


@pytest.mark.parametrize("times", [1, None])
def test_answers_that_broke_off_count_as_spent_and_are_no_answers(llm, lane, times):
    """The journal keeps what they took: for ever, also where none came in the end."""
    llm.faults = [broken_off(times)]
    if times is None:
        with pytest.warns(llmframe.CompletionWarning):
            frame = ask(asked(ROWS), max_retries=2)
    else:
        frame = ask(asked(ROWS))
    check(llm, frame)
    assert (frame.loc[[3, 4], "a_cost"] > frame.loc[5, "a_cost"]).all()
    assert llmframe.spend()["answers"].sum() == llm.ledger.billed
    llm.faults, before = [], billed(llm)
    frame = asked(ROWS).llm.complete("q", into="a", usage=True)
    assert frame["a"].notna().all()
    assert column_sum(frame) == pytest.approx(billed(llm) - before)
    assert spent() == pytest.approx(billed(llm))


def test_answers_that_were_asked_again(llm, lane):
    """All attempts of a row are its own, and the second ones are billed by their longer prompts."""

    def answer(body):
        fits = len(body["messages"]) > 3 or "number 0" in body["messages"][-1]["content"]
        return json.dumps({"n": 5 if fits else "x"})

    llm.answer = answer
    frame = asked(8).llm.extract("q", {"n": int}, usage=True)
    run = check(llm, frame)
    assert len(run.reasked) == 7
    assert llm.ledger.billed == 8 + 7
    assert frame["q_input_tokens"].sum() == run.tokens.prompt
    assert frame["q_output_tokens"].sum() == run.tokens.completion
    again = asked(8).llm.extract("q", {"n": int}, usage=True)
    assert again["q_input_tokens"].tolist() == frame["q_input_tokens"].tolist()
    assert again["q_cost"].tolist() == [0.0] * 8
    assert llmframe.last_run().saved.journal == pytest.approx(run.cost)


def test_votes(llm, lane):
    """All draws of a row are its own."""
    frame = pd.DataFrame({"q": [*texts(6), *texts(2)]})
    frame.llm.classify("q", ["odd", "even"], votes=3, usage=True, confidence=True)
    run = check(llm, frame)
    assert llm.ledger.billed == 18
    assert list(frame)[-3:] == ["q_input_tokens", "q_output_tokens", "q_cost"]
    assert frame["q_cost"].tail(2).tolist() == [0.0, 0.0]
    assert frame["q_input_tokens"].head(6).sum() == run.tokens.prompt
    assert frame["q_input_tokens"].tail(2).tolist() == frame["q_input_tokens"].head(2).tolist()


def test_reruns_pay_what_is_new(llm, lane):
    """The journal's rows cost nothing now; what they had cost is saved, and so is what their copies would have."""
    ask(asked(10))
    first = llmframe.last_run()
    before = billed(llm)
    frame = ask(asked(ROWS), duplicates=10)
    run = check(llm, frame, before=before)
    assert frame["a_cost"].head(10).tolist() == [0.0] * 10
    assert (frame["a_input_tokens"] > 0).all()
    assert run.saved.journal == pytest.approx(first.cost)
    assert run.saved.duplicates == pytest.approx(first.cost)


def test_earlier_batches_are_paid_by_the_run_that_collects_them(llm, swift):
    """Whoever detached paid nothing that it knows of."""
    detach(llm)
    check(llm, ask(asked(ROWS)))
    assert llm.ledger.batches_created == 1


def detach(server):
    """Submit a batch, let it end, and have no run that knows of it."""
    server.batches = Batches(seconds=3_600)
    llmframe.options.mode = "batch"
    run = asked(ROWS).llm.complete("q", into="a", wait=False)
    assert server.ledger.wait_for(lambda ledger: ledger.batches_created == 1, 60)
    run._task.cancel()
    with pytest.raises(llmframe.StoppedError):
        run.result(60)
    server.advance(7_200)


def test_batches_that_collect_takes_in_are_spent_and_are_no_runs_cost(llm, swift):
    """Also what broke off in them, whose rows are asked again."""
    llm.faults = [broken_off(1)]
    detach(llm)
    llmframe.collect()
    before = billed(llm)
    assert spent() == pytest.approx(before, abs=1e-12)
    llm.batches = Batches()
    frame = ask(asked(ROWS))
    check(llm, frame, before=before)
    assert frame.index[frame["a_cost"] > 0].tolist() == [3, 4]


def test_unknown_outcomes_stand_apart(llm):
    """An answer that was made and lost is billed, and nobody here can know of what: it is counted as uncertain."""
    llm.faults = [Fault("reset", times_per_request=1, when=about(1, 2))]
    frame = ask(asked(ROWS))
    run = llmframe.last_run()
    assert run.uncertain == 2
    assert run.cost == pytest.approx(column_sum(frame)) == pytest.approx(spent())
    lost = frame.loc[[1, 2], "a_cost"].sum()
    assert billed(llm) == pytest.approx(run.cost + lost)


def test_all_of_it_together(llm, lane):
    """Faults of all kinds in one run, then another run over more rows."""
    llm.cached = 0.4
    llm.faults = [
        broken_off(1),
        Fault("500", rate=0.3, times_per_request=1),
        Fault("refusal", when=about(7)),
        Fault("length_empty", when=about(8)),
        Fault(Reply(choice={"finish_reason": "weird"}), times_per_request=1, when=about(11)),
        Fault(uses(3_000, 1_000, 1_500, 30, 20), when=about(10)),
    ]
    with pytest.warns(llmframe.CompletionWarning):
        frame = ask(asked(ROWS), duplicates=12)
    check(llm, frame)
    before = billed(llm)
    with pytest.warns(llmframe.CompletionWarning):
        frame = ask(asked(2 * ROWS), retry_failed=True)
    check(llm, frame, before=before)
    with pytest.warns(llmframe.CompletionWarning):
        frame = ask(asked(2 * ROWS))
    assert llmframe.last_run().cost == column_sum(frame) == 0.0
    assert spent() == pytest.approx(billed(llm), abs=1e-12)
