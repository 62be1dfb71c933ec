"""The text kind of answer: the text of a completion's body, or the reason why a paid body has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from llmframe._values import Verdict

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, MutableSequence, Sequence


class TextAnswers:
    """Reads one text per row from a completion's body; they are written as one column."""

    remedies: ClassVar = {
        "refusal": "rephrase the prompt for these rows",
        "content_filter": "rephrase the prompt for these rows",
        "length": "raise max_completion_tokens or lower reasoning_effort, and pass retry_failed=True",
        "empty": "rephrase the prompt, and pass retry_failed=True to ask again",
        "no_choices": "pass retry_failed=True to ask again",
        "tool_calls": "leave tools= out, or set tool_choice='none'",
    }

    def judge(self, body: Mapping[str, Any]) -> Verdict:  # noqa: PLR0911 (a table)
        choices = body.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return Verdict(None, "no_choices", "the response has no choices", empty=True)
        message = choice.get("message")
        message = message if isinstance(message, dict) else {}
        text, reason = _text(message.get("content")), choice.get("finish_reason")
        if message.get("refusal"):
            return Verdict(None, "refusal", f"the model refused: {message['refusal']}")
        if reason == "content_filter":
            return Verdict(None, "content_filter", "the provider's content filter held the answer back")
        if text is None and reason == "length":
            return Verdict(
                None,
                "length",
                "the token limit was spent before any text came (on reasoning, perhaps); raise max_completion_tokens, or lower reasoning_effort",
                empty=True,
            )
        if text is None and message.get("tool_calls"):
            return Verdict(None, "tool_calls", "the model called a tool instead of answering in text")
        if text is None:
            return Verdict(None, "empty", "the model's answer is empty", empty=True)
        if reason == "length":
            return Verdict(text, "truncated", "cut off at the token limit")
        return Verdict(text)

    def storage(self, requests: int) -> MutableSequence[Any]:
        return [None] * requests

    def columns(
        self, values: Sequence[str | None], index: pd.Index, names: Sequence[Hashable]
    ) -> list[pd.Series]:
        (name,) = names
        return [text_series(values, index, name)]

    def continues(self, existing: pd.Series) -> bool:
        return bool(existing.isna().all()) or pd.api.types.infer_dtype(existing, skipna=True) == "string"


TEXT = TextAnswers()


def text_series(values: Sequence[str | None], index: pd.Index, name: Hashable = None) -> pd.Series:
    """Make a column of pandas' own dtype for text, even if all values are missing."""
    dtype = pd.Series(["text"]).dtype
    return pd.Series(list(values), index=index, dtype=dtype, name=name)


def _text(value: object) -> str | None:
    if isinstance(value, list):
        texts = [part.get("text") for part in value if isinstance(part, dict)]
        value = "".join(text for text in texts if isinstance(text, str))
    return value if isinstance(value, str) and value.strip() else None
