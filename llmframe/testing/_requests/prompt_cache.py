"""The members about the prompt cache, which older models do not take."""

from __future__ import annotations

import re
from typing import Any

from llmframe.testing._wire import Invalid

_FIRST_VERSION = (5, 6)
_VERSION = re.compile(r"gpt-(\d+)(?:\.(\d+))?(?=-|$)")


def takes_cache_options(model: str) -> bool:
    """Return whether a model is GPT-5.6 or a later one."""
    found = _VERSION.match(model)
    return found is not None and (int(found[1]), int(found[2] or 0)) >= _FIRST_VERSION


def check_prompt_cache(body: dict[str, Any]) -> None:
    """Raise `Invalid` where a valid body asks an older model for explicit caching."""
    if takes_cache_options(body["model"]):
        return
    if body.get("prompt_cache_options") is not None:
        raise _unsupported("prompt_cache_options")
    for number, message in enumerate(body["messages"]):
        content = message.get("content")
        for place, part in enumerate(content if isinstance(content, list) else ()):
            if "prompt_cache_breakpoint" in part:
                raise _unsupported(f"messages[{number}].content[{place}].prompt_cache_breakpoint")


def _unsupported(path: str) -> Invalid:
    return Invalid(
        f"Unsupported parameter: '{path}' is not supported with this model.", path, "unsupported_parameter"
    )
