"""Questions as they are sent: to `/v1/decisions`, and as the schema of a chat completion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmframe._columns.schema import Choice, Field, Record, Scalar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmframe._columns.questions.questions import Question

MOST_CHOICES = 255
"""The API's limit of a decision's choices."""


def decision_questions(questions: Sequence[Question], instruction: str | None) -> list[dict[str, Any]]:
    """Return the member `questions` of a decision; an instruction stands before each question's own text."""
    return [_decision_question(question, instruction) for question in questions]


def _decision_question(question: Question, instruction: str | None) -> dict[str, Any]:
    text = "\n\n".join(filter(None, (instruction, question.text or _default_text(question))))
    asked: dict[str, Any] = {"instructions": text, "name": question.name}
    labels = question.labels
    if labels is None:
        return {"type": "predicate", **asked}
    key, value = ("choices", "value") if question.type == "choice" else ("levels", "label")
    return {
        "type": "choice" if question.type == "choice" else "score",
        **asked,
        key: [
            {value: label, **({"description": description} if description else {})}
            for label, description in zip(labels.texts, labels.descriptions, strict=True)
        ],
    }


def _default_text(question: Question) -> str:
    match question.type:
        case "yes_no":
            return f"Is this so of the text: {question.name}?"
        case "choice":
            return f"Which {question.name} fits the text best?"
    return f"Which level of {question.name} fits the text best?"


def question_record(questions: Sequence[Question], draw: int = 0) -> Record:
    """Return the record whose fields are the answers, for a chat completion; a draw has an order of labels of its own."""
    return Record(tuple(_field(question, draw) for question in questions))


def _field(question: Question, draw: int) -> Field:
    labels = question.labels
    text = question.text or _default_text(question)
    if labels is None:
        return Field(question.name, Scalar("bool"), nullable=False, description=text)
    if question.type == "choice":
        labels = labels.in_order_of(draw)
    meanings = [
        f"{label}: {description}"
        for label, description in zip(labels.texts, labels.descriptions, strict=True)
        if description
    ]
    return Field(
        question.name, Choice(labels.texts), nullable=False, description="\n".join([text, *meanings])
    )
