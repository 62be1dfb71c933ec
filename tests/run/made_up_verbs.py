"""Two kinds of answer made up for tests, and a verb's way through a run with them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from llmframe._api import CHAT_COMPLETIONS
from llmframe._columns import TEXT, PromptSpec, TargetColumns, make_plan, put_columns, text_series
from llmframe._run import Run, Verb, run_to_end
from llmframe._values import Verdict
from llmframe._verbs.arguments import resolve

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, MutableSequence, Sequence


class NumberAnswers:
    """Reads the number in a whole text, for one Int64 column; values are held in an Int64 array."""

    shows_raw: ClassVar = False
    companions: ClassVar[Mapping[int, Sequence[int]]] = {}
    mixes: ClassVar = False
    remedies: ClassVar = {**TEXT.remedies, "no_number": "ask for a number"}

    def judge(self, body: Mapping[str, Any]) -> Verdict:
        text = TEXT.judge(body)
        if text.problem is not None:
            return text._replace(value=None)
        found = re.search(r"\d+", text.value)
        if found is None:
            return Verdict(None, "no_number", f"there is no number in {text.value!r}")
        return Verdict(int(found[0]))

    def storage(self, requests: int, texts: Any) -> MutableSequence[Any]:  # noqa: ARG002
        return pd.array([None] * requests, dtype="Int64")

    def rows(self, stored: Any, codes: Any, index: pd.Index) -> list[Any]:
        return TEXT.rows(stored, codes, index)

    def columns(self, stored: Any, codes: Any, index: pd.Index, names: Sequence[Hashable]) -> list[pd.Series]:
        (name,) = names
        return [pd.Series(self.rows(stored, codes, index), index=index, dtype="Int64", name=name)]

    def unsure(self, stored: Any, codes: Any) -> int:  # noqa: ARG002
        return 0

    def takes(self, column: int, value: Any) -> bool:  # noqa: ARG002 (any number)
        return True


class CountedAnswers(NumberAnswers):
    """Reads a word and a number, for a text column and an Int64 column."""

    def judge(self, body: Mapping[str, Any]) -> Verdict:
        verdict = super().judge(body)
        if verdict.value is None:
            return verdict
        return Verdict((TEXT.judge(body).value.split()[0], verdict.value))

    def storage(self, requests: int, texts: Any) -> MutableSequence[Any]:  # noqa: ARG002
        return [None] * requests

    def columns(self, stored: Any, codes: Any, index: pd.Index, names: Sequence[Hashable]) -> list[pd.Series]:
        values = self.rows(stored, codes, index)
        words, numbers = zip(*[(None, None) if value is None else value for value in values], strict=True)
        word, number = names
        return [text_series(words, index, word), pd.Series(numbers, index=index, dtype="Int64", name=number)]


class SureAnswers(CountedAnswers):
    """Reads a word, and a number that belongs to it."""

    companions: ClassVar = {1: (0,)}


class BrokenAnswers(NumberAnswers):
    """Reads numbers, with an error of its own."""

    def judge(self, body: Mapping[str, Any]) -> Verdict:
        return Verdict(1 // super().judge(body).value)


class AnyText(NumberAnswers):
    """Takes any text for an answer, however it ended."""

    def judge(self, body: Mapping[str, Any]) -> Verdict:
        return Verdict(len(body["choices"][0]["message"]["content"]))


NUMBER = Verb("number", CHAT_COMPLETIONS, NumberAnswers())
COUNTED = Verb("counted", CHAT_COMPLETIONS, CountedAnswers())
SURE = Verb("sure", CHAT_COMPLETIONS, SureAnswers())
BROKEN = Verb("broken", CHAT_COMPLETIONS, BrokenAnswers())
ANY = Verb("any", CHAT_COMPLETIONS, AnyText())


def ask(
    verb: Verb, frame: pd.DataFrame, column: str, *into: str, overwrite: Any = False, **arguments: Any
) -> pd.DataFrame:
    """Ask the cells of a column and write what the verb's kind makes of the answers."""
    settings = resolve(verb, arguments)
    written_by = {"verb": verb.name, "model": settings.model}
    targets = TargetColumns.of(frame, into, overwrite, None, written_by, argument="into", kind=verb.kind)
    plan = make_plan(
        settings.recipes,
        PromptSpec.parse(column, None, settings.system, {column: column}),
        {column: frame[column]},
        frame.index,
        targets.selected,
        dedupe=settings.dedupe,
        chunk_rows=settings.tuning.chunk_rows,
    )

    def write_back(results: Any, record: dict[str, Any], ending: str) -> pd.DataFrame:
        made = results.columns(frame.index, into)
        columns = [target.merged(series) for target, series in zip(targets.columns, made, strict=True)]
        put_columns(frame, columns, record)
        return frame

    return run_to_end(Run(settings, plan, f"{column} → {', '.join(into)}", write_back))
