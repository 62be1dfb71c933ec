"""The kinds of answer of `classify` and `ask`: one column for each question, with what is known of how sure it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from llmframe._columns.questions.picks import Pick, StatedPicks, Votes
from llmframe._columns.questions.wire import question_record
from llmframe._columns.schema import Schema, TypedAnswers
from llmframe._columns.text_answers import TEXT
from llmframe._json import as_json, words
from llmframe._values import PARTLY, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    import numpy.typing as npt

    from llmframe._columns.questions.picks import PickedRows, Picks
    from llmframe._columns.questions.questions import Question
    from llmframe._values import RowTexts

_ROUNDING = 1e-9
"""A probability that is below a threshold by less is as large as it."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown beside a question's value, and how sure that value must be.

    Parameters
    ----------
    confidence
        Whether the probability of the value is a column, and the score of a level.
    probabilities
        Whether the probability of each option is a column.
    threshold
        A value that is less probable is missing.
    as_table
        Whether `Run.values` is a DataFrame also where there is one column alone.
    """

    confidence: bool = False
    probabilities: bool = False
    threshold: float | None = None
    as_table: bool = True


class QuestionAnswers:
    """What both engines have in common: the columns of answered questions.

    Parameters
    ----------
    questions
        They are answered in this order.
    shown
        What is a column beside the values.
    other
        The label that a tie of votes gives.
    """

    shows_raw: ClassVar = True
    mixes: ClassVar = False
    remedies: ClassVar = TypedAnswers.remedies

    def __init__(self, questions: Sequence[Question], shown: Shown) -> None:
        self.questions = questions
        self._shown = shown
        self.names = self.columns_of(lambda question: question.name, lambda question: question.name)

    def columns_of(self, value: Callable[[Question], str], stem: Callable[[Question], str]) -> list[str]:
        """Name the columns: a question's value, then its companions after a stem."""
        names = []
        for question in self.questions:
            names.append(value(question))
            names += [f"{stem(question)}_confidence"] if self._shown.confidence else []
            names += [f"{stem(question)}_score"] if self._has_score(question) else []
            names += [f"{stem(question)}_p_{option}" for option in self._probable(question)]
        return names

    def write(self, cells: Mapping[str, Any], names: Sequence[str]) -> str:
        """Write the answer that cells stand for, by column; `names` has each question's.

        Raises
        ------
        KeyError
            With the name of a column that is not there.
        ValueError
            For a value that is none of a question's options.
        """
        answer: dict[str, str | bool | None] = {}
        for question, name in zip(self.questions, names, strict=True):
            cell = cells[name]
            if pd.api.types.is_scalar(cell) and pd.isna(cell):
                answer[question.name] = None
                continue
            cell = cell.value if isinstance(cell, Enum) else cell
            if isinstance(cell, np.bool_):
                cell = bool(cell)
            if not isinstance(cell, bool if question.labels is None else str) or cell not in question.options:
                raise ValueError(f"{name}: {cell!r} is none of {', '.join(map(repr, question.options))}")
            answer[question.name] = cell
        return as_json(answer)

    @property
    def companions(self) -> dict[int, tuple[int]]:
        found: dict[int, tuple[int]] = {}
        at = 0
        for question in self.questions:
            value = at
            at += 1 + self._shown.confidence + self._has_score(question) + len(self._probable(question))
            found |= dict.fromkeys(range(value + 1, at), (value,))
        return found

    def _has_score(self, question: Question) -> bool:
        return question.type == "levels" and self._shown.confidence

    def _probable(self, question: Question) -> Sequence[str | bool]:
        """Return the options whose probabilities are columns: of yes or no, that of yes."""
        if not self._shown.probabilities:
            return ()
        return question.options[1:] if question.labels is None else question.options

    def storage(self, requests: int, texts: RowTexts) -> _Storage:  # noqa: ARG002
        return _Storage([self._picks(question, requests) for question in self.questions])

    def _picks(self, question: Question, requests: int) -> Picks:
        return StatedPicks(requests, len(question.options), keeps_probabilities=self._shown.probabilities)

    def columns(
        self, stored: _Storage, codes: npt.NDArray[np.int32], index: pd.Index, names: Sequence[Hashable]
    ) -> list[pd.Series]:
        made = [
            column
            for question, picks in zip(self.questions, stored.picks, strict=True)
            for column in self._made(question, picks.rows(codes))
        ]
        return [pd.Series(column, index=index, name=name) for column, name in zip(made, names, strict=True)]

    def _made(self, question: Question, picked: PickedRows) -> list[Any]:
        made = [_values(question, self._sure(picked))]
        if self._shown.confidence:
            made.append(picked.confidence)
        if self._has_score(question):
            made.append(picked.scores)
        if self._shown.probabilities and picked.probabilities is not None:
            at = 1 if question.labels is None else 0
            made += list(picked.probabilities[:, at:].T)
        return made

    def _sure(self, picked: PickedRows) -> npt.NDArray[np.int64]:
        """Return the options that are sure enough; -1 elsewhere."""
        if self._shown.threshold is None:
            return picked.options
        unsure = ~(picked.confidence >= self._shown.threshold - _ROUNDING)
        return np.where(unsure, -1, picked.options)

    def rows(self, stored: _Storage, codes: npt.NDArray[np.int32], index: pd.Index) -> Any:
        made = self.columns(stored, codes, index, self.names)
        if self._shown.as_table or len(made) > 1:
            return pd.concat(made, axis="columns")
        return [None if missing else value for value, missing in zip(made[0], made[0].isna(), strict=True)]

    def unsure(self, stored: _Storage, codes: npt.NDArray[np.int32]) -> int:
        unsure = np.zeros(len(codes), dtype=bool)
        for picks in stored.picks:
            picked = picks.rows(codes)
            unsure |= picked.answered & (self._sure(picked) < 0)
        return int(unsure.sum())

    def takes(self, column: int, value: Any) -> bool:
        values = [number for number in range(len(self.names)) if number not in self.companions]
        return column not in values or value in self.questions[values.index(column)].options


