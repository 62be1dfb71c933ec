"""From cells to messages: instructions, templates, functions of a row and message arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import iscoroutinefunction
from itertools import repeat
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import orjson
import pandas as pd

from llmframe._columns.templates import BYTES, Template, parse
from llmframe._values import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt


PromptFunction: TypeAlias = Callable[[Mapping[Any, Any]], Any]
"""A function of a row that returns text, messages, or `None` for a row that is not sent."""

Prompt: TypeAlias = str | PromptFunction | None

CHUNK_ROWS = 4096
"""Rows that are rendered at a time: enough to be fast, few enough not to copy a column's text."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that has nothing to ask, and the column that is missing or blank."""

    column: str


Rendered: TypeAlias = "bytes | Skipped | Failure"
"""A row's messages as canonical JSON, or why there are none."""


def canonical(value: Any, *, sort: bool = True) -> Any:
    """Make a JSON value canonical: plain types, whole floats as integers, keys sorted.

    Raises
    ------
    ValueError
        For what JSON cannot hold: nan, infinities, other objects, keys that are not text.
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, np.generic | np.ndarray) and value.dtype.kind not in "mM":
        return canonical(value.tolist(), sort=sort)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"JSON cannot hold {value}")
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("JSON objects have text as keys")
        items = sorted(value.items()) if sort else value.items()
        return {key: canonical(item, sort=sort) for key, item in items}
    if isinstance(value, list | tuple):
        return [canonical(item, sort=sort) for item in value]
    raise ValueError(f"JSON cannot hold a {type(value).__name__}")


def is_messages(value: object) -> bool:
    """Tell whether a cell is a message array: a list, tuple or array of mappings with a role."""
    if isinstance(value, np.ndarray) and value.ndim != 1:
        return False
    return (
        isinstance(value, list | tuple | np.ndarray)
        and len(value) > 0
        and all(isinstance(message, Mapping) and "role" in message for message in value)
    )


@dataclass(frozen=True)
class Asking:
    """What a call asks of each row, as the user said it and checked against the columns.

    Parameters
    ----------
    column
        The column whose cells are the prompts, or what an instruction is put before.
    prompt
        An instruction, a template, a function of a row, or nothing.
    system
        The system message: text or a template.
    columns
        Every column that may be named, by the name that a template uses.
    """

    column: Hashable | None
    instruction: str | None
    template: Template | None
    function: PromptFunction | None
    system: Template | None
    columns: Mapping[str, Hashable]

    @classmethod
    def of(
        cls, column: Hashable | None, prompt: Prompt, system: str | None, columns: Mapping[str, Hashable]
    ) -> Asking:
        """Check `prompt` and `system`; a prompt without a field is an instruction."""
        if prompt is not None and not isinstance(prompt, str) and not callable(prompt):
            raise TypeError(
                f"prompt must be text, a template or a function of a row; got {type(prompt).__name__}"
            )
        if iscoroutinefunction(prompt):
            raise TypeError("prompt must be a plain function of a row; got an async one")
        if system is not None and not isinstance(system, str):
            raise TypeError(f"system must be text or a template; got {type(system).__name__}")
        template = parse(prompt, columns) if isinstance(prompt, str) else None
        instruction = None
        if template is not None and not template.columns:
            instruction, template = "".join(map(str, template.pieces)), None
        if column is None and template is None and not callable(prompt):
            raise ValueError(
                "which column? Name it, as in complete('review', …), or name columns in prompt, as in prompt='{title}: {body}'"
            )
        function = prompt if callable(prompt) else None
        asked = parse(system, columns, "system") if system else None
        return cls(column, instruction or None, template, function, asked, columns)

    @property
    def source(self) -> str:
        """What was asked, as text; equal calls have equal sources."""
        function = getattr(self.function, "__qualname__", "") if self.function is not None else ""
        return repr((self.column, self.instruction, self.template, function, self.system))

    @cached_property
    def reads(self) -> tuple[Hashable, ...]:
        """The columns that decide the prompts; a function may look at all of them."""
        looked_at = () if self.function is None else self.columns.values()
        return tuple(dict.fromkeys((*self.needs, *looked_at)))

    @cached_property
    def needs(self) -> tuple[Hashable, ...]:
        """The columns in which a missing cell means that the row is not sent."""
        named = () if self.column is None else (self.column,)
        fields = [template.columns for template in (self.template, self.system) if template is not None]
        return tuple(dict.fromkeys((*named, *(column for columns in fields for column in columns))))

    @cached_property
    def joins_text(self) -> bool:
        """Whether a prompt is nothing but cells and fixed text, where the cells are text."""
        templates = [template for template in (self.template, self.system) if template is not None]
        return self.function is None and all(template.joins_text for template in templates)

    def joined(self, values: Mapping[Hashable, list[str]], rows: int) -> Iterator[str]:
        """Put the user's messages together for many rows of text at once."""
        if self.template is not None:
            return self.template.join(values, rows)
        texts = values[self.column]
        if self.instruction is None:
            return iter(texts)
        return map(f"{self.instruction}\n\n".__add__, texts)

    @cached_property
    def texts(self) -> tuple[Hashable, ...]:
        """The columns of which one at least must not be blank."""
        if self.column is not None:
            return (self.column,)
        return self.template.columns if self.template is not None else ()


