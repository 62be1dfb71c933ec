"""What further answers will take, by what past ones took."""

from __future__ import annotations

import random
from statistics import mean, stdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmframe._run.money import line_through, output_per_answer, share_of

BOUND = 4_000
ROWS = 5_000


def population(chance):
    """Return the tokens of answers of which 3 in 100 run to the bound."""
    ordinary = (min(BOUND, int(chance.lognormvariate(4.0, 0.5))) for _ in range(ROWS))
    return [BOUND if at % 100 < 3 else tokens for at, tokens in enumerate(ordinary)]


def test_high_keeps_the_tail_that_a_sample_of_twenty_rarely_shows():
    """A naive interval of the mean covers the truth less than half of the time; what is expected is unbiased."""
    chance = random.Random(1)
    tokens = population(chance)
    total, covered, naively, expected = sum(tokens), 0, 0, []
    for _ in range(1_000):
        sample = chance.sample(tokens, 20)
        truth = (total - sum(sample)) / (ROWS - 20)
        middle, high = output_per_answer(sample, BOUND, ROWS - 20)
        covered += high >= truth
        half = 1.96 * stdev(sample) / 20**0.5
        naively += mean(sample) - half <= truth <= mean(sample) + half
        expected.append(middle)
    assert covered >= 900
    assert naively < 500
    assert mean(expected) == pytest.approx(total / ROWS, abs=3 * stdev(expected) / 1_000**0.5)


def test_longer_prompts_have_longer_answers_where_that_is_sure():
    prompts = list(range(20, 80))
    expected, high = output_per_answer([2 * p for p in prompts], BOUND, 100, prompts=prompts, further=200)
    assert expected == pytest.approx(400)
    assert high > 400
    alike = output_per_answer([50, 60] * 30, BOUND, 100, prompts=prompts, further=200)
    assert alike == output_per_answer([50, 60] * 30, BOUND, 100)


def test_without_a_bound_an_answer_may_be_twice_the_longest():
    expected, high = output_per_answer([100] * 20, None, 1_000)
    assert expected == 100
    assert 110 < high < 200


def test_many_answers_make_high_come_near():
    assert output_per_answer([90, 110] * 2_500, BOUND, 100_000)[1] < 105


@given(st.lists(st.integers(0, BOUND), min_size=1, max_size=50), st.integers(1, 10_000))
def test_expected_is_never_above_high_nor_high_above_the_bound(taken, rest):
    expected, high = output_per_answer(taken, BOUND, rest)
    assert expected <= high <= BOUND + 1e-6


@given(
    st.lists(st.tuples(st.integers(50, 10_000), st.integers(1, 5_000)), min_size=1, max_size=50),
    st.integers(50, 100_000),
)
def test_a_line_never_falls_and_gives_every_prompt_a_token(points, size):
    line = line_through([bytes_ for bytes_, _ in points], [tokens for _, tokens in points])
    few, more = line.tokens(np.array([size, size + 100]))
    assert 1 <= few <= more
    assert line.margin > 0


def test_what_a_body_holds_beside_the_prompt_costs_no_tokens():
    """As of parameters, or a schema that a server does not count: the line begins below zero."""
    sizes = [600 + 10 * number for number in range(20)]
    line = line_through(sizes, [(size - 500) / 4 for size in sizes])
    assert line.tokens(np.array([2_500]))[0] == pytest.approx(500)


def test_equal_sizes_give_their_ratio():
    """Points without spread tell no slope, whatever the noise."""
    line = line_through([1_000, 1_001] * 10, [250, 240] * 10)
    assert line.start == 0
    assert line.slope == pytest.approx(0.245, abs=0.001)


def test_a_share_is_rarely_above_its_high():
    """Also among few further trials, which vary by chance."""
    chance = random.Random(2)
    for rest in (10, 1_000):
        covered = 0
        for _ in range(500):
            seen = sum(chance.random() < 0.05 for _ in range(60))
            coming = sum(chance.random() < 0.05 for _ in range(rest)) / rest
            covered += share_of(seen, 60, rest)[1] >= coming
        assert covered >= 450
    assert share_of(0, 0, 5) == (0.0, 1.0)
