"""The kinds of answer of `classify` and `ask`: one column for each question, with what is known of how sure it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from llmframe._columns.questions.picks import Pick, StatedPicks, Votes
from llmframe._columns.questions.wire import question_record
from llmframe._columns.schema import Schema, TypedAnswers
from llmframe._columns.text_answers import TEXT
from llmframe._errors import counted
from llmframe._json import as_json
from llmframe._values import PARTLY, Verdict

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from llmframe._columns.questions.picks import Picks
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


class Part(NamedTuple):
    """One column of the answers: a question's value, or a companion of it.

    Parameters
    ----------
    suffix
        Distinguishes a companion: `confidence`, `score`, `p_` before a label, or `p` of a yes; empty: it is the value.
    """

    question: Question
    suffix: str = ""

    @property
    def name(self) -> str:
        return f"{self.question.name}_{self.suffix}" if self.suffix else self.question.name


class QuestionAnswers:
    """What both engines have in common: the columns of answered questions.

    Parameters
    ----------
    questions
        They are answered in this order.
    shown
        What is a column beside the values.

    Attributes
    ----------
    parts : list of Part
        The columns, in order.
    names : list of str
        Their names in `Run.values`.
    """

    shows_raw: ClassVar = True
    mixes: ClassVar = False
    remedies: ClassVar = TypedAnswers.remedies

    def __init__(self, questions: Sequence[Question], shown: Shown) -> None:
        self.questions = questions
        self.shown = shown
        self.parts = list(self._laid_out())
        self.names = [part.name for part in self.parts]

    def _laid_out(self) -> Iterator[Part]:
        for question in self.questions:
            yield Part(question)
            if self.shown.confidence:
                yield Part(question, "confidence")
            if self._has_score(question):
                yield Part(question, "score")
            if self.shown.probabilities:
                options = ["p"] if question.labels is None else [f"p_{label}" for label in question.options]
                yield from (Part(question, option) for option in options)

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
        value = 0
        for number, part in enumerate(self.parts):
            if part.suffix:
                found[number] = (value,)
            else:
                value = number
        return found

    def _has_score(self, question: Question) -> bool:
        return question.type == "levels" and self.shown.confidence

    def storage(self, requests: int, texts: RowTexts) -> _Storage:  # noqa: ARG002
        return _Storage([self._picks(question, requests) for question in self.questions])

    def _picks(self, question: Question, requests: int) -> Picks:
        return StatedPicks(
            requests,
            len(question.options),
            confidence=self.shown.confidence or self.shown.threshold is not None,
            probabilities=self.shown.probabilities,
            scores=self._has_score(question),
        )

    def columns(
        self, stored: _Storage, codes: npt.NDArray[np.int32], index: pd.Index, names: Sequence[Hashable]
    ) -> list[pd.Series]:
        made = [
            column
            for question, picks in zip(self.questions, stored.picks, strict=True)
            for column in self._made(question, picks, codes)
        ]
        return [pd.Series(column, index=index, name=name) for column, name in zip(made, names, strict=True)]

    def _made(self, question: Question, picks: Picks, codes: npt.NDArray[np.int32]) -> Iterator[Any]:
        """Yield the question's columns, in the order of its parts."""
        yield _values(question, self._sure(picks, codes))
        if self.shown.confidence:
            yield picks.confidence(codes)
        if self._has_score(question):
            yield picks.scores(codes)
        if self.shown.probabilities:
            probabilities = picks.probabilities(codes).T
            yield from probabilities[1:] if question.labels is None else probabilities

    def _sure(self, picks: Picks, codes: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """Return the options that are sure enough; -1 elsewhere."""
        options = picks.options(codes)
        if self.shown.threshold is None:
            return options
        sure = picks.confidence(codes) >= self.shown.threshold - _ROUNDING
        return np.where(sure, options, -1)

    def rows(self, stored: _Storage, codes: npt.NDArray[np.int32], index: pd.Index) -> Any:
        made = self.columns(stored, codes, index, self.names)
        if self.shown.as_table or len(made) > 1:
            return pd.concat(made, axis="columns")
        return [None if missing else value for value, missing in zip(made[0], made[0].isna(), strict=True)]

    def unsure(self, stored: _Storage, codes: npt.NDArray[np.int32]) -> int:
        unsure = np.zeros(len(codes), dtype=bool)
        for picks in stored.picks:
            unsure |= picks.answered(codes) & (self._sure(picks, codes) < 0)
        return int(unsure.sum())

    def takes(self, column: int, value: Any) -> bool:
        question, suffix = self.parts[column]
        return bool(suffix) or value in question.options


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
        answers = answers if isinstance(answers, list) else []
        if len(answers) != len(self.questions):
            found, wanted = counted(len(answers), "answer"), counted(len(self.questions), "question")
            return Verdict(None, "schema", f"the response has {found} to {wanted}", raw=as_json(answers))
        picks: list[Pick | None] = []
        refused = []
        for question, answer in zip(self.questions, answers, strict=True):
            pick = None
            if isinstance(answer, dict) and answer.get("type") == "refusal":
                refused.append(question.name)
            else:
                pick = _decided(question, answer if isinstance(answer, dict) else {})
                if pick is None:
                    detail = f"the answer to {question.name!r} is none of its options, or does not say how probable each is"
                    return Verdict(None, "schema", detail, raw=as_json(answer))
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
