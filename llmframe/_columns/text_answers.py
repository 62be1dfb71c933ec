"""Reading a response body: its text, or why it is no answer though it was paid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmframe._values import Answer, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmframe._values import Key, Lane


def read(key: Key, raw: bytes, data: Mapping[str, Any], lane: Lane = "live") -> Answer:
    """Read a response body: its text, or why it is no answer though it was paid."""
    text, problem, detail = content(data)
    tier, model = data.get("service_tier"), data.get("model")
    return Answer(
        key,
        raw,
        Usage.of(data),
        text,
        problem,
        detail,
        lane,
        tier if isinstance(tier, str) else None,
        model if isinstance(model, str) else None,
    )


def content(data: Mapping[str, Any]) -> tuple[str | None, str | None, str]:  # noqa: PLR0911 (a table)
    """Return a completion's text, its problem's code, and what to say about the problem."""
    choices = data.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return None, "no_choices", "the response has no choices"
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    text, reason = _text(message.get("content")), choice.get("finish_reason")
    if message.get("refusal"):
        return None, "refusal", f"the model refused: {message['refusal']}"
    if reason == "content_filter":
        return None, "content_filter", "the provider's content filter held the answer back"
    if text is None and reason == "length":
        return (
            None,
            "length",
            "the token limit was spent before any text came (on reasoning, perhaps); raise max_completion_tokens, or lower reasoning_effort",
        )
    if text is None and message.get("tool_calls"):
        return None, "tool_calls", "the model called a tool instead of answering in text"
    if text is None:
        return None, "empty", "the model's answer is empty"
    if reason == "length":
        return text, "truncated", "cut off at the token limit"
    return text, None, ""


def _text(value: object) -> str | None:
    if isinstance(value, list):
        texts = [part.get("text") for part in value if isinstance(part, dict)]
        value = "".join(text for text in texts if isinstance(text, str))
    return value if isinstance(value, str) and value.strip() else None
