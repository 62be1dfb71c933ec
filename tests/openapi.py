"""Validators by OpenAI's published document, whose structure and bounds the package has for its local server."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from jsonschema import Draft202012Validator

DOCUMENT = json.loads(
    files("llmframe.testing").joinpath("_requests", "openapi.json").read_text(encoding="utf-8")
)


@cache
def validator(name: str) -> Draft202012Validator:
    """Return a validator of one component, such as `"CreateChatCompletionRequest"`."""
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", **DOCUMENT})
