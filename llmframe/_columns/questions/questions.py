"""The questions that one reading of a text answers: yes or no, a choice, a level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, TypeAlias

from llmframe._columns.questions.labels import Labels, read_labels, sendable

QuestionType: TypeAlias = Literal["yes_no", "choice", "levels"]

MOST_QUESTIONS = 400
"""The API's limit of a decision's questions."""


class Levels:
    """The ordered answers to a question, lowest first, for `ask`.

    Parameters
    ----------
    labels : list of str, or dict of str to str
        The levels, at least two; a dict gives a description for each.

    Examples
    --------
    >>> Levels(["low", "mid", "high"])
    Levels(['low', 'mid', 'high'])
    """

    def __init__(self, labels: Sequence[str] | Mapping[str, str]) -> None:
        self.labels = read_labels(labels, "Levels")

    def __repr__(self) -> str:
        texts, descriptions = self.labels.texts, self.labels.descriptions
        shown = dict(zip(texts, descriptions, strict=True)) if any(descriptions) else list(texts)
        return f"Levels({shown!r})"

    def __eq__(self, other: object) -> bool:
        return self.labels == other.labels if isinstance(other, Levels) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.labels)


@dataclass(frozen=True, slots=True)
class Question:
    """One question about a text.

    Parameters
    ----------
    name
        Names the answer, and its column.
    type
        What the answer is: a truth value, one of some labels, or one of some ordered labels.
    text
        The question in the user's words; `""`: its name says it.
    labels
        What there is to choose from; `None`: yes or no.
    """

    name: str
    type: QuestionType
    text: str = ""
    labels: Labels | None = None

    @property
    def options(self) -> tuple[str | bool, ...]:
        """The possible answers; of yes or no, `False` is the first."""
        return (False, True) if self.labels is None else self.labels.texts


def questions_as_json(questions: Sequence[Question]) -> list[dict[str, Any]]:
    """Return questions as JSON, of which `questions_from_json` makes what was passed as `questions`."""
    return [
        {
            "name": question.name,
            "type": question.type,
            **({"text": question.text} if question.text else {}),
            **({} if question.labels is None else {"labels": question.labels.as_json}),
        }
        for question in questions
    ]


def questions_from_json(kept: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what is passed as `questions`, from what `questions_as_json` made of it."""
    given = {}
    for question in kept:
        wanted: Any = question.get("labels", bool)
        wanted = Levels(wanted) if question["type"] == "levels" else wanted
        given[question["name"]] = (wanted, question["text"]) if "text" in question else wanted
    return given


def read_questions(given: Any) -> tuple[Question, ...]:
    """Read what a user passed as `questions`.

    Parameters
    ----------
    given
        `{"name": question}`, and for each `bool`, labels (a list, dict, Enum or Literal), `Levels`, a text that is to be
        answered by yes or no, or a pair of one of these and a text.

    Raises
    ------
    TypeError, ValueError
        With what to write instead.
    """
    if not isinstance(given, Mapping):
        raise TypeError(
            f"questions must be a dict such as {{'spam': bool, 'topic': ['billing', 'bug']}}; got {type(given).__name__}"
        )
    if not 0 < len(given) <= MOST_QUESTIONS:
        raise ValueError(f"questions: there must be 1 to {MOST_QUESTIONS}; got {len(given)}")
    return tuple(_question(name, wanted) for name, wanted in given.items())


def _question(name: Any, wanted: Any) -> Question:
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"questions: a question's name must be text that is not blank; got {name!r}")
    name, text = sendable(str.__str__(name), "questions"), ""
    if (
        isinstance(wanted, tuple)
        and len(wanted) == 2
        and isinstance(wanted[1], str)
        and not isinstance(wanted[0], str)
    ):
        wanted, text = wanted
    elif isinstance(wanted, str):
        wanted, text = bool, wanted
    text = sendable(text, f"questions: {name}")
    if wanted is bool:
        return Question(name, "yes_no", text)
    if isinstance(wanted, Levels):
        return Question(name, "levels", text, wanted.labels)
    is_enum = isinstance(wanted, type) and issubclass(wanted, Enum)
    if isinstance(wanted, type) and not is_enum:
        raise TypeError(
            f"questions: {name}: {wanted.__name__} is no question's answer; write bool, a list of labels or llmframe.Levels([…]), "
            "or use extract for other values"
        )
    return Question(name, "choice", text, read_labels(wanted, f"questions: {name}"))