class _Storage:
    """The picks of all requests, by question."""

    def __init__(self, picks: list[Picks]) -> None:
        self.picks = picks

    def __setitem__(self, number: int, picked: Sequence[Pick | None]) -> None:
        for picks, pick in zip(self.picks, picked, strict=True):
            picks.put(number, pick)


def _values(question: Question, options: npt.NDArray[np.int64]) -> Any:
    if question.labels is None:
        return pd.arrays.BooleanArray(options == 1, options < 0)
    categories = pd.Index(list(question.labels.texts), dtype=pd.Series(["text"]).dtype)
    dtype = pd.CategoricalDtype(categories, ordered=question.type == "levels")
    return pd.Categorical.from_codes(options, dtype=dtype)


class ChatQuestionAnswers(QuestionAnswers):
    """Answers in the JSON of a chat completion, of one draw or of several."""

    def __init__(
        self, questions: Sequence[Question], shown: Shown, *, draws: int = 1, other: str | None = None
    ) -> None:
        super().__init__(questions, shown)
        self._draws, self._other = draws, other
        self._typed = TypedAnswers(Schema(question_record(questions)))
        self._positions = [
            {option: at for at, option in enumerate(question.options)} for question in questions
        ]

    def judge(self, body: Mapping[str, Any]) -> Verdict:
        verdict = self._typed.judge(body)
        if verdict.value is None:
            return verdict
        pairs = zip(self._positions, verdict.value, strict=True)
        return verdict._replace(value=[Pick(positions[value]) for positions, value in pairs])

    def _picks(self, question: Question, requests: int) -> Picks:
        if self._draws == 1:
            return super()._picks(question, requests)
        other = -1 if self._other is None or question.labels is None else question.options.index(self._other)
        return Votes(requests, len(question.options), self._draws, other)


class DecisionAnswers(QuestionAnswers):
    """Answers of `/v1/decisions`, with the probability of each option."""

    remedies: ClassVar = {
        "refusal": "rephrase the question, or leave these rows out by where=",
        "schema": "the server does not answer as OpenAI's decisions do: pass engine='chat'",
    }

    def judge(self, body: Mapping[str, Any]) -> Verdict:
        answers = body.get("answers")
        if not isinstance(answers, list) or len(answers) != len(self.questions):
            found = len(answers) if isinstance(answers, list) else "no"
            return Verdict(
                None, "schema", f"the response has {found} answers to {len(self.questions)} questions"
            )
        picks: list[Pick | None] = []
        refused = []
        for question, answer in zip(self.questions, answers, strict=True):
            pick = None
            if isinstance(answer, dict) and answer.get("type") == "refusal":
                refused.append(question.name)
            else:
                pick = _decided(question, answer if isinstance(answer, dict) else {})
                if pick is None:
                    detail = f"the answer to {question.name!r} is none of its options: {words(answer)[:200]}"
                    return Verdict(None, "schema", detail)
            picks.append(pick)
        if len(refused) == len(picks):
            return Verdict(None, "refusal", "the model refused" if len(picks) == 1 else ", ".join(refused))
        return Verdict(picks, PARTLY if refused else None, ", ".join(refused))


def _decided(question: Question, answer: Mapping[str, Any]) -> Pick | None:
    """Read a decision's answer to a question; `None`: it is not one."""
    if question.labels is None:
        probability = _probability(answer.get("probability"))
        return None if probability is None else Pick(int(probability >= 0.5), (1 - probability, probability))
    probabilities = _stated(question, answer.get("probabilities"))
    if question.type == "choice":
        choice = answer.get("choice")
        known = probabilities and isinstance(choice, str) and choice in question.options
        return Pick(question.options.index(choice), probabilities) if known else None
    score = answer.get("score")
    if not probabilities or not isinstance(score, int | float) or not isfinite(score):
        return None
    return Pick(probabilities.index(max(probabilities)), probabilities, float(score))


def _stated(question: Question, stated: object) -> tuple[float, ...]:
    """Read the probability of each option; empty where they are not as the API states them."""
    key = "value" if question.type == "choice" else "label"
    found = {
        each[key]: _probability(each.get("probability"))
        for each in (stated if isinstance(stated, list) else ())
        if isinstance(each, dict) and isinstance(each.get(key), str)
    }
    probabilities = [found.get(option, 0.0) for option in question.options]
    known = tuple(each for each in probabilities if each is not None)
    return known if len(known) == len(probabilities) and any(known) else ()


def _probability(value: object) -> float | None:
    possible = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
    return float(value) if possible else None  # type: ignore[arg-type]


def judge_any(body: Mapping[str, Any]) -> Verdict:
    """Judge a body of any endpoint by itself: whether there is an answer in it."""
    answers = body.get("answers")
    if "choices" in body or not isinstance(answers, list):
        return TEXT.judge(body)
    refused = [isinstance(answer, dict) and answer.get("type") == "refusal" for answer in answers]
    return Verdict(None, "refusal", "the model refused") if all(refused) else Verdict(as_json(answers))
