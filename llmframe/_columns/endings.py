"""How an answer ended: whole, cut off, held back by a filter, broken off, or in a way that is not known."""

from __future__ import annotations

from enum import Enum
from typing import Any

from llmframe._json import words
from llmframe._pacing import is_of_the_moment, stated_status


class Ending(Enum):
    """What a `finish_reason` means for the text beside it."""

    WHOLE = "whole"
    CUT_OFF = "cut off"
    FILTERED = "filtered"
    BROKEN_OFF = "broken off"
    UNKNOWN = "unknown"


CUT_OFF = frozenset({"truncated", "length"})
"""The problems of answers that were cut off at the bound on their tokens: with a text, and without."""

_WORDS = {
    Ending.WHOLE: "stop stop_sequence end_turn eos eos_token complete completed tool_calls function_call tool_use",
    Ending.CUT_OFF: "length max_tokens model_length",
    Ending.FILTERED: "content_filter content_filtered safety recitation prohibited_content blocklist spii "
    "image_safety guardrail_intervened sensitive refusal",
    Ending.BROKEN_OFF: "error abort timeout insufficient_system_resource",
}
"""The words of OpenAI and of other servers; without case."""
_ENDINGS = {word: ending for ending, words in _WORDS.items() for word in words.split()}


def read_ending(reason: object) -> Ending:
    """Read a `finish_reason`; an absent or empty one is that of servers that state none."""
    if reason is None or reason in ("", [], {}):
        return Ending.WHOLE
    return _ENDINGS.get(str(reason).strip().lower(), Ending.UNKNOWN)


def read_error(body: Any) -> tuple[str, bool] | None:
    """Read an error beside the choices of a body: its words, and whether it is of the moment; `None`: there is none."""
    error = body.get("error")
    if not error:
        return None
    parts, text = error if isinstance(error, dict) else {}, words(error)
    code = parts.get("code")
    names = frozenset(name for name in (code, parts.get("type")) if isinstance(name, str))
    status = stated_status(code) or 0
    return text, status >= 500 or status in {408, 429} or is_of_the_moment(names, text)
