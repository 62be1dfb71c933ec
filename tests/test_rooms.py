"""The folder is the architecture: who stands lower in the order uses what stands higher, by its door, and nothing else."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

import llmframe

ROOT = Path(llmframe.__file__).parent

ORDER = (
    "_values", "_errors", "_addresses", "_keywords", "_options", "_json",
    "_loop", "_pacing", "_columns", "_journal", "_api", "_live", "_batch", "_files", "_run", "_verbs",
    "testing", "accessor", "__init__", "cli", "dask", "__main__",
)  # fmt: skip
"""The rooms of llmframe, lowest first."""

INSIDE = {
    "_journal": (
        "protocol", "spending", "liveness", "lease", "recorder", "threads", "sqlite", "postgres", "memory", "registry", "__init__",
    ),
    "testing": (
        "_settings", "_wire", "_requests", "_chat", "_decisions", "_batch", "_server", "_reviews", "__init__", "fixtures",
    ),
}  # fmt: skip
"""Rooms that have rooms inside, in the same way."""

FACES = {"testing", "accessor", "__init__", "cli", "dask", "__main__"}
"""The public faces: they alone may import a door late, to keep `import llmframe` light."""

OUTSIDE = {
    "openai": "_api", "aiohttp": "_api", "uvloop": "_loop", "nest_asyncio2": "_loop", "signal": "_loop",
    "sqlite3": "_journal.sqlite", "psycopg": "_journal.postgres", "platformdirs": "_journal", "tqdm": "_run", "genai_prices": "_run",
    "matplotlib": "_run", "toktok": "_run",
    "pyarrow": "_files", "xlsxwriter": "_files", "argparse": "cli", "dask": "dask", "distributed": "dask",
}  # fmt: skip
"""Each thing outside has one room; the SDK's is `_api`, and its types also stand in the signatures of the verbs."""


def modules(folder):
    """Return the modules and rooms of a folder, by name."""
    found = {path.stem: path for path in folder.glob("*.py")}
    return found | {path.parent.name: path.parent for path in folder.glob("*/__init__.py")}


@cache
def imports(path):
    """List what a file imports, typing included: dotted name, and whether a function hides it."""
    found = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        inner
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node in hidden) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively; write out llmframe"
            if node.module == "llmframe":  # `from llmframe import _verbs` is the door of `_verbs`
                found += [(f"llmframe.{alias.name}", node in hidden) for alias in node.names]
            else:
                found.append((node.module, node in hidden))
    return found


def files(place):
    return [place] if place.is_file() else sorted(place.rglob("*.py"))


def check(folder, order):
    """Check one folder's order: every import of a sibling goes up in it, to a door."""
    prefix = ".".join(("llmframe", *folder.relative_to(ROOT).parts))
    places = modules(folder)
    assert sorted(order) == sorted(places), "the order names what is there, and all of it"
    for level, name in enumerate(order):
        for path in files(places[name]):
            for module, hidden in imports(path):
                if module != prefix and not module.startswith(f"{prefix}."):
                    continue
                target, _, inside = module.removeprefix(prefix).lstrip(".").partition(".")
                assert target in places or not target.startswith("_"), (
                    f"{path} imports {module}, which is not there"
                )
                target = target if target in places else "__init__"
                if target == name and places[name].is_dir():
                    continue
                where = f"{path.relative_to(ROOT)} imports {module}"
                assert order.index(target) < level, f"{where}, which stands lower"
                assert not inside, f"{where} past the door"
                late = hidden and order is ORDER and name not in FACES
                assert not late, f"{where} in a function"


def test_rooms_use_what_stands_higher_by_its_door():
    check(ROOT, ORDER)


@pytest.mark.parametrize("room", INSIDE)
def test_so_do_the_rooms_inside_a_room(room):
    check(ROOT / room, INSIDE[room])


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in ROOT.rglob("*.py")}), ids=lambda path: path.name
)
def test_no_folder_is_a_single_file_or_over_a_dozen(folder):
    assert 2 <= len({path.stem for path in folder.glob("*.py")} - {"__init__"}) <= 12


@pytest.mark.parametrize("path", sorted(ROOT.rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_a_door_says_what_its_room_is_for_and_exports_names(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    names = {node.targets[0].id for node in tree.body if isinstance(node, ast.Assign)}
    assert "__all__" in names


@pytest.mark.parametrize("package", OUTSIDE)
def test_each_thing_outside_has_one_room(package):
    home = ROOT.joinpath(*OUTSIDE[package].split("."))
    users = {
        path
        for path in ROOT.rglob("*.py")
        for module, _ in imports(path)
        if module.partition(".")[0] == package and "testing" not in path.parts and path.stem != "_keywords"
    }
    assert users
    assert all(path.is_relative_to(home) for path in users)


def test_modules_of_one_room_make_no_circle():
    for folder in sorted({path.parent for path in ROOT.rglob("*.py")}):
        prefix = ".".join(("llmframe", *folder.relative_to(ROOT).parts))
        places = {name: path for name, path in modules(folder).items() if name != "__init__"}
        uses = {
            name: {
                module.removeprefix(f"{prefix}.").partition(".")[0]
                for path in files(place)
                for module, _ in imports(path)
                if module.startswith(f"{prefix}.")
            }
            & places.keys() - {name}
            for name, place in places.items()
        }
        while uses:
            free = {name for name, used in uses.items() if not used & uses.keys()}
            assert free, f"{prefix}: {sorted(uses)} import each other in a circle"
            uses = {name: used for name, used in uses.items() if name not in free}


def test_nothing_prints_or_configures_logging_or_warnings():
    for path in ROOT.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        forbidden = {"logging.basicConfig", "warnings.filterwarnings", "warnings.simplefilter"}
        forbidden |= set() if path.name in {"output.py", "serve.py"} else {"print"}
        assert not calls & forbidden, path
