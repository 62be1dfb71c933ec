"""An answer's text read as one JSON object, strictly: nothing is repaired, and nothing is guessed."""

from __future__ import annotations

import json
import re
from typing import Any

_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL | re.IGNORECASE)
_FENCED = re.compile(
    r"```[\w-]*[^\S\n]*\n(.*?)```", re.DOTALL
)  # no blank is in two parts, which would be tried in turn
_MOST_STARTS = 1_000
"""In a text with more braces where no object starts, none is looked for."""


class NotJSONError(ValueError):
    """A text that is not one JSON object."""


def read_object(text: str) -> dict[str, Any]:
    """Read the one JSON object of a text; what stands around it (thoughts, a fence, prose) is taken off.

    Raises
    ------
    NotJSONError
        Where there is none or more than one, where it is cut off, and for what JSON does not have or what has no one
        meaning: duplicate keys, NaN, infinities and NUL.
    """
    text = text.removeprefix("\ufeff").strip()
    if text.startswith("<"):
        text = _THOUGHT.sub("", text).strip()
    try:
        try:
            return _object(_DECODER.decode(text))
        except json.JSONDecodeError as error:
            return _object_within(text, error)
    except NotJSONError:
        raise
    except RecursionError as error:
        raise NotJSONError("it is nested too deeply") from error
    except ValueError as error:  # Python reads no number of more than 4,300 digits
        raise NotJSONError("a number in it has too many digits") from error


def _object_within(text: str, error: json.JSONDecodeError) -> dict[str, Any]:
    fenced = _FENCED.findall(text)
    if len(fenced) == 1:
        text = fenced[0]
    found: list[dict[str, Any]] = []
    at, whole, starts = text.find("{"), len(text.rstrip()), 0
    while at >= 0 and starts < _MOST_STARTS:
        try:
            value, end = _DECODER.raw_decode(text, at)
        except json.JSONDecodeError as inside:
            if inside.pos >= whole or "Unterminated" in inside.msg:
                raise NotJSONError("it is cut off") from inside
            value, end = None, at + 1
            starts += 1
        if isinstance(value, dict):
            found.append(value)
        at = text.find("{", end)
    if at >= 0:
        raise NotJSONError("there are too many braces in it") from error
    if len(found) == 1:
        return found[0]
    raise NotJSONError(
        f"there are {len(found)} objects in it" if found else f"it is no JSON ({error.msg} at {error.pos})"
    ) from error


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise NotJSONError("it is JSON, but not an object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NotJSONError(f"the key {twice!r} is there twice")
    return found


def _refuse(constant: str) -> Any:
    raise NotJSONError(f"{constant} is no number")


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refuse)
