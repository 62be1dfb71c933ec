"""Who may import whom: downwards only, as DESIGN.md's table says, and each thing outside by one module."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import llmframe

ROOT = Path(llmframe.__file__).parent

LAYERS = (
    ("_records", "_options", "_errors", "_json", "_loop", "_collector"),
    (
        "_plan", "_prompts", "_templates", "_answers", "_schema", "_journal", "_file_journal", "_upkeep", "_journals", "_sqlite", "_database", "_owners", "_flights", "_parts", "_status", "_spool", "_queue", "_broken", "_replies", "_limits", "_headers", "_rates", "_stated", "_learnt", "_strays", "_sharing", "_retry", "_prices",
        "_progress", "_report", "_csv", "_read_csv", "_files",
    ),
    ("_account", "_openai", "_results", "_lane", "_lease", "_batch_lines"),
    ("_batch_api", "_fast"),
    ("_live", "_attempts", "_neighbours", "_claims", "_call", "_score"),
    ("_harvest",),
    ("_outbox", "_reattach"),
    ("_batch", "_intake"),
    ("_lanes",),
    ("_errand",),
    ("_run",),
    ("_runs",),
    ("_jobs", "_batches"),
    ("accessor",),
    ("__init__", "testing"),
    ("cli",),
    ("__main__",),
)  # fmt: skip

PARTS = {
    "_openai": {"_account"},
    "_plan": {"_prompts"},
    "_prompts": {"_templates"},
    "_replies": {"_broken", "_status", "_headers"},
    "_limits": {"_headers", "_rates", "_stated", "_learnt", "_strays", "_sharing"},
    "_learnt": {"_rates"},
    "_stated": {"_rates"},
    "_journal": {"_owners", "_sqlite", "_parts", "_sharing"},
    "_database": {"_sqlite"},
    "_file_journal": {
        "_journal",
        "_database",
        "_sqlite",
        "_owners",
        "_flights",
        "_parts",
        "_sharing",
        "_upkeep",
    },
    "_journals": {"_file_journal", "_journal"},
    "_parts": {"_owners", "_flights"},
    "_report": {"_progress"},
    "_csv": {"_files"},
    "_live": {"_attempts"},
    "_read_csv": {"_files"},
}
"""Modules of one layer that are parts of another there: a plan is made of prompts, limits of rates."""

TYPES_FROM_ABOVE = {("_errors", "_run"), ("_stated", "_headers")}
"""What is imported for a type's name only, from the same layer or above."""

IMPORTED_WHEN_NEEDED = {("accessor", "_jobs"), ("accessor", "_csv"), ("cli", "testing")}
"""What is imported within functions, to keep `import llmframe` light."""

ALONE = {
    "openai": {"_openai"},
    "aiohttp": {"_fast", "_openai"},
    "uvloop": {"_loop"},
    "sqlite3": {"_database", "_sqlite"},
    "tqdm": {"_progress"},
    "genai_prices": {"_prices"},
    "nest_asyncio2": {"_loop"},
    "platformdirs": {"_journals"},
    "matplotlib": {"_report"},
    "signal": {"_loop"},
    "socket": {"_owners", "_broken"},
}
"""Each thing outside has one module (sockets: the machine's name, and a class of error)."""

PURE = {
    "_records",
    "_options",
    "_errors",
    "_plan",
    "_prompts",
    "_results",
    "_report",
    "_retry",
    "_prices",
    "_status",
    "_queue",
    "_batch_lines",
    "_lane",
}
PURE |= {"_limits", "_headers", "_rates", "_stated", "_learnt"}
"""Values and decisions: they neither wait nor start anything."""

NAMES = {path.stem for path in ROOT.glob("*.py")} | {"testing"}


@dataclass(frozen=True)
class Import:
    by: str
    of: str
    """A module of ours (without `llmframe.`), or the top name of another package."""
    ours: bool
    where: str
    """`"module"`, `"function"` or `"types"`."""


