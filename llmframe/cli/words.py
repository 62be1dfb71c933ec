"""What the library says in Python's words, in those of the command line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_OPTIONS = (
    "column", "prompt", "into", "error_into", "overwrite", "where", "system", "model", "mode", "errors",
    "max_cost", "max_concurrency", "requests_per_minute", "tokens_per_minute", "max_retries", "timeout", "base_url", "journal",
    "fresh", "retry_failed", "version", "encoding", "sep",
    "schema", "prefix", "quotes", "reask",
    "labels", "multi", "other", "confidence", "probabilities", "threshold", "votes", "engine",
)  # fmt: skip

_AGAIN = "run the same command again"

_PHRASES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"run (the|this) (same )?(call|cell) again", _AGAIN),
    (r"(then )?run it with mode='live'", r"\1run it with --mode live"),
    (
        r"run\.failures lists all \(run = llmframe\.last_run\(\)\)(; errors='coerce' warns instead of raising)?",
        "--error-into COLUMN writes each row's reason",
    ),
    (r"run\.failures", "--error-into COLUMN"),
    (r"llmframe\.cancel\('([^']*)'\)", r"llmframe cancel \1"),
    (r"llmframe\.(batches|collect)\(\)", r"llmframe \1"),
    (
        r"set OPENAI_API_KEY, llmframe\.options\.api_key or api_key=",
        "set OPENAI_API_KEY in the environment",
    ),
    (r" \(or set llmframe\.options\.model\)", " (or set LLMFRAME_MODEL)"),
    (r"; set llmframe\.options\.prices to see costs", ""),
    (r"pass max_completion_tokens=(\S+) as well", r"add --param max_completion_tokens=\1"),
    (r"; set llmframe\.options\.prices = \{.*", ""),
    (r"llmframe\.options\.journal = ", "--journal "),
    (r", or set llmframe\.options\.reattach = False to submit without looking", ""),
    (
        r", and what every request needs in its query as client=.*",
        "; a query with every request is for Python alone",
    ),
    (r"unexpected keyword", "--param: the API has no"),
    (
        r"which column\? Name it, as in complete\('review', …\), or name columns in prompt, as in prompt=",
        "which column? Name it, as in --column review, or name columns in the prompt, as in --prompt ",
    ),
    (r"is the second argument, prompt=", "is --prompt"),
    (r"journal=False \(or --no-journal\)|journal=False", "--no-journal"),
    (r"overwrite=True", "--overwrite all"),
    (r"overwrite must be False, True or 'missing'", "--overwrite must be missing or all"),
    (r"version=", "--as-version "),
    (r"dedupe=False", "--param dedupe=false"),
    (
        r"\b(force|fresh|retry_failed|quotes|multi|confidence|probabilities)=True",
        lambda found: _flag(found[1]),
    ),
    (
        r"\((first |at )?row (\d+)(?=[),])",
        lambda found: (
            f"({found[1] or ''}row {int(found[2]) + 1}"
        ),  # as people count, the header not among them
    ),
    (r"fill it first: df\[.*", "fill its cells first"),
    (r"(raise|larger) max_completion_tokens", r"\1 --param max_completion_tokens"),
    (r"lower reasoning_effort", "lower --param reasoning_effort"),
)
"""What has words of its own: a pattern and what is said instead."""


def _flag(option: str) -> str:
    return "--as-version" if option == "version" else f"--{option.replace('_', '-')}"


_NAMES = "|".join(_OPTIONS)
_BEFORE = r"(?<![\w?&./{-])"
_RULES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (rf"\A(llmframe: )?({_NAMES})(?=: | must\b)", lambda found: f"{found[1] or ''}{_flag(found[2])}"),
    (rf"{_BEFORE}({_NAMES})=(\"|')([\w./-]+)\2", lambda found: f"{_flag(found[1])} {found[3]}"),
    (rf"{_BEFORE}({_NAMES})=(?=['\"\w])", lambda found: f"{_flag(found[1])} "),
    (rf"{_BEFORE}({_NAMES})=", lambda found: _flag(found[1])),
    (rf"{_BEFORE}([a-z_]+)='([\w.-]+)'", r"--param \1=\2"),
    (rf"{_BEFORE}([a-z_]+)=(?=[\s,;.:)]|$)", r"--param \1"),
    (
        rf"{_BEFORE}(base_url|max_retries|max_concurrency|error_into|retry_failed)\b(?!=)",
        lambda found: _flag(found[1]),
    ),
)
"""Names of arguments, with and without values."""

_COMPILED = [(re.compile(pattern), said) for pattern, said in (*_PHRASES, *_RULES)]


def in_command_line_words(text: str) -> str:
    """Return a message with options instead of Python's arguments.

    Examples
    --------
    >>> in_command_line_words("write elsewhere with into=, or pass overwrite='missing'; then run the cell again")
    'write elsewhere with --into, or pass --overwrite missing; then run the same command again'
    """
    for pattern, said in _COMPILED:
        text = pattern.sub(said, text)
    return text
