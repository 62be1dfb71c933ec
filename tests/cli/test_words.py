"""What the library says, in the command line's words."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import llmframe
from llmframe.cli.words import in_command_line_words

ROOT = Path(llmframe.__file__).parent


@pytest.mark.parametrize(
    ("python", "said"),
    [
        ("column: there is no column 'x'", "--column: there is no column 'x'"),
        ("error_into and into are both 'x'", "--error-into and into are both 'x'"),
        ("timeout must be seconds; got -1", "--timeout must be seconds; got -1"),
        (
            "write elsewhere with into=, or pass overwrite=True",
            "write elsewhere with --into, or pass --overwrite all",
        ),
        (
            "pass journal='a/b.sqlite', or journal=False to do without",
            "pass --journal a/b.sqlite, or --no-journal to do without",
        ),
        ("write journal=False (or --no-journal) for none", "write --no-journal for none"),
        ("pass another path as journal=", "pass another path as --journal"),
        ("name columns in prompt='{title}: {body}'", "name columns in --prompt '{title}: {body}'"),
        ("change or leave out temperature=", "change or leave out --param temperature"),
        ("or set tool_choice='none'", "or set --param tool_choice=none"),
        ("other must be a label", "--other must be a label"),
        ("pass votes=5, or engine='decisions'", "pass --votes 5, or --engine decisions"),
        ("leave multi=True out", "leave --multi out"),
        ("write elsewhere with prefix=", "write elsewhere with --prefix"),
        ("pass retry_failed=True to ask again", "pass --retry-failed to ask again"),
        ("run the call again with retry_failed=True", "run the same command again with --retry-failed"),
        ("cancel with llmframe.cancel('batch_1')", "cancel with llmframe cancel batch_1"),
        ("check base_url (it usually ends in /v1)", "check --base-url (it usually ends in /v1)"),
        ('encoding="cp1252" is that', "--encoding cp1252 is that"),
        ("  2 × empty (first row 6)", "  2 × empty (first row 7)"),  # noqa: RUF001
    ],
)
def test_arguments_become_options(python, said):
    assert in_command_line_words(python) == said


@pytest.mark.parametrize(
    "text",
    [
        "review → mood · gpt-6-luna: 100%|██| 3/3 [00:00<00:00, 2.00row/s]\n",
        "see https://host.example/?model=x&into=y",
        "prompt of a review: fine",
        "the files are in /tmp/model='x'",
    ],
)
def test_what_names_no_argument_stays(text):
    assert in_command_line_words(text) == text


ROOMS = (
    "_errors",
    "_addresses",
    "_options",
    "_pacing",
    "_columns",
    "_journal",
    "_api",
    "_live",
    "_batch",
    "_run",
    "_verbs",
)
FILES = (
    "encodings.py",
    "delimited.py",
    "json_lines.py",
    "parquet.py",
    "formats.py",
    "replacement.py",
    "tables.py",
)

UNREACHABLE = (
    "client",  # the command line has no clients
    "has changed since the call",  # nobody changes the frame meanwhile
    "are in run.values",
    "this is a copy of a run", "run.plot()",
    "write complete(",  # lists of prompts
    "PRAGMA", "mode=r",  # SQLite's own words
    "FROM llmframe.", "INTO llmframe.", "UPDATE llmframe.", "TABLE llmframe.", "COPY llmframe.", "('llmframe.",  # SQL
    "api_key=",  # the default source of a key, which the command line replaces
    "<div", "<span", "font:", "flex", "text-align",  # HTML
    "df.llm.complete does",  # arguments that --param refuses
    "await df.llm",
    "dry_run", "none without max_completion_tokens=", ": set llmframe.options.prices",  # of estimates
    "llmframe.Levels",  # of `ask`, which is no command
)  # fmt: skip
PYTHON = re.compile(
    r"(?<!--param )(?<![-\w?&./{])[a-z_]+=(?![=\d])|llmframe\.(?!sqlite)|\brun\.[a-z]|the cell again|(the|this) call again"
)


def _docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for child in node.body:
                if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                    yield child.value
    for node in ast.walk(tree):  # docstrings of attributes
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


def _said(node):
    if isinstance(node, ast.JoinedStr):
        return "".join(
            part.value if isinstance(part, ast.Constant) else _filled(part) for part in node.values
        )
    return node.value


def _filled(field):
    """Return what stands for a value in a message: an argument's name, or any word."""
    word = {"argument": "into", "parameter": "temperature="}.get(ast.unparse(field.value), "x")
    return repr(word) if field.conversion == ord("r") else word


def messages():
    """Yield the texts of the library that may be said: those of several words, docstrings left out."""
    for path in sorted(ROOT.rglob("*.py")):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if room not in ROOMS and not (room == "_files" and path.name in FILES):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        quiet = {id(node) for node in _docstrings(tree)}
        quiet |= {
            id(part)
            for node in ast.walk(tree)
            if isinstance(node, ast.JoinedStr)
            for part in ast.walk(node)
            if part is not node
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in quiet:
                text = _said(node)
                if isinstance(text, str) and " " in text and not any(mark in text for mark in UNREACHABLE):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", text


def test_no_message_of_the_library_speaks_python_at_the_command_line():
    """The table and the rules of `words` are enough for all messages that a command can meet."""
    found = dict(messages())
    assert len(found) > 300
    assert sum(bool(PYTHON.search(text)) for text in found.values()) > 20
    said = {place: in_command_line_words(text) for place, text in found.items()}
    assert {place: text for place, text in said.items() if PYTHON.search(text)} == {}
