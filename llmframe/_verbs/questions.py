"""The verbs `classify` and `ask`: labels, levels, and answers to yes or no, with how sure they are."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from llmframe._columns import Examples, Question, Shown, label_text, read_labels, read_questions
from llmframe._loop import ShortTraceback
from llmframe._verbs.calls import FrameCall, ListCall, SeriesCall, side_by_side, with_response
from llmframe._verbs.engines import Asked
from llmframe._verbs.structured import checked_prefix

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    import pandas as pd

    from llmframe._columns import Overwrite, Prompt, QuestionAnswers
    from llmframe._run import RunSettings

_OWN = ("other", "multi", "confidence", "probabilities", "threshold", "votes", "engine", "examples", "raw")
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
    asked = _classified(labels, **_without_data(own))
    settings, kind = asked.settings(arguments)
    value = into if into is not None else _label_name(column)
    stem = value if into is not None or column is None else column
    names = _label_columns(kind, value, stem, several=bool(own.get("multi")))
    settings = _with_examples(settings, kind, names, own)
    settings, names = with_response(settings, names, raw=own.get("raw", False), stem=stem, argument="into")
    return FrameCall(
        frame,
        settings,
        column=column,
        prompt=prompt,
        names=names,
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
    kind: QuestionAnswers, value: Hashable, stem: Hashable, *, several: bool
) -> Sequence[Hashable]:
    """Name the columns of labels: one of their own, or one for each label."""
    if not several and len(kind.names) == 1:
        return [value]
    return kind.columns_of(
        lambda question: f"{value}_{question.name}" if several else f"{value}",
        lambda question: f"{value}_{question.name}" if several else f"{stem}",
    )


@ShortTraceback()
def classify_series(
    series: pd.Series, arguments: Mapping[str, Any], *, labels: Any, prompt: Prompt, where: Any
) -> SeriesCall:
    own, arguments = _split(arguments)
    asked = _classified(labels, **_without_data(own))
    settings, kind = asked.settings(arguments)
    several, value = bool(own.get("multi")), _label_name(series.name)
    stem = value if series.name is None else series.name
    names = _label_columns(kind, value, stem, several=several)
    settings = _with_examples(settings, kind, _label_columns(kind, "label", "label", several=several), own)
    settings, names = with_response(settings, names, raw=own.get("raw", False), stem=stem, argument="raw")
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
    asked = _classified(labels, **_without_data(own))
    settings, kind = asked.settings(arguments)
    names = _label_columns(kind, "label", "label", several=bool(own.get("multi")))
    return ListCall(texts, _with_examples(settings, kind, names, own), prompt, asked.finish)


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
    asked = _questioned(questions, **_without_data(own))
    settings, kind = asked.settings(arguments)
    before = checked_prefix(prefix)
    names: Sequence[Hashable] = [f"{before}{name}" for name in kind.names]
    settings = _with_examples(settings, kind, names, own)
    stem = before if column is None else f"{before}{label_text(column)}"
    settings, names = with_response(settings, names, raw=own.get("raw", False), stem=stem, argument="prefix")
    return FrameCall(
        frame,
        settings,
        column=column,
        prompt=prompt,
        names=names,
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
    asked = _questioned(questions, **_without_data(own))
    settings, kind = asked.settings(arguments)
    settings = _with_examples(settings, kind, kind.names, own)
    stem = "" if series.name is None else label_text(series.name)
    settings, names = with_response(
        settings, kind.names, raw=own.get("raw", False), stem=stem, argument="raw"
    )
    return SeriesCall(
        series,
        settings,
        prompt=prompt,
        where=where,
        names=names,
        made=side_by_side,
        finish=asked.finish,
    )


@ShortTraceback()
def ask_list(
    texts: Iterable[Any], arguments: Mapping[str, Any], *, questions: Any, prompt: Prompt
) -> ListCall:
    own, arguments = _split(arguments)
    asked = _questioned(questions, **_without_data(own))
    settings, kind = asked.settings(arguments)
    return ListCall(texts, _with_examples(settings, kind, kind.names, own), prompt, asked.finish)


def _with_examples(
    settings: RunSettings, kind: QuestionAnswers, names: Sequence[Hashable], own: Mapping[str, Any]
) -> RunSettings:
    """Return the settings with the user's examples, whose answers are in the value columns of these names."""
    if own.get("examples") is None:
        return settings
    values = [label_text(name) for number, name in enumerate(names) if number not in kind.companions]
    return replace(settings, examples=Examples(own["examples"], partial(kind.write, names=values)))


def _split(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the keywords of these verbs that were given, and those of every verb."""
    own = {name: value for name, value in arguments.items() if name in _OWN and value is not None}
    return own, {name: value for name, value in arguments.items() if name not in _OWN}


def _without_data(own: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in own.items() if name not in ("examples", "raw")}


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
        shown=Shown(confidence, probabilities, _checked_threshold(threshold), as_table=multi),
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
