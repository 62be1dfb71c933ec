"""The verbs `classify` and `ask`: labels, levels, and answers to yes or no, with how sure they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmframe._columns import Question, Shown, read_labels, read_questions
from llmframe._loop import ShortTraceback
from llmframe._verbs.calls import FrameCall, ListCall, SeriesCall, side_by_side
from llmframe._verbs.engines import Asked

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    import pandas as pd

    from llmframe._columns import Overwrite, Prompt, QuestionAnswers

_OWN = ("other", "multi", "confidence", "probabilities", "threshold", "votes", "engine")
_FEWEST_VOTES, _MOST_VOTES = 2, 255


@ShortTraceback()
def classify_frame(
    frame: pd.DataFrame,
    arguments: Mapping[str, Any],
    *,
    column: Hashable | None,
    labels: Any,
    prompt: Prompt,
    into: Hashable | None,
    where: Any,
    overwrite: Overwrite,
    error_into: Hashable | None,
) -> FrameCall:
    own, arguments = _split(arguments)
    asked = _classified(labels, **own)
    settings, kind = asked.settings(arguments)
    value = into if into is not None else _label_name(column)
    stem = into if into is not None or column is None else column
    return FrameCall(
        frame,
        settings,
        column=column,
        prompt=prompt,
        names=_label_columns(kind, value, stem, several=bool(own.get("multi"))),
        argument="into",
        where=where,
        overwrite=overwrite,
        error_into=error_into,
        finish=asked.finish,
    )


def _label_name(name: Hashable | None) -> str:
    if isinstance(name, tuple):
        raise ValueError("into: name the new column; none can be made from a multi-level column's name")  # noqa: TRY004 (the column is fine, the other name is missing)
    return "label" if name is None else f"{name}_label"


def _label_columns(
    kind: QuestionAnswers, value: Hashable, stem: Hashable | None, *, several: bool
) -> list[Hashable]:
    """Name the columns of labels: one of their own, or one for each label."""
    if not several and len(kind.names) == 1:
        return [value]
    stem = value if stem is None else stem
    names = kind.columns_of(
        lambda question: f"{value}_{question.name}" if several else f"{value}",
        lambda question: f"{value}_{question.name}" if several else f"{stem}",
    )
    return list(names)


@ShortTraceback()
def classify_series(
    series: pd.Series, arguments: Mapping[str, Any], *, labels: Any, prompt: Prompt, where: Any
) -> SeriesCall:
    own, arguments = _split(arguments)
    asked = _classified(labels, **own)
    settings, kind = asked.settings(arguments)
    several = bool(own.get("multi"))
    names = _label_columns(kind, _label_name(series.name), series.name, several=several)
    alone = len(names) == 1 and not several
    return SeriesCall(
        series,
        settings,
        prompt=prompt,
        where=where,
        names=names,
        made=(lambda made: made[0]) if alone else side_by_side,
        finish=asked.finish,
    )


@ShortTraceback()
def classify_list(
    texts: Iterable[Any], arguments: Mapping[str, Any], *, labels: Any, prompt: Prompt
) -> ListCall:
    own, arguments = _split(arguments)
    asked = _classified(labels, **own)
    settings, _ = asked.settings(arguments)
    return ListCall(texts, settings, prompt, asked.finish)


@ShortTraceback()
def ask_frame(
    frame: pd.DataFrame,
    arguments: Mapping[str, Any],
    *,
    column: Hashable | None,
    questions: Any,
    prompt: Prompt,
    prefix: str | None,
    where: Any,
    overwrite: Overwrite,
    error_into: Hashable | None,
) -> FrameCall:
    own, arguments = _split(arguments)
    asked = _questioned(questions, **own)
    settings, kind = asked.settings(arguments)
    return FrameCall(
        frame,
        settings,
        column=column,
        prompt=prompt,
        names=[f"{prefix or ''}{name}" for name in kind.names],
        argument="prefix",
        where=where,
        overwrite=overwrite,
        error_into=error_into,
        finish=asked.finish,
    )


@ShortTraceback()
def ask_series(
    series: pd.Series, arguments: Mapping[str, Any], *, questions: Any, prompt: Prompt, where: Any
) -> SeriesCall:
    own, arguments = _split(arguments)
    asked = _questioned(questions, **own)
    settings, kind = asked.settings(arguments)
    return SeriesCall(
        series,
        settings,
        prompt=prompt,
        where=where,
        names=kind.names,
        made=side_by_side,
        finish=asked.finish,
    )


@ShortTraceback()
def ask_list(
    texts: Iterable[Any], arguments: Mapping[str, Any], *, questions: Any, prompt: Prompt
) -> ListCall:
    own, arguments = _split(arguments)
    asked = _questioned(questions, **own)
    settings, _ = asked.settings(arguments)
    return ListCall(texts, settings, prompt, asked.finish)


def _split(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the keywords of these verbs that were given, and those of every verb."""
    own = {name: value for name, value in arguments.items() if name in _OWN and value is not None}
    return own, {name: value for name, value in arguments.items() if name not in _OWN}


def _classified(
    labels: Any,
    *,
    multi: Any = False,
    other: Any = None,
    confidence: Any = False,
    probabilities: Any = False,
    threshold: Any = None,
    votes: Any = None,
    engine: Any = "auto",
) -> Asked:
    _check_flags(multi=multi, confidence=confidence, probabilities=probabilities)
    read = read_labels(labels, other=other, fewest=1 if multi or other is not None else 2)
    questions = [Question("label", "choice", "Which label fits the text best?", read)]
    if multi:
        questions = [
            Question(label, "yes_no", _fits(label, description))
            for label, description in zip(read.texts, read.descriptions, strict=True)
        ]
    return Asked(
        verb="classify",
        argument="labels",
        questions=questions,
        shown=Shown(confidence, probabilities, _checked_threshold(threshold)),
        engine=engine,
        votes=_checked_votes(votes),
        other=None if multi else other,
    )


def _fits(label: str, description: str) -> str:
    meaning = f" ({description})" if description else ""
    return f"Does the label {label!r}{meaning} fit the text?"


def _questioned(
    questions: Any, *, confidence: Any = False, threshold: Any = None, votes: Any = None, engine: Any = "auto"
) -> Asked:
    _check_flags(confidence=confidence)
    return Asked(
        verb="ask",
        argument="questions",
        questions=read_questions(questions),
        shown=Shown(confidence, threshold=_checked_threshold(threshold)),
        engine=engine,
        votes=_checked_votes(votes),
    )


def _check_flags(**flags: Any) -> None:
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False; got {value!r}")


def _checked_threshold(threshold: Any) -> float | None:
    if threshold is None:
        return None
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold <= 1:
        raise ValueError(
            f"threshold must be a probability above 0 and up to 1, such as 0.8; got {threshold!r}"
        )
    return float(threshold)


def _checked_votes(votes: Any) -> int | None:
    if votes is None:
        return None
    whole = isinstance(votes, int) and not isinstance(votes, bool)
    if not whole or not _FEWEST_VOTES <= votes <= _MOST_VOTES:
        raise ValueError(f"votes must be a whole number of {_FEWEST_VOTES} to {_MOST_VOTES}; got {votes!r}")
    return int(votes)
