"""Plans of calls that are not sent, and their requests."""

from __future__ import annotations

import orjson

from llmframe._verbs.complete import FrameCompletion, ListCompletion

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
    return [key.hex() for key in ListCompletion(prompts, settings).run._plan.keys]


def key(prompt="Hello", **settings):
    (only,) = keys([prompt], **settings)
    return only


def plan_of(frame, *arguments, **settings):
    into, where, overwrite, error_into = "answer", settings.pop("where", None), False, None
    column, prompt = (*arguments, None, None)[:2]
    settings = {"model": "gpt-6-luna", "api_key": "any"} | settings
    return FrameCompletion(frame, column, prompt, into, where, overwrite, error_into, settings).run._plan


def bodies(plan):
    return [orjson.loads(request.body) for request in plan.requests(range(len(plan.keys)))]


def contents(server):
    """Return the last message's content of every request, in the order of arrival."""
    return [body["messages"][-1]["content"] for body in server.ledger.bodies]
