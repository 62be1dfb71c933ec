"""Everything public is documented, and every example runs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import llmframe
import llmframe.testing
from llmframe.accessor import DataFrameLLM, SeriesLLM
from llmframe.dask import DaskFrameLLM, DaskSeriesLLM

README = Path(llmframe.__file__).parents[1] / "README.md"
VERBS = {
    DataFrameLLM: "df.llm",
    SeriesLLM: "series.llm",
    DaskFrameLLM: "ddf.llm",
    DaskSeriesLLM: "dask_series.llm",
}


def _public():
    for name in llmframe.__all__:
        yield f"llmframe.{name}", getattr(llmframe, name)
    for name in llmframe.testing.__all__:
        yield f"llmframe.testing.{name}", getattr(llmframe.testing, name)
    for accessor, spelling in VERBS.items():
        for name in dir(accessor):
            if not name.startswith("_"):
                yield f"{spelling}.{name}", getattr(accessor, name)


PUBLIC = dict(_public())
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(llmframe.__path__, "llmframe.")
    if module.name not in {"llmframe.__main__", "llmframe.testing.fixtures"}
)

WITHOUT_EXAMPLE = {
    "llmframe.testing.serve": "it serves until it is interrupted",
    "llmframe.testing.Ledger": "it is read from a server; its methods have examples",
}


def _doc(value):
    return inspect.getdoc(type(value) if isinstance(value, type(llmframe.options)) else value) or ""


def _needs_example(name, value):
    twin = inspect.iscoroutinefunction(value)
    raised = isinstance(value, type) and issubclass(value, BaseException)
    return not twin and not raised and name not in WITHOUT_EXAMPLE


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_documented_with_an_example(name):
    doc = _doc(PUBLIC[name])
    assert doc.splitlines()[0].endswith((".", ":", "`"))
    assert ">>>" in doc or not _needs_example(name, PUBLIC[name])


@pytest.mark.parametrize("name", [name for name in PUBLIC if inspect.iscoroutinefunction(PUBLIC[name])])
def test_an_await_twin_names_its_verb_and_takes_the_same_but_wait(name):
    verb = name.rpartition(".")[2].removeprefix("a")
    plain = PUBLIC[f"{name.rpartition('.')[0]}.{verb}"]
    assert f"`{verb}`" in _doc(PUBLIC[name])
    taken = [parameter for parameter in inspect.signature(plain).parameters if parameter != "wait"]
    assert list(inspect.signature(PUBLIC[name]).parameters) == taken


@pytest.mark.parametrize("name", [name for name in PUBLIC if name.endswith(".complete")])
def test_a_verbs_docstring_says_what_it_takes_gives_and_raises(name):
    doc = _doc(PUBLIC[name])
    for section in ("Parameters", "Returns", "Raises", "Examples"):
        assert f"{section}\n{'-' * len(section)}" in doc
    for parameter in inspect.signature(PUBLIC[name]).parameters:
        assert parameter == "self" or re.search(rf"^(\w+, )*{parameter}\b", doc, re.MULTILINE), parameter


@pytest.mark.parametrize("option", dir(llmframe.options))
def test_every_option_is_documented(option):
    assert re.search(rf"^{option} : ", _doc(llmframe.options), re.MULTILINE)


def test_the_readme_shows_every_verb():
    text = README.read_text(encoding="utf-8")
    names = {name.rpartition(".")[2] for name in PUBLIC if name.startswith(("df.llm", "series.llm"))}
    assert [name for name in sorted(names) if f".{name}(" not in text] == []
    for name in ("llmframe.complete(", "llmframe.options", "llmframe.last_run()", "llmframe.read_csv("):
        assert name in text


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_no_example_is_skipped():
    root = Path(llmframe.__file__).parent
    assert [path.name for path in root.rglob("*.py") if "doctest: +SKIP" in path.read_text("utf-8")] == []
