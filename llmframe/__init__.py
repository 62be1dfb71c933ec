"""Run an LLM over a DataFrame column: `df.llm.complete("review")`.

Importing this registers `df.llm` and `series.llm`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmframe._errors import (
    CompletionError,
    CompletionWarning,
    CostLimitReached,
    JournalError,
    LLMFrameError,
    StoppedError,
)
from llmframe._options import option_context, options
from llmframe.accessor import (
    aask,
    aclassify,
    acomplete,
    aextract,
    ask,
    classify,
    classify_file,
    complete,
    complete_file,
    extract,
    extract_file,
    llm,
)

if TYPE_CHECKING:
    from llmframe._columns import Levels, explode
    from llmframe._files import read_csv
    from llmframe._run import Estimate, Run, last_run
    from llmframe._verbs import batches, cancel, collect, spend

__version__ = "0.1.0"

__all__ = [
    "CompletionError",
    "CompletionWarning",
    "CostLimitReached",
    "Estimate",
    "JournalError",
    "LLMFrameError",
    "Levels",
    "Run",
    "StoppedError",
    "aask",
    "aclassify",
    "acomplete",
    "aextract",
    "ask",
    "batches",
    "cancel",
    "classify",
    "classify_file",
    "collect",
    "complete",
    "complete_file",
    "explode",
    "extract",
    "extract_file",
    "last_run",
    "llm",
    "option_context",
    "options",
    "read_csv",
    "spend",
]

_LATER = {
    "Estimate": "_run",
    "Levels": "_columns",
    "Run": "_run",
    "batches": "_verbs",
    "cancel": "_verbs",
    "collect": "_verbs",
    "explode": "_columns",
    "last_run": "_run",
    "read_csv": "_files",
    "spend": "_verbs",
}
"""Names whose rooms are imported when they are first used, to keep `import llmframe` light."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'llmframe' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(f"llmframe.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