def render(
    asking: Asking, cells: Mapping[Hashable, pd.Series], positions: npt.NDArray[np.integer[Any]]
) -> Iterator[Rendered]:
    """Render the rows at these positions, in order."""
    part = {column: cells[column].iloc[positions] for column in asking.reads}
    missing = {column: part[column].isna().to_numpy() for column in asking.needs}
    anywhere = np.logical_or.reduce([np.zeros(len(positions), dtype=bool), *missing.values()])
    if not anywhere.any():
        yield from _render_whole(asking, part, positions)
        return
    whole = {column: series[~anywhere] for column, series in part.items()}
    rendered = _render_whole(asking, whole, positions[~anywhere])
    for offset, lacking in enumerate(anywhere.tolist()):
        if lacking:
            yield Skipped(next(str(column) for column in missing if missing[column][offset]))
        else:
            yield next(rendered)


def _render_whole(
    asking: Asking, part: Mapping[Hashable, pd.Series], positions: npt.NDArray[np.integer[Any]]
) -> Iterator[Rendered]:
    """Render rows that lack no cell."""
    values = {column: series.tolist() for column, series in part.items()}
    if asking.joins_text and all(set(map(type, cells)) <= {str} for cells in values.values()):
        yield from _render_texts(asking, values, len(positions))
        return
    flat = all(series.dtype != object for series in part.values())
    columns = tuple(values)
    for position, row in zip(positions.tolist(), zip(*values.values(), strict=True), strict=True):
        yield _render_row(asking, dict(zip(columns, row, strict=True)), position, flat=flat)


def _render_texts(asking: Asking, values: Mapping[Hashable, list[str]], rows: int) -> Iterator[Rendered]:
    """Render rows of which all that is put into a prompt is text: several times as fast as one by one."""
    systems = repeat(None, rows) if asking.system is None else asking.system.join(values, rows)
    stripped = (map(str.strip, values[column]) for column in asking.texts)
    words = map("".join, zip(*stripped, strict=True))
    for content, system, any_word in zip(asking.joined(values, rows), systems, words, strict=True):
        if not any_word:
            yield Skipped(str(asking.texts[0]))
            continue
        try:
            yield _in_user_message(content, system)
        except orjson.JSONEncodeError as error:
            yield _not_json(error)


