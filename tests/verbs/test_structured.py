"""The ways to ask for answers that fit a schema, also where each of several draws has a schema of its own."""

from __future__ import annotations

import orjson
import pytest

from llmframe._api import CHAT_COMPLETIONS
from llmframe._columns import TEXT, Context, Record
from llmframe._columns.schema import Choice, Field
from llmframe._run import Verb
from llmframe._verbs.arguments import resolve
from llmframe._verbs.structured import asking_for


def record_of(*labels: str) -> Record:
    return Record((Field("label", Choice(labels), nullable=False),))


def asked(*records: Record, base_url: str = "http://localhost:8000/v1") -> object:
    settings = resolve(
        Verb("label", CHAT_COMPLETIONS, TEXT),
        {"base_url": base_url, "api_key": "any", "model": "m", "temperature": 0},
    )
    return asking_for(records, settings, Context("Choose.", (("Hi", '{"label": "a"}'),)))


def test_each_draw_has_its_schema_as_a_parameter_or_in_its_task() -> None:
    """The order of the labels differs by draw in every way to ask, and the user's parameters stay."""
    settings = asked(record_of("a", "b"), record_of("b", "a"))
    by_schema, by_object, by_prompt = settings.rungs
    assert (settings.params, settings.further_draws) == (by_schema.params, by_schema.further_draws)
    orders = [
        each["response_format"]["json_schema"]["schema"]["properties"]["label"]["enum"]
        for each in (by_schema.params, *by_schema.further_draws)
    ]
    assert orders == [["a", "b"], ["b", "a"]]
    assert settings.context == by_schema.context == Context("Choose.", (("Hi", '{"label": "a"}'),))
    assert by_object.params == {"temperature": 0, "response_format": {"type": "json_object"}}
    assert by_prompt.params == {"temperature": 0}
    for rung in (by_object, by_prompt):
        tasks = [rung.context.of_draw(draw).task for draw in range(2)]
        said = [orjson.loads(task.rpartition("\n")[2])["properties"]["label"]["enum"] for task in tasks]
        assert said == orders
        assert all("JSON" in task for task in tasks)
        assert rung.context.examples == settings.context.examples


def test_draws_of_one_schema_have_one_task() -> None:
    _, by_object, _ = asked(record_of("a"), record_of("a")).rungs
    assert by_object.context.further_tasks == ()
    assert len(by_object.further_draws) == 1


@pytest.mark.parametrize(
    ("base_url", "ways"),
    [
        ("https://api.openai.com/v1", 0),
        ("https://eu.api.openai.com/v1", 0),
        ("https://mine.openai.azure.com/openai/v1", 0),
        ("https://gateway.example.org/v1", 3),
    ],
)
def test_openais_own_service_is_asked_in_one_way(base_url: str, ways: int) -> None:
    assert len(asked(record_of("a"), base_url=base_url).rungs) == ways
