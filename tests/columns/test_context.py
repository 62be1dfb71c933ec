"""A verb's task and worked examples stand around a row's own messages."""

from __future__ import annotations

import orjson
import pytest

from llmframe._columns import Context

USER = {"content": "Hello", "role": "user"}
PAIR = [{"content": "Hi", "role": "user"}, {"content": "yes", "role": "assistant"}]
CONTEXT = Context("Task.", (("Hi", "yes"),))


def around(*messages: dict[str, object]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = orjson.loads(CONTEXT.around(orjson.dumps(messages)))
    return found


def test_the_task_and_the_examples_come_before_a_row_of_text() -> None:
    assert around(USER) == [{"content": "Task.", "role": "system"}, *PAIR, USER]


@pytest.mark.parametrize("role", ["system", "developer"])
def test_the_task_comes_before_the_users_own_system_text_in_one_message(role: str) -> None:
    own = {"content": "Own.", "role": role}
    assert around(own, USER) == [{"content": "Task.\n\nOwn.", "role": role}, *PAIR, USER]


def test_the_task_is_a_part_of_its_own_before_a_system_message_of_parts() -> None:
    own = {"content": [{"text": "Own.", "type": "text"}], "role": "system"}
    [system, *_] = around(own, USER)
    assert system["content"] == [{"text": "Task.", "type": "text"}, {"text": "Own.", "type": "text"}]


def test_a_system_message_in_the_middle_stays_there() -> None:
    later = {"content": "Own.", "role": "system"}
    assert around(USER, later) == [{"content": "Task.", "role": "system"}, *PAIR, USER, later]


def test_a_text_that_speaks_of_roles_has_none() -> None:
    text = {"content": '"role":"system"', "role": "user"}
    assert around(text) == [{"content": "Task.", "role": "system"}, *PAIR, text]


def test_without_a_context_the_messages_are_the_same_bytes() -> None:
    assert Context().around(b'[{"role":"user"}]') == b'[{"role":"user"}]'


def test_each_draw_may_have_a_task_of_its_own() -> None:
    context = Context("First.", (("Hi", "yes"),), ("Second.",))
    assert context.of_draw(0) is context
    assert context.of_draw(1) == Context("Second.", (("Hi", "yes"),))
    assert CONTEXT.of_draw(1) is CONTEXT