class _Reader(ast.NodeVisitor):
    def __init__(self, name):
        self.name = name
        self.where = "module"
        self.imports = set()

    def _within(self, where, node):
        outer, self.where = self.where, where
        self.generic_visit(node)
        self.where = outer

    def visit_FunctionDef(self, node):
        self._within("function", node)

    def visit_AsyncFunctionDef(self, node):
        self._within("function", node)

    def visit_If(self, node):
        self._within("types" if "TYPE_CHECKING" in ast.unparse(node.test) else self.where, node)

    def visit_Import(self, node):
        for alias in node.names:
            self._add(alias.name)

    def visit_ImportFrom(self, node):
        assert node.level == 0, f"{self.name} imports relatively; write out llmframe"
        if node.module == "llmframe":
            for alias in node.names:
                own = f"llmframe.{alias.name}" if alias.name in NAMES else "llmframe.__init__"
                self._add(own)
        else:
            self._add(node.module)

    def _add(self, module):
        package, _, rest = module.partition(".")
        ours = package == "llmframe"
        of = (rest.partition(".")[0] or "__init__") if ours else package
        self.imports.add(Import(self.name, of, ours, self.where))


def read(path):
    reader = _Reader(path.relative_to(ROOT).parts[0].removesuffix(".py"))
    reader.visit(ast.parse(path.read_text(encoding="utf-8")))
    return reader.imports


IMPORTS = set().union(*map(read, ROOT.rglob("*.py")))
OURS = {each for each in IMPORTS if each.ours and each.by != each.of}
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names}


def test_every_module_has_a_layer():
    """Every module has a layer."""
    assert NAMES - LEVELS.keys() == set()


@pytest.mark.parametrize("name", sorted(NAMES - {"testing"}))
def test_a_module_imports_only_from_lower_layers_and_its_parts(name):
    """A module imports only from lower layers and its parts."""
    wrong = {
        each.of
        for each in OURS
        if each.by == name and each.where != "types" and LEVELS[each.of] >= LEVELS[name]
    }
    assert wrong <= PARTS.get(name, set())


def test_types_come_from_below_too_but_for_those_that_are_named():
    """Types come from below too but for those that are named."""
    above = {
        (each.by, each.of)
        for each in OURS
        if each.where == "types" and LEVELS[each.of] >= LEVELS[each.by] and each.by != "__init__"
    }
    parts = {(whole, part) for whole, several in PARTS.items() for part in several}
    assert above - parts <= TYPES_FROM_ABOVE


def test_parts_make_no_circle():
    """Parts make no circle."""
    seen = set()
    while rest := {whole for whole in PARTS if whole not in seen}:
        ready = {whole for whole in rest if not PARTS[whole] & rest}
        assert ready, f"{sorted(rest)} are parts of each other"
        seen |= ready


def test_no_import_hides_in_a_function_but_for_lightness():
    """No import hides in a function but for lightness."""
    hidden = {(each.by, each.of) for each in OURS if each.where == "function"}
    assert hidden <= IMPORTED_WHEN_NEEDED


def test_testing_imports_nothing_of_the_rest():
    """Testing imports nothing of the rest."""
    assert {each.of for each in OURS if each.by == "testing"} == set()
    assert not {each.of for each in IMPORTS if each.by == "testing"} & {"openai", "numpy"}


@pytest.mark.parametrize("package", ALONE)
def test_each_thing_outside_has_one_module(package):
    """Each thing outside has one module."""
    users = {each.by for each in IMPORTS if each.of == package and not each.ours and each.where != "types"}
    assert users - {"testing"} <= ALONE[package]


def test_openai_is_named_by_its_module_only_even_for_types():
    """OpenAI is named by its module only even for types."""
    assert {each.by for each in IMPORTS if each.of == "openai"} == {"_openai"}


@pytest.mark.parametrize("name", sorted(PURE))
def test_values_and_decisions_neither_wait_nor_start_anything(name):
    """Values and decisions neither wait nor start anything."""
    used = {each.of for each in IMPORTS if each.by == name and each.where != "types"}
    assert not used & {
        "asyncio",
        "threading",
        "subprocess",
        "concurrent",
        "multiprocessing",
        "sqlite3",
        "aiohttp",
    }


def test_what_runs_on_import_is_light():
    """What runs on import is light."""
    reached, todo = set(), {"__init__"}
    while todo:
        reached |= todo
        todo = {e.of for e in OURS if e.by in reached and e.where == "module"} - reached
    packages = {e.of for e in IMPORTS if e.by in reached and e.where == "module" and not e.ours}
    assert packages - sys.stdlib_module_names == {"pandas"}


def test_nothing_is_printed_and_logging_is_left_alone():
    """Nothing is printed and logging is left alone."""
    for path in ROOT.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        forbidden = {"logging.basicConfig", "warnings.filterwarnings", "warnings.simplefilter"}
        if path.name not in {"cli.py", "_serve.py"}:
            forbidden |= {"print"}
        assert not calls & forbidden, path.name
