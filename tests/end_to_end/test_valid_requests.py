"""Every request is one that the API takes."""

from __future__ import annotations

import pandas as pd
from openapi import validator


def test_every_request_satisfies_the_published_document(llm):
    """Templates, system texts, message arrays with images and tool calls, and many parameters are sent."""
    frame = pd.DataFrame(
        {
            "q": ["How much?", 'Quotes " and \\ and {braces}', "Größe 😀\x00\u2028", "l" * 5000],
            "plain": [[{"role": "user", "content": "Hello"}]] * 4,
            "price": [1.5, 2.0, 3.25, 1e9],
            "talk": [
                [{"role": "user", "content": "Hello"}],
                [
                    {"role": "developer", "content": "Be brief."},
                    {"role": "user", "content": [{"type": "text", "text": "a"}]},
                ],
                [
                    {"role": "user", "content": "Hi"},
                    {"role": "assistant", "content": "Yes?"},
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "What is this?"},
                            {
                                "type": "image_url",
                                "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"},
                            },
                            {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
                        ],
                    },
                ],
                [
                    {"role": "user", "content": "Weather?"},
                    {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [
                            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                        ],
                    },
                    {"role": "tool", "tool_call_id": "1", "content": "Rain"},
                ],
            ],
        }
    )
    shape = {
        "type": "json_schema",
        "json_schema": {
            "name": "answer",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {"label": {"type": "string"}},
                "required": ["label"],
                "additionalProperties": False,
            },
        },
    }
    llm_settings = [
        {
            "temperature": 0,
            "top_p": 1.0,
            "seed": 1,
            "stop": ["\n", "END"],
            "presence_penalty": 0.5,
            "frequency_penalty": -1,
        },
        {
            "reasoning_effort": "low",
            "verbosity": "low",
            "max_completion_tokens": 200,
            "service_tier": "flex",
            "store": False,
        },
        {
            "logprobs": True,
            "top_logprobs": 3,
            "logit_bias": {"50256": -100},
            "user": "me",
            "metadata": {"a": "b"},
        },
        {
            "response_format": shape,
            "prompt_cache_key": "k",
            "safety_identifier": "s",
            "extra_body": {"max_tokens": 50},
        },
        {
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
                }
            ],
            "tool_choice": "none",
            "parallel_tool_calls": False,
        },
    ]
    calls = [
        {"column": "q"},
        {"column": "q", "prompt": "One word, positive or negative:"},
        {"prompt": "{q} for {price:.2f}?", "system": "Prices are in {price} euro."},
        {"column": "talk"},
        {"column": "plain", "system": "Answer in French."},
        {
            "prompt": lambda row: [
                {"role": "system", "content": "Brief."},
                {"role": "user", "content": row["q"]},
            ]
        },
    ]
    for call in calls:
        for number, settings in enumerate(
            [{}, *llm_settings] if call == {"column": "q"} else [llm_settings[0]]
        ):
            frame.llm.complete(into=f"a{number}", overwrite=True, **call, **settings)
    bodies = llm.ledger.bodies
    assert len(bodies) > 40
    for sent in bodies:
        validator("CreateChatCompletionRequest").validate(sent)
