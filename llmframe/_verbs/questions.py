"""The verbs `classify` and `ask`: labels, levels, and answers to yes or no, with how sure they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from llmframe._columns import Examples, Question, Shown, label_text, read_labels, read_questions
from llmframe._loop import ShortTraceback
from llmframe._verbs.calls import (
    FrameCall,
    ListCall,
    SeriesCall,
    companion_name,
    refuse_equal_names,
    side_by_side,
    stem_of,
    with_response,
)
from llmframe._verbs.engines import Asked
from llmframe._verbs.kept_arguments import kept_arguments
from llmframe._verbs.structured import checked_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

    import pandas as pd

    from llmframe._columns import Overwrite, Part, Prompt, QuestionAnswers
    from llmframe._run import RunSettings, SharedByChunks

    NameOf = Callable[[Part], Hashable]
    """Names the column of a part."""

_ASK = ("confidence", "threshold", "votes", "engine")
_CLASSIFY = ("other", "multi", "probabilities", *_ASK)
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
    shared: SharedByChunks | None = None,
) -> FrameCall:
    call = _prepared(partial(_classified, labels), _CLASSIFY, arguments)
    value = _label_name(column) if into is None else into
    stem = value if into is not None or column is None else column
    name_of = partial(_label_column, value, stem)
    settings, names = call.with_columns(name_of, stem=stem, argument="into")
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
        kept=kept_arguments(arguments, column=column, labels=labels, prompt=prompt, into=into),
        finish=call.asked.finish,
        shared=shared,
    )


def _label_name(name: Hashable | None) -> str:
    if isinstance(name, tuple):
        raise ValueError("into: name the new column; none can be made from a multi-level column's name")  # noqa: TRY004 (the column is fine, the other name is missing)
    return "label" if name is None else f"{name}_label"


def _label_column(value: Hashable, stem: Hashable, part: Part) -> Hashable:
    """Name a column of `classify`: the labels are one column, or with `multi` one for each label, whose question it names."""
    question, suffix = part
    if question.labels is not None:
        return companion_name(stem, suffix) if suffix else value
    if suffix == "p":
        return companion_name(stem, f"p_{question.name}")
    return companion_name(value, part.name)


@ShortTraceback()
def classify_series(
    series: pd.Series, arguments: Mapping[str, Any], *, labels: Any, prompt: Prompt, where: Any
) -> SeriesCall:
    call = _prepared(partial(_classified, labels), _CLASSIFY, arguments)
    value = _label_name(series.name)
    stem = value if series.name is None else series.name
    name_of, by_hand = partial(_label_column, value, stem), partial(_label_column, "label", "label")
    settings, names = call.with_columns(name_of, stem=stem, argument="raw", examples_name_of=by_hand)
    alone = len(names) == 1 and not call.kind.shown.as_table
    return SeriesCall(
        series,
        settings,
        prompt=prompt,
        where=where,
        names=names,
        made=(lambda made: made[0]) if alone else side_by_side,
        finish=call.asked.finish,
    )


@ShortTraceback()
def classify_list(
    texts: Iterable[Any], arguments: Mapping[str, Any], *, labels: Any, prompt: Prompt
) -> ListCall:
    call = _prepared(partial(_classified, labels), _CLASSIFY, arguments, has_raw=False)
    settings, _ = call.with_columns(partial(_label_column, "label", "label"), stem="label", argument="labels")
    return ListCall(texts, settings, prompt, call.asked.finish)


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
    before = checked_prefix(prefix)
    call = _prepared(partial(_questioned, questions), _ASK, arguments)
    settings, names = call.with_columns(
        lambda part: f"{before}{part.name}", stem=f"{before}{stem_of(column)}", argument="prefix"
    )
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
        kept=kept_arguments(arguments, column=column, questions=questions, prompt=prompt, prefix=prefix),
        finish=call.asked.finish,
    )


@ShortTraceback()
def ask_series(
    series: pd.Series, arguments: Mapping[str, Any], *, questions: Any, prompt: Prompt, where: Any
) -> SeriesCall:
    call = _prepared(partial(_questioned, questions), _ASK, arguments)
    settings, names = call.with_columns(_own_name, stem=stem_of(series.name), argument="raw")
    return SeriesCall(
        series,
        settings,
        prompt=prompt,
        where=where,
        names=names,
        made=side_by_side,
        finish=call.asked.finish,
    )


@ShortTraceback()
def ask_list(
    texts: Iterable[Any], arguments: Mapping[str, Any], *, questions: Any, prompt: Prompt
) -> ListCall:
    call = _prepared(partial(_questioned, questions), _ASK, arguments, has_raw=False)
    settings, _ = call.with_columns(_own_name, stem="", argument="questions")
    return ListCall(texts, settings, prompt, call.asked.finish)


def _own_name(part: Part) -> str:
    return part.name


@dataclass(frozen=True)
class _Prepared:
    """A call of one of these verbs, as far as it does not depend on where its texts come from."""

    asked: Asked
    settings: RunSettings
    kind: QuestionAnswers
    examples: Any
    raw: bool
    usage: bool

    def with_columns(
        self, name_of: NameOf, *, stem: Hashable, argument: str, examples_name_of: NameOf | None = None
    ) -> tuple[RunSettings, Sequence[Hashable]]:
        """Return the settings, with the user's examples, and the names of all columns.

        Parameters
        ----------
        stem, argument
            As of `with_response`.
        examples_name_of
            Names the columns of the examples, if otherwise.
        """
        names = [name_of(part) for part in self.kind.parts]
        refuse_equal_names(names, self.asked.argument)
        settings = self.settings
        if self.examples is not None:
            by_hand = examples_name_of or name_of
            values = [label_text(by_hand(part)) for part in self.kind.parts if not part.suffix]
            settings = replace(
                settings, examples=Examples(self.examples, partial(self.kind.write, names=values))
            )
        return with_response(settings, names, raw=self.raw, usage=self.usage, stem=stem, argument=argument)


def _prepared(
    read: Callable[..., Asked], own: Sequence[str], arguments: Mapping[str, Any], *, has_raw: bool = True
) -> _Prepared:
    """Read a call's keywords: `own` are those of the verb, which `read` takes, `examples` and `raw` concern its data."""
    data = ("examples", "raw", "usage") if has_raw else ("examples",)
    given = {name: value for name, value in arguments.items() if value is not None}
    asked = read(**{name: given[name] for name in own if name in given})
    others = {name: value for name, value in arguments.items() if name not in own and name not in data}
    settings, kind = asked.settings(others)
    return _Prepared(
        asked, settings, kind, given.get("examples"), given.get("raw", False), given.get("usage", False)
    )


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
    read = read_labels(labels, other=other, fewest=1 if multi else 2)
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
