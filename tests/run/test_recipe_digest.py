"""What counts as the history of a call: answers to the same question, whatever they may cost and whichever way they took."""

from __future__ import annotations

import pandas as pd
import pytest

from llmframe._verbs import classify_series, complete_series, extract_series

TEXTS = pd.Series(["x", "y"], name="q")
SETTINGS = {"model": "gpt-6-luna", "base_url": "http://127.0.0.1:1/v1", "api_key": "any"}


def complete(prompt="Say:", **more):
    return digest(complete_series(TEXTS, SETTINGS | more, prompt=prompt, where=None))


def extract(schema, **more):
    settings = {"prompt": None, "quotes": False, "examples": None, "reask": 1, "where": None} | more
    return digest(extract_series(TEXTS, SETTINGS, schema=schema, **settings))


def classify(labels, engine):
    return digest(
        classify_series(TEXTS, SETTINGS | {"engine": engine}, labels=labels, prompt=None, where=None)
    )


def digest(call):
    return call.run._plan.recipe_digest


@pytest.mark.parametrize(
    "more",
    [
        {"max_completion_tokens": 50},
        {"max_tokens": 50},
        {"service_tier": "flex"},
        {"mode": "batch"},
        {"fresh": True},
        {"timeout": 5.0},
    ],
    ids=str,
)
def test_bounds_tiers_and_lanes_are_no_part_of_it(more):
    assert complete(**more) == complete()


@pytest.mark.parametrize(
    "more",
    [
        {"prompt": "Ask:"},
        {"prompt": "Say {q}"},
        {"system": "Be brief."},
        {"model": "gpt-5.6-luna"},
        {"temperature": 0},
        {"version": "v2"},
    ],
    ids=str,
)
def test_what_is_asked_and_of_whom_is(more):
    assert complete(**more) != complete()


@pytest.mark.parametrize("engine", ["chat", "decisions"])
def test_so_are_labels(engine):
    assert classify(["a", "b"], engine=engine) == classify(["a", "b"], engine=engine)
    assert classify(["a", "b"], engine=engine) != classify(["a", "c"], engine=engine)


def test_so_are_schemas_quotes_and_examples():
    rows = [pd.DataFrame({"q": [text], "price": ["5"]}) for text in ("It costs 5.", "The price is 5.")]
    digests = [
        extract(["price"]),
        extract(["place"]),
        extract({"price": float}),
        extract(["price"], quotes=True),
        *(extract(["price"], examples=each) for each in rows),
    ]
    assert len(set(digests)) == len(digests)
