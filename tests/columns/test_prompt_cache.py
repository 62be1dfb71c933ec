"""What the requests of a call have in common, and how the end of it is marked."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pandas as pd
import pytest
from columns.plans import SCHEMA, bodies, plan_of
from hypothesis import given
from hypothesis import strategies as st
from openapi import validator

from llmframe._columns import Context, takes_breakpoints
from llmframe._columns.prompt_cache import estimated_tokens

GUIDE = "Read this guide, and answer by it. " * 130
CHINESE = "请按照本指南回答以下问题。" * 180
FRAME = pd.DataFrame({"a": ["One", 'Two "quoted" \\', "Dr\u2028ei 💬"], "b": ["x", "", "z"]})


def marked(*arguments, frame=FRAME, **settings):
    """Return each request's messages as texts, a breakpoint as `|`; all fit the published document."""
    plan = plan_of(frame, *arguments, **settings)
    sent = bodies(plan.cached(breakpoints=True))
    for body, plain in zip(sent, bodies(plan), strict=True):
        validator("CreateChatCompletionRequest").validate(body)
        assert body.pop("prompt_cache_options") == {"mode": "explicit"}
        assert _joined(body) == plain
    return [[_shown(message["content"]) for message in body["messages"]] for body in sent]


def _shown(content):
    if isinstance(content, str):
        return content
    assert all(part["text"] for part in content)
    return "".join(part["text"] + "|" * ("prompt_cache_breakpoint" in part) for part in content)


def _joined(body):
    """Return the body as it would be without breakpoints."""
    return {
        **body,
        "messages": [
            {**each, "content": _shown(each["content"]).replace("|", "")} for each in body["messages"]
        ],
    }


@pytest.mark.parametrize(
    "name",
    ["gpt-5.6", "gpt-5.6-luna", "gpt-5.10", "gpt-6-luna", "gpt-6.1-sol", "gpt-6-luna-2026-10-01", "gpt-7"],
)
def test_models_from_gpt_5_6_on_take_breakpoints(name):
    assert takes_breakpoints(name)


@pytest.mark.parametrize(
    "name",
    [
        "gpt-4o",
        "gpt-4.1",
        "gpt-5",
        "gpt-5-mini",
        "gpt-5.5-pro",
        "gpt-35-turbo",
        "gpt-oss-120b",
        "o3",
        "mine",
        "",
    ],
)
def test_older_and_unknown_models_do_not(name):
    assert not takes_breakpoints(name)


def test_tokens_are_counted_low():
    """Indentation is few tokens, and two characters of Chinese, Japanese or Korean one."""
    assert estimated_tokens("word " * 400) == 500
    assert estimated_tokens("x" + " " * 4_000 + "y") == 0
    assert estimated_tokens("請回答" * 400) == estimated_tokens("답하세요" * 300) == 600
    assert estimated_tokens("") == 0


def test_the_breakpoint_stands_after_an_instruction():
    assert marked("a", GUIDE) == [[f"{GUIDE}\n\n|{text}"] for text in FRAME["a"]]


def test_the_breakpoint_stands_before_the_first_field_of_a_template():
    assert marked(None, GUIDE + "{a} or {b}?") == [
        [f"{GUIDE}|{a} or {b}?"] for a, b in FRAME.itertuples(index=False)
    ]


def test_the_breakpoint_stands_after_a_system_message():
    assert marked("a", system=GUIDE) == [[f"{GUIDE}|", text] for text in FRAME["a"]]


