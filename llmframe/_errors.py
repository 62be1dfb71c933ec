"""Exceptions and one warning.

Invalid arguments raise the built-in `ValueError`, `TypeError` and `KeyError` before anything is sent.
The others::

    LLMFrameError
    ├── CompletionError        rows without an answer; carries the run and the answers
    │   └── StoppedError       nothing more could succeed: the run ended early
    └── JournalError           the journal cannot be used, or its disk is full
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmframe._values import RunView


class LLMFrameError(Exception):
    """The base class of llmframe's own errors."""


class CompletionError(LLMFrameError):
    """Some rows have no answer; the other rows are written.

    Attributes
    ----------
    run : Run
        The run; `run.failures` lists every row without an answer, with its reason.
    result : DataFrame, Series or list
        The call's result, with missing values at the rows that failed.
    """

    def __init__(self, message: str, *, run: RunView | None = None, result: Any = None) -> None:
        super().__init__(message)
        self.run = run
        self.result = result


class StoppedError(CompletionError):
    """The run ended early, because nothing more could have succeeded or been kept.

    Attributes
    ----------
    code : str
        The reason: the API's own error code where there is one.
    """

    def __init__(self, message: str, *, code: str, run: RunView | None = None, result: Any = None) -> None:
        super().__init__(message, run=run, result=result)
        self.code = code


class JournalError(LLMFrameError):
    """The journal cannot be opened, read or written; the file is not changed."""


class CompletionWarning(UserWarning):
    """Some rows have no answer (with `errors="coerce"`), or an answer that was cut off."""
