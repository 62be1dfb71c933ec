"""Exceptions and one warning.

Invalid arguments raise the built-in `ValueError`, `TypeError` and `KeyError` before anything is sent.
The others::

    LLMFrameError
    ├── CompletionError        rows without an answer; carries the run and the answers
    │   └── StoppedError       nothing more could succeed: the run ended early
    │       └── CostLimitReached   the run ended at its max_cost
    └── JournalError           the journal cannot be used, or its disk is full

All of them, and the warning, can be pickled, so that pools of processes and engines can hand them on. As with Python's
own exceptions, the traceback and the cause stay behind: a cause of the SDK's holds the request, with the key.
"""

from __future__ import annotations

import copyreg
import re
from collections import Counter
from datetime import date, time, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmframe._values import RunView

FAILURE_COLUMNS = ("position", "label", "code", "message", "attempts")
"""The columns of a table of failed rows."""

_LISTED_FAILURES = 10_000
"""An error lists at most this many failed rows: it is sent between processes."""

_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters that a terminal obeys, or that no encoding writes."""
_LABEL_CHARACTERS = 80
"""A message shows this many characters of a label."""

E = TypeVar("E", bound="LLMFrameError")

_PRINTED = (date, time, timedelta, pd.Period, pd.Interval)
"""What is read more easily as it prints than as code writes it."""


def row_name(labels: pd.Index, position: int) -> str:
    """Return how a message names a row: by its label, or by its position where the label is that, or several rows have it.

    Examples
    --------
    >>> row_name(pd.RangeIndex(3), 1), row_name(pd.Index(["p", "q"]), 1), row_name(pd.Index(["p", "p"]), 1)
    ('row 1', "label 'q'", 'row 1')
    """
    label = labels[position]
    if isinstance(label, int | np.integer) and label == position:
        return f"row {position}"
    try:
        unique = labels.is_unique
    except TypeError:  # labels that have no hash
        unique = False
    return f"label {short(plain_repr(label), _LABEL_CHARACTERS)}" if unique else f"row {position}"


def short(text: str, longest: int) -> str:
    """Return a text as one line of at most this many characters."""
    line = _UNSHOWN.sub("\ufffd", " ".join(text.split()))
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def counted(count: int, noun: str) -> str:
    """Return a number of things, with an `s` where they are several."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def plain_repr(label: object) -> str:
    """Return a label as a message shows it: numpy's scalars as Python's own, dates as they print.

    Examples
    --------
    >>> plain_repr(np.int64(53)), plain_repr((np.str_("a"), pd.Timestamp("2026-01-31")))
    ('53', "('a', 2026-01-31 00:00:00)")
    """
    if type(label) is tuple:
        inner = ", ".join(map(plain_repr, label))
        return f"({inner},)" if len(label) == 1 else f"({inner})"
    if isinstance(label, np.datetime64 | np.timedelta64):
        return str(label)
    if isinstance(label, np.generic):
        label = label.item()
    try:
        return str(label) if isinstance(label, (*_PRINTED, np.generic)) else repr(label)
    except Exception:  # noqa: BLE001 (a foreign class; a message about rows must not be lost to it)
        return f"<{type(label).__name__}>"


class LLMFrameError(Exception):
    """The base class of llmframe's own errors."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        return _without_init, (type(self), self.args), self._state()

    def _state(self) -> dict[str, Any]:
        """Return the attributes that a pickle holds, notes included."""
        return dict(vars(self))


def keep_own_pickling() -> None:
    """Let these errors be pickled without their causes where another library pickles all exceptions with theirs.

    tblib does, which distributed installs; a cause of the SDK's holds the request, with the key.
    """
    kinds = [LLMFrameError]
    for kind in kinds:
        copyreg.dispatch_table.pop(kind, None)
        kinds += kind.__subclasses__()


def _without_init(kind: type[E], args: tuple[Any, ...]) -> E:
    """Make an error with these `args`, whatever its class's `__init__` takes."""
    return kind.__new__(kind, *args)


class CompletionError(LLMFrameError):
    """Some rows have no answer; the other rows are written.

    A pickled error, and a deep copy, has `run=None` and `result=None`; the other attributes are kept.

    Attributes
    ----------
    run : Run or None
        The run; `run.failures` lists every row without an answer, with its reason.
    result : DataFrame, Series, list or None
        The call's result, with missing values at the rows that failed.
    code : str or None
        The most frequent code of the failed rows.
    counts : dict
        Failed rows by code, the most frequent code first.
    failures : DataFrame
        As `run.failures`, at most the first 10,000 rows; `counts` counts all.
    """

    run: RunView | None = None
    result: Any = None

    def __init__(self, message: str, *, run: RunView | None = None, result: Any = None) -> None:
        super().__init__(message)
        self.run = run
        self.result = result

    @cached_property
    def code(self) -> str | None:
        return next(iter(self.counts), None)

    @cached_property
    def counts(self) -> dict[str, int]:
        return {} if self.run is None else dict(Counter(self.run.failures["code"]).most_common())

    @cached_property
    def failures(self) -> pd.DataFrame:
        if self.run is None:
            return pd.DataFrame(columns=list(FAILURE_COLUMNS))
        failures = self.run.failures
        # Not a slice, which would be pickled with the text of the whole table.
        return failures.take(np.arange(min(len(failures), _LISTED_FAILURES)))

    def _state(self) -> dict[str, Any]:
        kept = {"code": self.code, "counts": self.counts, "failures": self.failures}
        return {**super()._state(), **kept, "run": None, "result": None}

    def __copy__(self) -> CompletionError:
        copied = _without_init(type(self), self.args)
        copied.__setstate__(dict(vars(self)))
        return copied


class StoppedError(CompletionError):
    """The run ended early, because nothing more could have succeeded or been kept.

    Attributes
    ----------
    code : str
        The reason: the API's own error code where there is one.
    run, result, counts, failures
        As for `CompletionError`.
    """

    def __init__(self, message: str, *, code: str, run: RunView | None = None, result: Any = None) -> None:
        super().__init__(message, run=run, result=result)
        self.code = code


class CostLimitReached(StoppedError):  # noqa: N818 (as users name what happened)
    """The run ended at its `max_cost`; running it again with another cap goes on.

    Attributes
    ----------
    spent : float
        US dollars of the answers that the run paid.
    reserved : float
        US dollars of requests with an unknown outcome, at most: they may have been billed without an answer.
    to_finish : float
        US dollars that the rest would cost, by the answers so far.
    run, result, code, counts, failures
        As for `StoppedError`.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        spent: float,
        reserved: float,
        to_finish: float,
        run: RunView | None = None,
        result: Any = None,
    ) -> None:
        super().__init__(message, code=code, run=run, result=result)
        self.spent = spent
        self.reserved = reserved
        self.to_finish = to_finish


class JournalError(LLMFrameError):
    """The journal cannot be opened, read or written; the file is not changed."""


class CompletionWarning(UserWarning):
    """Some rows have no answer (with `errors="coerce"`), or an answer that was cut off."""