def test_all_that_is_static_is_marked_at_its_end():
    """The parts are counted together."""
    half = GUIDE[: len(GUIDE) // 2 + 10]
    assert marked("a", half, system=half) == [[half, f"{half}\n\n|{text}"] for text in FRAME["a"]]
    assert marked("a", CHINESE) == [[f"{CHINESE}\n\n|{text}"] for text in FRAME["a"]]


def test_a_system_message_with_fields_is_static_up_to_the_first():
    """Where a cell is empty, no empty part is sent."""
    frame = FRAME.assign(b=["x", "y", " z"])
    assert marked("a", system=GUIDE + "{b}", frame=frame) == [
        [f"{GUIDE}|{b}", a] for a, b in frame.itertuples(index=False)
    ]
    assert marked("a", system=GUIDE + "{b}")[1] == [f"{GUIDE}|", FRAME["a"][1]]


def test_a_schema_is_a_part_of_the_prefix():
    text = GUIDE[:3_900]
    schema = orjson.loads(orjson.dumps(SCHEMA))
    schema["json_schema"]["schema"]["properties"]["why"]["description"] = "w" * 300
    assert marked("a", system=text) == [[text, each] for each in FRAME["a"]]
    assert marked("a", system=text, response_format=schema) == [[f"{text}|", each] for each in FRAME["a"]]


@pytest.mark.parametrize(
    ("prompt", "system"),
    [(None, None), ("Short.", None), (None, GUIDE[:4_000]), (None, "{b}" + GUIDE), ("{a}" + GUIDE, None)],
)
def test_a_prefix_that_would_not_be_kept_has_no_breakpoint(prompt, system):
    assert not any("|" in text for texts in marked("a", prompt, system=system) for text in texts)


def test_arrays_are_marked_after_the_messages_that_they_begin_with():
    def chats(*systems):
        rows = [
            [{"role": "system", "content": system}, {"role": "user", "content": f"Question {number}"}]
            for number, system in enumerate(systems)
        ]
        return marked("chat", frame=pd.DataFrame({"chat": rows}))

    alike = chats(GUIDE, GUIDE, "Another.", GUIDE)
    assert alike == [
        [f"{GUIDE}|", "Question 0"],
        [f"{GUIDE}|", "Question 1"],
        ["Another.", "Question 2"],
        [f"{GUIDE}|", "Question 3"],
    ]
    assert chats(GUIDE, "Another.") == [[GUIDE, "Question 0"], ["Another.", "Question 1"]]
    assert chats(GUIDE) == [[GUIDE, "Question 0"]]


def test_a_verbs_task_before_their_own_system_message_does_not_hide_it():
    rows = [
        [{"role": "system", "content": GUIDE}, {"role": "user", "content": f"Question {number}"}]
        for number in range(2)
    ]
    plan = plan_of(pd.DataFrame({"chat": rows}), "chat")
    plan = replace(plan, context=Context("Do it.", (("Example", "Answer"),)))
    sent = [body["messages"] for body in bodies(plan.cached(breakpoints=True))]
    assert [[_shown(message["content"]) for message in messages] for messages in sent] == [
        [f"Do it.\n\n{GUIDE}", "Example", "Answer|", f"Question {number}"] for number in range(2)
    ]


def test_so_are_the_messages_of_functions():
    def prompt(row):
        return [{"role": "developer", "content": GUIDE}, {"role": "user", "content": row["a"]}]

    assert marked(None, prompt) == [[f"{GUIDE}|", text] for text in FRAME["a"]]


def test_arrays_with_breakpoints_of_their_own_are_left_alone():
    part = {"type": "text", "text": GUIDE, "prompt_cache_breakpoint": {"mode": "explicit"}}
    own = [{"role": "user", "content": [part, {"type": "text", "text": "One"}]}]
    plan = plan_of(pd.DataFrame({"chat": [own, own[:1]]}), "chat", system=GUIDE)
    assert bodies(plan.cached(breakpoints=True)) == bodies(plan)


@given(
    st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=5, unique=True), st.text(max_size=20)
)
def test_whatever_the_texts_are_they_are_sent_as_they_are(texts, end):
    frame = pd.DataFrame({"t": texts})
    guide = (GUIDE + end.replace("{", "{{").replace("}", "}}")).replace("|", "/")
    for prompt, system in ((guide, None), (guide + "{t}", None), (None, guide)):
        plan = plan_of(frame, "t", prompt, system=system)
        for body, plain in zip(bodies(plan.cached(breakpoints=True)), bodies(plan), strict=True):
            contents = [each["content"] for each in body["messages"]]
            whole = [
                "".join(part["text"] for part in each) if isinstance(each, list) else each
                for each in contents
            ]
            assert whole == [each["content"] for each in plain["messages"]]
            assert (
                sum(
                    "prompt_cache_breakpoint" in part
                    for each in contents
                    if isinstance(each, list)
                    for part in each
                )
                == 1
            )
