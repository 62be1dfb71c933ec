"""Completions: their texts, token counts and bodies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llmframe.testing._chat.answers import asked_schema, made_up_answer
from llmframe.testing._chat.faulty_texts import faulty_text
from llmframe.testing._chat.messages import count_tokens, prompt_tokens
from llmframe.testing._settings import TEXT_FAULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmframe.testing._settings import Reply


@dataclass(frozen=True, slots=True)
class Completion:
    """The completion of one request: a text for each choice, the token counts and the finish reason."""

    texts: tuple[str | None, ...]
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str = "stop"
    refusal: str | None = None
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


def output_cap(body: dict[str, Any]) -> int | None:
    cap = body.get("max_completion_tokens")
    return body.get("max_tokens") if cap is None else cap


def complete(
    body: dict[str, Any], answer: Callable[[dict[str, Any]], str] | None, cached: float = 0.0
) -> Completion:
    """Answer a valid request."""
    number = body.get("n") or 1
    texts = [made_up_answer(body, i) if answer is None else answer(body) for i in range(number)]
    cap, reason = output_cap(body), "stop"
    if cap is not None and any(count_tokens(text) > cap for text in texts):
        texts, reason = [_cut(text, cap) for text in texts], "length"
    prompt = prompt_tokens(body)
    spent = sum(map(count_tokens, texts))
    return Completion(tuple(texts), prompt, spent, reason, cached_tokens=int(prompt * cached))


def _cut(text: str, tokens: int) -> str:
    return text.encode()[: tokens * 4].decode(errors="ignore")


def with_answer_fault(completion: Completion, kind: str, body: dict[str, Any]) -> Completion:
    """Return the completion with an answer fault applied; it is still billed."""
    texts = completion.texts
    if kind == "length_empty":
        spent = (output_cap(body) or 512) * len(texts)
        completion = replace(completion, completion_tokens=spent, reasoning_tokens=spent)
    return replace(
        completion,
        texts=_faulty_texts(texts, kind, body),
        finish_reason=_FINISH_REASONS.get(kind, completion.finish_reason),
        refusal="I'm sorry, I can't assist with that request." if kind == "refusal" else None,
    )


_FINISH_REASONS = {"content_filter": "content_filter", "length_empty": "length", "length_text": "length"}


def _faulty_texts(texts: tuple[str | None, ...], kind: str, body: dict[str, Any]) -> tuple[str | None, ...]:
    if kind in TEXT_FAULTS:
        return tuple(text and faulty_text(text, kind, asked_schema(body)) for text in texts)
    if kind == "empty_choices":
        return ()
    if kind == "length_text":
        return tuple(text and text[: max(1, len(text) // 2)] for text in texts)
    return (None if kind == "refusal" else "",) * len(texts)


def answer_body(completion: Completion, body: dict[str, Any], name: str, created: int) -> dict[str, Any]:
    """Return the body of a completion as the API writes it; `name` is part of its id."""
    tier = body.get("service_tier")
    return {
        "id": f"chatcmpl-{name}",
        "object": "chat.completion",
        "created": created,
        "model": body["model"],
        "choices": [_choice(completion, i, text) for i, text in enumerate(completion.texts)],
        "usage": _usage(completion),
        "service_tier": "default" if tier in (None, "auto") else tier,
        "system_fingerprint": "fp_llmframe",
    }


def with_changes(answer: dict[str, Any], reply: Reply) -> dict[str, Any]:
    """Return the body of a completion, or of a decision, with the changes of a reply."""
    choices = [
        _changed({**choice, "message": _changed(choice["message"], reply.message)}, reply.choice)
        for choice in answer.get("choices", ())
    ]
    return _changed({**answer, "choices": choices} if choices else answer, reply.completion)


def _changed(members: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    made = {
        name: change(members.get(name)) if callable(change) else change for name, change in changes.items()
    }
    return {name: value for name, value in {**members, **made}.items() if value is not ...}


def _choice(completion: Completion, index: int, text: str | None) -> dict[str, Any]:
    return {
        "index": index,
        "message": {
            "role": "assistant",
            "content": text,
            "refusal": completion.refusal,
            "annotations": [],
        },
        "logprobs": None,
        "finish_reason": completion.finish_reason,
    }


def _usage(completion: Completion) -> dict[str, Any]:
    return {
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
        "total_tokens": completion.tokens,
        "prompt_tokens_details": {
            "cached_tokens": completion.cached_tokens,
            "cache_write_tokens": completion.written_tokens,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": completion.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
