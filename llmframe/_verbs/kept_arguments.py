"""What `df.attrs` keeps of a call's arguments, so that the call can be made again: JSON values, without keys and headers."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from llmframe._columns import (
    questions_as_json,
    questions_from_json,
    read_labels,
    read_questions,
    schema_as_json,
)
from llmframe._json import NotJSONError, canonical
from llmframe._keywords import OptionKeywords

if TYPE_CHECKING:
    from collections.abc import Callable

HOW = frozenset(OptionKeywords.__annotations__) - {"model"} | {"fresh", "retry_failed"}
"""Arguments that say how a call is carried out, and not what it asks."""

_NOT_KEPT = frozenset({"user", "safety_identifier", "model"})
"""Personal data that decides no answer; the model is recorded as it was resolved."""
_OWN = frozenset({"reads", "prompt", "system", "schema", "labels", "questions", "into", "prefix"})
_FLAGS = frozenset({"raw", "usage", "quotes", "multi", "confidence", "probabilities"})
_NEVER_KEPT = frozenset({"examples", "extra_headers"})
_MOST_BYTES = 16_384
"""A larger argument is not kept: pandas copies `attrs` with every new frame."""
_SECRET = re.compile(r"api.?key|secret|password|authorization|(access|auth|bearer).?token", re.IGNORECASE)

_AS_JSON: Mapping[str, Callable[[Any], Any]] = {
    "schema": schema_as_json,
    "labels": lambda labels: read_labels(labels, fewest=1).as_json,
    "questions": lambda questions: questions_as_json(read_questions(questions)),
}


def kept_arguments(arguments: Mapping[str, Any], *, column: Hashable | None, **own: Any) -> dict[str, Any]:
    """Return a call's arguments as a record keeps them.

    Parameters
    ----------
    arguments
        The call's keywords.
    column
        The column that is read.
    own
        The arguments of its verb.

    Returns
    -------
    dict
        `arguments`, and under `lacks` the names of those that have to be passed again: functions, examples (their texts are the
        user's data), headers, schemas of classes that check more than JSON Schema says, and what is too large or holds a key.
    """
    given = {name: value for name, value in {**arguments, **own}.items() if value is not None}
    kept, lacks = {}, []
    for name, value in {"reads": column, **given}.items():
        if value is None or name in HOW or name in _NOT_KEPT or (name in _FLAGS and value is False):
            continue
        try:
            kept[name] = _kept(name, value)
        except (
            NotJSONError,
            TypeError,
            ValueError,
            _UnkeptError,
        ):  # such as labels that can be read once only
            lacks.append(name)
    return {"arguments": kept, **({"lacks": lacks} if lacks else {})}


class _UnkeptError(Exception):
    """The argument is not kept."""


def _kept(name: str, value: Any) -> Any:
    if name in _NEVER_KEPT or (name == "prompt" and callable(value)):
        raise _UnkeptError
    if name in {"reads", "into"}:
        value = _kept_label(value)
    elif name in _AS_JSON:
        value = _AS_JSON[name](value)
        if value is None:
            raise _UnkeptError
    plain = canonical(value, sort=False)
    if len(orjson.dumps(plain)) > _MOST_BYTES or (name not in _OWN and _holds_secret(plain)):
        raise _UnkeptError
    return plain


def _kept_label(label: Hashable) -> Any:
    if isinstance(label, tuple):
        return list(map(_kept_label, label))
    if not isinstance(label, str | int) or isinstance(label, bool):
        raise _UnkeptError
    return label


def _holds_secret(value: Any) -> bool:
    """Return whether a key or password stands under its name somewhere in a JSON value."""
    if isinstance(value, Mapping):
        return any(_SECRET.search(name) or _holds_secret(inner) for name, inner in value.items())
    return isinstance(value, list) and any(map(_holds_secret, value))


def as_passed(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return kept arguments as they are passed to a verb."""
    passed = {
        name: value for name, value in arguments.items() if name not in HOW | _NEVER_KEPT
    }  # a file may say anything
    for name in ("reads", "into"):
        if isinstance(passed.get(name), list):
            passed[name] = _label(passed[name])
    if "questions" in passed:
        passed["questions"] = questions_from_json(passed["questions"])
    return passed


def _label(kept: Any) -> Any:
    return tuple(map(_label, kept)) if isinstance(kept, list) else kept
