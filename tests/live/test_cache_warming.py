"""How many requests may leave before the provider's cache is warm."""

from __future__ import annotations

from llmframe._live.cache_warming import CacheWarming


def test_one_request_of_each_prefix_leaves_first():
    warming = CacheWarming([b"a", b"b", b"a"], {}, 0.0)
    assert warming.most_in_flight == 2
    warming.on_answer(5, 1.0)
    assert warming.most_in_flight == 1
    warming.on_answer(1, 1.0)
    assert warming.most_in_flight is None


def test_a_prefix_is_warm_for_five_minutes_from_its_last_answer():
    answered = {}
    CacheWarming([b"a"], answered, 0.0).on_answer(0, 10.0)
    assert CacheWarming([b"a"], answered, 309.0).most_in_flight is None
    assert CacheWarming([b"a"], answered, 310.0).most_in_flight == 1
    CacheWarming([b"a"], answered, 309.0).on_answer(7, 309.0)
    assert CacheWarming([b"a"], answered, 608.0).most_in_flight is None


def test_without_a_prefix_nothing_waits():
    warming = CacheWarming([None], answered := {}, 0.0)
    warming.on_answer(3, 1.0)
    assert warming.most_in_flight is None
    assert not answered


def test_it_may_be_given_up():
    warming = CacheWarming([b"a", b"b"], {}, 0.0)
    warming.give_up()
    assert warming.most_in_flight is None
