"""What can go wrong, as exceptions and one warning.

Bad arguments raise the built-in `ValueError`, `TypeError` and `KeyError` before anything is sent.
The rest::

    LLMFrameError
    ├── CompletionError        rows without an answer; carries the run and what is there
    │   └── StoppedError       nothing more could succeed: the run ended early
    └── JournalError           the journal cannot be used, or its disk is full
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmframe._values import RunView


class LLMFrameError(Exception):
    """The root of llmframe's own errors."""


class CompletionError(LLMFrameError):
    """Some rows have no answer; those that have one are written.

    Attributes
    ----------
    run : Run
        The run that it happened in; `run.failures` names every row with its reason.
    result : DataFrame, Series or list
        What the call would have returned, with missing values at the rows that failed.
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
        Why, in one word: the API's own error code where there is one.
    """

    def __init__(self, message: str, *, code: str, run: RunView | None = None, result: Any = None) -> None:
        super().__init__(message, run=run, result=result)
        self.code = code


class JournalError(LLMFrameError):
    """The journal cannot be opened, read or written; the file is left as it was."""


class CompletionWarning(UserWarning):
    """Some rows have no answer (with `errors="coerce"`), or an answer that was cut off."""
