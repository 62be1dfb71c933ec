"""What the messages of a request say: their texts, the text that is asked about, and a schema in the instructions."""

from __future__ import annotations

import json
import re
from typing import Any

_INSTRUCTIONS = frozenset({"system", "developer"})
_CORRECTION = re.compile(r"again\b.*\bschema|schema\b.*\bagain", re.IGNORECASE | re.DOTALL)
_DECODER = json.JSONDecoder()


def message_texts(body: dict[str, Any]) -> list[str]:
    """Return each message's text, parts joined."""
    return [_text(message.get("content")) for message in body["messages"]]


def _text(content: Any) -> str:
    content = joined(content)
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "\n".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def joined(content: Any) -> Any:
    """Return a message's content as a model reads it: adjacent texts are one, and breakpoints of the cache are not read."""
    if not isinstance(content, list):
        return content
    parts: list[dict[str, Any]] = []
    for part in content:
        said = {name: value for name, value in part.items() if name != "prompt_cache_breakpoint"}
        if parts and said.keys() == parts[-1].keys() == {"type", "text"}:
            said["text"] = parts.pop()["text"] + said["text"]
        parts.append(said)
    return parts[0]["text"] if len(parts) == 1 and parts[0].keys() == {"type", "text"} else parts


def last_user_text(texts: list[str], body: dict[str, Any]) -> str:
    """Return the text of the last user message, or of the last message.

    A user message that asks to answer again by the schema stands for the one before it.
    """
    asked = [i for i, message in enumerate(body["messages"]) if message.get("role") == "user"]
    while len(asked) > 1 and _CORRECTION.search(texts[asked[-1]]):
        asked.pop()
    return texts[asked[-1]] if asked else texts[-1]


def schema_in_instructions(texts: list[str], body: dict[str, Any]) -> dict[str, Any] | None:
    """Return the first JSON Schema of an object in the system messages."""
    for message, text in zip(body["messages"], texts, strict=True):
        if message.get("role") in _INSTRUCTIONS and '"properties"' in text:
            for start in (match.start() for match in re.finditer("{", text)):
                found = _object_at(text, start)
                if found.get("type") == "object" and isinstance(found.get("properties"), dict):
                    return found
    return None


def _object_at(text: str, start: int) -> dict[str, Any]:
    try:
        found, _ = _DECODER.raw_decode(text, start)
    except (json.JSONDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def count_tokens(text: str) -> int:
    """Estimate the tokens of a text: a quarter of its UTF-8 bytes."""
    return (len(text.encode("utf-8", "surrogatepass")) + 3) // 4


def prompt_tokens(body: dict[str, Any]) -> int:
    return max(1, sum(map(count_tokens, message_texts(body))))
