"""`--schema` and `--labels`: what is to be found in the texts, as it is typed, imported, or read from a JSON file."""

from __future__ import annotations

import importlib
import json
import sys
from contextlib import contextmanager, redirect_stdout, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_JSON_KINDS = {dict: "an object", list: "a list", str: "text", bool: "a truth value", type(None): "null"}


def read_schema(text: str) -> Any:
    """Read `--schema`: `module:Model`, a JSON file, or names of fields with commas between them."""
    if _is_file(text):
        return _schema_in(text)
    module, colon, model = text.partition(":")
    if colon and _is_dotted(module) and _is_dotted(model) and not module.endswith(".py"):
        return _imported(module, model)
    if "," in text and not colon:
        return _listed(text)
    raise ValueError(
        f"--schema: {text!r} is none; write module:Model (the module without .py), a .json file, or names of fields with commas between them"
    )


def read_labels(text: str) -> Any:
    """Read `--labels`: labels with commas between them, or a JSON file."""
    if not _is_file(text):
        return _listed(text)
    labels = _json_in(text, "--labels")
    if not isinstance(labels, dict | list):
        raise ValueError(  # noqa: TRY004 (the file is wrong, not the argument's type)
            f"--labels: {text} must hold a list of labels, or an object with a description for each; it holds {_kind(labels)}"
        )
    return labels


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _is_file(text: str) -> bool:
    return text.lower().endswith(".json")


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _schema_in(name: str) -> Any:
    schema = _json_in(name, "--schema")
    if isinstance(schema, dict):
        if schema.get("type") == "object" and isinstance(schema.get("properties"), dict):
            return schema
        odd = [
            f"its {key!r} is {_kind(value)}" for key, value in schema.items() if not isinstance(value, str)
        ]
    elif isinstance(schema, list):
        odd = [f"one of its items is {_kind(item)}" for item in schema if not isinstance(item, str)]
    else:
        odd = [f"it holds {_kind(schema)}"]
    if odd:
        raise ValueError(
            f"--schema: {name} must hold an object with a question for each field, a list of names, or a JSON Schema with "
            f'"type": "object" and "properties"; {odd[0]}'
        )
    return schema


def _kind(value: Any) -> str:
    return _JSON_KINDS.get(type(value), "a number")


def _json_in(name: str, option: str) -> Any:
    try:
        return json.loads(Path(name).read_bytes(), object_pairs_hook=_members)
    except FileNotFoundError:
        raise ValueError(f"{option}: there is no file {name}") from None
    except IsADirectoryError:
        raise ValueError(f"{option}: {name} is a folder") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{option}: {name} cannot be read as JSON: {error}") from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"{name!r} is there twice in one object")
        members[name] = value
    return members


def _imported(module: str, model: str) -> Any:
    found: Any = _module(module)
    for name in model.split("."):
        if not hasattr(found, name):
            close = get_close_matches(
                name, [known for known in vars(found) if known[0] != "_"], n=1, cutoff=0.0
            )
            hint = f"; the nearest is {close[0]!r}" if close else ""
            raise ValueError(f"--schema: there is no {name!r} in {module}{hint}")
        found = getattr(found, name)
    return found


def _module(name: str) -> Any:
    try:
        with _this_folder_first(), redirect_stdout(sys.stderr):  # only the file that is written is for stdout
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ValueError(f"--schema: {name} cannot be imported: {error}") from error
        raise ValueError(
            f"--schema: there is no module {error.name!r} in this folder or among the installed packages"
        ) from None
    except Exception as error:  # the module is the user's, and may raise anything
        raise ValueError(f"--schema: {name} cannot be imported: {type(error).__name__}: {error}") from error


@contextmanager
def _this_folder_first() -> Iterator[None]:
    """Import from the current folder too, as `python -m` does and an installed command does not."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with suppress(ValueError):  # the module may have changed the list
            sys.path.remove(folder)
