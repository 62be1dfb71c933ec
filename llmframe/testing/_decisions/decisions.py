"""Decisions: their answers, token counts and bodies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from llmframe.testing._chat import answer_hash, count_tokens
from llmframe.testing._decisions.answers import answer_to, refusal_of
from llmframe.testing._decisions.inputs import asked_about, input_texts, question_texts


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision of one request: an answer to each question, and the token counts."""

    answers: tuple[dict[str, Any], ...]
    prompt_tokens: int
    cached_tokens: int = 0

    @property
    def completion_tokens(self) -> int:
        """One token for each answer."""
        return len(self.answers)

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


def decide(body: dict[str, Any], cached: float = 0.0) -> Decision:
    """Answer a valid request."""
    text, seed = asked_about(body), answer_hash(body)
    answers = tuple(answer_to(question, text, f"{seed}/{i}") for i, question in enumerate(body["questions"]))
    prompt = max(1, sum(map(count_tokens, [*input_texts(body), *question_texts(body)])))
    return Decision(answers, prompt, int(prompt * cached))


def with_refusals(decision: Decision, questions: tuple[str | int, ...], body: dict[str, Any]) -> Decision:
    """Return the decision with questions refused, by name or position, or all of them; it is still billed."""
    answers = tuple(
        refusal_of(question) if not questions or {i, question.get("name")} & {*questions} else answer
        for i, (question, answer) in enumerate(zip(body["questions"], decision.answers, strict=True))
    )
    return replace(decision, answers=answers)


def decision_body(decision: Decision, body: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a decision as the API writes it."""
    return {
        "answers": list(decision.answers),
        "model": body["model"],
        "usage": {
            "input_tokens": decision.prompt_tokens,
            "input_tokens_details": {"cached_tokens": decision.cached_tokens, "cache_write_tokens": 0},
            "output_tokens": decision.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": decision.tokens,
        },
    }
