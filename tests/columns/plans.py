"""Plans of calls that are not sent, and their requests."""

from __future__ import annotations

import orjson

from llmframe._verbs import complete_frame, complete_list

SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "review",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"why": {"type": "string"}, "label": {"type": "string"}},
            "required": ["why", "label"],
            "additionalProperties": False,
        },
    },
}
IMAGE = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}},
        ],
    }
]
TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]


def keys(prompts, **settings):
    settings = {"model": "gpt-6-luna", "base_url": "https://api.openai.com/v1"} | settings
    return [key.hex() for key in complete_list(prompts, settings).run._plan.keys]


def key(prompt="Hello", **settings):
    (only,) = keys([prompt], **settings)
    return only


def plan_of(frame, *arguments, **settings):
    column, prompt = (*arguments, None, None)[:2]
    where = settings.pop("where", None)
    call = complete_frame(
        frame,
        {"model": "gpt-6-luna", "api_key": "any"} | settings,
        column=column,
        prompt=prompt,
        into="answer",
        where=where,
        overwrite=False,
        error_into=None,
    )
    return call.run._plan


def bodies(plan):
    return [orjson.loads(request.body) for request in plan.requests(range(len(plan.keys)))]


def contents(server):
    """Return the last message's content of every request, in the order of arrival."""
    return [body["messages"][-1]["content"] for body in server.ledger.bodies]
