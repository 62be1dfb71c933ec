"""What mypy and pyright say about calls: typos are flagged, and results are known."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import types
import typing
from pathlib import Path

import pytest
from openai.types import chat, shared
from openai.types.chat import completion_create_params

import llmframe
from llmframe import _keywords
from llmframe.accessor import DataFrameLLM, SeriesLLM

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
REFUSED = {
    ("refused.py", number)
    for number, line in enumerate((HERE / "refused.py").read_text("utf-8").splitlines(), 1)
    if line.endswith("# refused")
}
VERBS = [DataFrameLLM.complete, DataFrameLLM.acomplete, SeriesLLM.complete, SeriesLLM.acomplete]
VERBS += [llmframe.complete, llmframe.acomplete]
TYPED_VERBS = [
    (verb, keywords)
    for face in (DataFrameLLM, SeriesLLM, llmframe)
    for names, keywords in (
        (("extract", "aextract"), _keywords.ExtractKeywords),
        (("classify", "aclassify"), _keywords.ClassifyKeywords),
        (("ask", "aask"), _keywords.AskKeywords),
    )
    for verb in (getattr(face, name) for name in names)
]


def mypy(cache):
    arguments = ["--config-file=", f"--cache-dir={cache}", "--no-error-summary"]
    command = [sys.executable, "-m", "mypy", *arguments, "accepted.py", "refused.py"]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    return {
        (file, int(line)) for file, line in re.findall(r"^(\w+\.py):(\d+): error", done.stdout, re.MULTILINE)
    }


def pyright(folder):
    """Run pyright in the distribution that brings its own Node.js."""
    paths = {"extraPaths": [str(ROOT)], "include": [str(HERE)]}
    config = folder / "pyrightconfig.json"
    config.write_text(json.dumps({"typeCheckingMode": "standard", **paths}), "utf-8")
    command = ["-m", "basedpyright", "--outputjson", "-p", str(config), "--pythonpath", sys.executable]
    done = subprocess.run([sys.executable, *command], cwd=HERE, capture_output=True, text=True, check=False)
    said = json.loads(done.stdout)["generalDiagnostics"]
    errors = [each for each in said if each["severity"] == "error"]
    return {(Path(each["file"]).name, each["range"]["start"]["line"] + 1) for each in errors}


@pytest.mark.slow
@pytest.mark.parametrize("checker", [mypy, pyright])
def test_a_type_checker_flags_each_typo_and_nothing_else(checker, tmp_path):
    found = checker(tmp_path)
    assert {each for each in found if each[0] in {"accepted.py", "refused.py"}} == REFUSED


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__qualname__)
def test_each_keyword_stands_in_the_signature(verb):
    parameters = inspect.signature(verb).parameters
    names = _keywords.CompletionKeywords.__annotations__.keys()
    assert names <= parameters.keys()
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in names)


@pytest.mark.parametrize(("verb", "keywords"), TYPED_VERBS)
def test_so_do_those_of_typed_columns_with_their_meanings(verb, keywords):
    parameters = inspect.signature(verb).parameters
    assert keywords.__annotations__.keys() <= parameters.keys()
    assert inspect.Parameter.VAR_KEYWORD not in {each.kind for each in parameters.values()}
    if not verb.__name__.startswith("a") or verb.__name__ == "ask":
        own = keywords.__annotations__.keys() - _keywords.CompletionKeywords.__annotations__.keys()
        assert all(f"\n{name} : " in inspect.getdoc(verb) for name in own)


@pytest.mark.parametrize(("verb", "keywords"), TYPED_VERBS)
def test_what_a_verb_refuses_is_not_offered(verb, keywords):
    """The verbs with typed columns state the form of the answer themselves."""
    refused = {"response_format", "tools", "tool_choice", "functions", "function_call"}
    offered = inspect.signature(verb).parameters.keys()
    assert _keywords.CompletionKeywords.__annotations__.keys() - offered == refused
    assert not refused & keywords.__annotations__.keys()


def parts(hint):
    """Return a type as its parts, in which `List[int]` is `list[int]`."""
    origin = typing.get_origin(hint)
    if origin is None:
        return hint
    if origin in {typing.Union, types.UnionType}:
        return frozenset(parts(each) for each in typing.get_args(hint))
    return origin, tuple(parts(each) for each in typing.get_args(hint))


@pytest.mark.slow  # it is of the newest SDK, and the quick tests also run with the oldest
def test_the_apis_parameters_are_those_of_the_sdks_type():
    sdk = {**vars(chat), **vars(completion_create_params), "ReasoningEffort": shared.ReasoningEffort}
    theirs = typing.get_type_hints(completion_create_params.CompletionCreateParamsNonStreaming)
    ours = typing.get_type_hints(_keywords.CompletionParameters, localns={**sdk, **vars(typing)})
    filled_in = {"model", "messages", "stream", "stream_options"}
    assert ours.keys() == theirs.keys() - filled_in
    spelt_otherwise = {"metadata", "stop"}  # as plain types, which accept and refuse the same
    for name in ours.keys() - spelt_otherwise:
        assert parts(ours[name]) == parts(theirs[name] | None), name


def test_options_and_keywords_have_the_same_names_and_types():
    keywords = _keywords.OptionKeywords.__annotations__
    assert sorted(keywords) == sorted(dir(llmframe.options))
    assert type(llmframe.options).__annotations__ == keywords
    assert keywords.keys() == inspect.signature(llmframe.option_context).parameters.keys()