def _render_row(asking: Asking, row: Mapping[Hashable, Any], position: int, *, flat: bool) -> Rendered:
    """Render one row; a flat one has no message arrays in its cells."""
    if asking.texts and all(_is_blank(row[column]) for column in asking.texts):
        return Skipped(str(asking.texts[0]))
    try:
        content = _content(asking, row, position, flat=flat)
        if asking.function is not None and _is_nothing(content):
            return Skipped("prompt")
        system = asking.system.fill(row) if asking.system is not None else None
        return _messages(content, system)
    except _UnusableError as error:
        return Failure("invalid_prompt", str(error), attempts=0)
    except (orjson.JSONEncodeError, RecursionError) as error:
        return _not_json(error)


def _not_json(error: Exception) -> Failure:
    return Failure("invalid_prompt", f"JSON cannot hold this prompt: {error}", attempts=0)


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()


def _is_nothing(value: Any) -> bool:
    missing = bool(pd.api.types.is_scalar(value) and pd.isna(value))
    return missing or _is_blank(value)


class _UnusableError(Exception):
    """A row whose prompt cannot be made; the others go on."""


def _content(asking: Asking, row: Mapping[Hashable, Any], position: int, *, flat: bool) -> Any:
    if asking.function is not None:
        try:
            return asking.function(MappingProxyType(row))
        except Exception as error:
            error.add_note(f"in the prompt function, at row {position}; nothing was sent")
            raise
    if asking.template is not None:
        if not flat:
            _refuse_messages(row, asking.template.columns, "prompt")
        try:
            return asking.template.fill(row)
        except (ValueError, TypeError) as error:
            raise _UnusableError(f"a cell does not fit its format in the template: {error}") from error
    value = row[asking.column]
    if isinstance(value, BYTES):
        raise _UnusableError("the cell holds bytes; decode them to text first")
    if asking.instruction is None:
        return value if isinstance(value, str | list | tuple | dict | np.ndarray) else str(value)
    _refuse_messages(row, (asking.column,), "prompt")
    if isinstance(value, list | tuple | dict | np.ndarray):
        raise _UnusableError(f"the cell holds a {type(value).__name__}; make it text, or a list of messages")
    return f"{asking.instruction}\n\n{value}"


def _refuse_messages(row: Mapping[Hashable, Any], columns: Sequence[Hashable], argument: str) -> None:
    for column in columns:
        if is_messages(row[column]):
            raise ValueError(
                f"{argument}: column {column!r} holds message arrays, which cannot be put into text; leave {argument}= out, or use system= for an instruction"
            )


def _messages(content: Any, system: str | None) -> bytes:
    if isinstance(content, str):
        return _in_user_message(content, system)
    if not is_messages(content):
        raise _UnusableError(
            f"expected text or a list of messages such as [{{'role': 'user', 'content': '…'}}]; found a {type(content).__name__}"
        )
    if system is not None and any(message["role"] in ("system", "developer") for message in content):
        raise ValueError(
            "system: a message array already has a system message; leave system= out, or take it from the arrays"
        )
    try:
        plain = canonical(content)
    except ValueError as error:
        raise _UnusableError(f"{error}; messages are JSON") from error
    return _head(system) + orjson.dumps(plain)[1:]


def _in_user_message(content: str, system: str | None) -> bytes:
    return _head(system) + b'{"content":' + orjson.dumps(content) + b',"role":"user"}]'


def _head(system: str | None) -> bytes:
    return b"[" if system is None else b'[{"content":' + orjson.dumps(system) + b',"role":"system"},'


def renders_again(asking: Asking, cells: Mapping[Hashable, pd.Series]) -> bool:
    """Tell whether rows may be rendered a second time, when they are sent.

    A function may answer otherwise then, and objects in cells may have changed: the messages that
    they gave are kept. Text and numbers are rendered twice, so that a column is never held twice.
    """
    if asking.function is not None:
        return False
    return all(_unchanging(cells[column]) for column in asking.reads)


def _unchanging(cells: pd.Series) -> bool:
    return cells.dtype != object or pd.api.types.infer_dtype(cells, skipna=True) in {"string", "empty"}
