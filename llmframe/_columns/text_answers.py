"""The text kind of answer: the text of a completion's body, or the reason why a paid body has none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from llmframe._columns.endings import Ending, read_ending, read_error
from llmframe._json import as_json
from llmframe._values import Again, Verdict

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, MutableSequence, Sequence

    import numpy as np
    import numpy.typing as npt

    from llmframe._values import RowTexts


class TextAnswers:
    """Reads one text per row from a completion's body; they are written as one column."""

    shows_raw: ClassVar = False
    companions: ClassVar[Mapping[int, Sequence[int]]] = {}
    mixes: ClassVar = True
    remedies: ClassVar = {
        "refusal": "rephrase the prompt for these rows",
        "content_filter": "rephrase the prompt for these rows",
        "length": "raise max_completion_tokens or lower reasoning_effort",
        "empty": "rephrase the prompt",
        "no_choices": "",
        "finish_reason": "ask the provider what this ending means",
        "error": "",
        "tool_calls": "leave tools= out, or set tool_choice='none'",
    }

    def judge(self, body: Mapping[str, Any]) -> Verdict:  # noqa: PLR0911 (a table)
        choices = body.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return Verdict(None, "no_choices", "the response has no choices", empty=True)
        message = choice.get("message")
        message = message if isinstance(message, dict) else {}
        if refusal := _refusal(message):
            return Verdict(None, "refusal", f"the model refused: {refusal}")
        error = read_error(body) or read_error(choice)
        if error is not None:
            words, passing = error
            return Verdict(
                None,
                "error",
                f"an error came with the answer: {words}",
                again=Again.PASSING if passing else None,
            )
        text, reason = _text(message.get("content")), choice.get("finish_reason")
        match read_ending(reason):
            case Ending.FILTERED:
                return Verdict(None, "content_filter", "the provider's content filter held the answer back")
            case Ending.BROKEN_OFF:
                return Verdict(
                    None,
                    "finish_reason",
                    f"the answer broke off (finish_reason {reason!r})",
                    again=Again.PASSING,
                )
            case Ending.UNKNOWN:
                return Verdict(
                    None,
                    "finish_reason",
                    f"the answer ended with finish_reason {reason!r}, which is not known to be a good ending",
                    again=Again.ONCE,
                )
            case Ending.CUT_OFF:
                return _cut_off(text)
        return Verdict(text) if text is not None else _without_text(message)

    def storage(self, requests: int, texts: RowTexts) -> MutableSequence[Any]:  # noqa: ARG002
        return [None] * requests

    def columns(
        self, stored: Any, codes: npt.NDArray[np.int32], index: pd.Index, names: Sequence[Hashable]
    ) -> list[pd.Series]:
        (name,) = names
        return [text_series(self.rows(stored, codes, index), index, name)]

    def rows(self, stored: Any, codes: npt.NDArray[np.int32], index: pd.Index) -> list[str | None]:  # noqa: ARG002
        return spread(stored, codes)

    def unsure(self, stored: Any, codes: npt.NDArray[np.int32]) -> int:  # noqa: ARG002 (a value stands as it is)
        return 0

    def takes(self, column: int, value: Any) -> bool:  # noqa: ARG002 (any text)
        return True


TEXT = TextAnswers()


def spread(values: Sequence[Any], codes: npt.NDArray[np.int32]) -> list[Any]:
    """Return the value of each row's request; `None` for rows without a request."""
    return [None if code < 0 else values[code] for code in codes.tolist()]


def text_series(values: Sequence[str | None], index: pd.Index, name: Hashable = None) -> pd.Series:
    """Make a column of pandas' own dtype for text, even if all values are missing."""
    dtype = pd.Series(["text"]).dtype
    return pd.Series(list(values), index=index, dtype=dtype, name=name)


def _cut_off(text: str | None) -> Verdict:
    if text is not None:
        return Verdict(text, "truncated", "cut off at the token limit")
    return Verdict(
        None,
        "length",
        "the token limit was spent before any text came (on reasoning, perhaps)",
        empty=True,
    )


def _without_text(message: Mapping[str, Any]) -> Verdict:
    if message.get("tool_calls") or message.get("function_call"):
        return Verdict(None, "tool_calls", "the model called a tool instead of answering in text")
    reasoned = message.get("reasoning") or message.get("reasoning_content")
    detail = "the model reasoned, and its answer is empty" if reasoned else "the model's answer is empty"
    return Verdict(None, "empty", detail, empty=True)


def _text(content: object) -> str | None:
    parts = content if isinstance(content, list) else [content]
    text = "".join(map(_part_text, parts))
    return text if text.strip() else None


def _refusal(message: Mapping[str, Any]) -> object:
    """Return the words of a refusal, beside the content or as a part of it."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    refusals = [
        part.get("refusal") for part in parts if isinstance(part, dict) and part.get("type") == "refusal"
    ]
    return message.get("refusal") or next(filter(None, refusals), None)


_NO_ANSWER = re.compile("reason|think|thought|refusal")


_DEEPEST = 3
"""Parts in parts that are read."""


def _part_text(part: object, depth: int = 0) -> str:
    """Return the text of a part of an answer: a text, or an object with one; other objects are answers in JSON."""
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or depth > _DEEPEST:
        return ""
    if part.get("thought") is True or _NO_ANSWER.search(str(part.get("type"))):
        return ""
    text = part.get("text", part.get("content", part.get("parts", part.get("value"))))
    if text is None:
        return "" if "type" in part or not part else as_json(part)
    return "".join(_part_text(inner, depth + 1) for inner in (text if isinstance(text, list) else [text]))
