"""From cells to messages: instructions, templates, functions of a row and message arrays."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from inspect import iscoroutinefunction
from itertools import repeat
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import orjson
import pandas as pd

from llmframe._columns.templates import BYTES, FormatError, Template, has_text, parse
from llmframe._errors import plain_repr
from llmframe._json import NotJSONError, canonical
from llmframe._values import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt


PromptFunction: TypeAlias = Callable[[Mapping[Any, Any]], Any]
"""A function of a row that returns text, messages, or `None` for a row that is not sent."""

Prompt: TypeAlias = str | PromptFunction | None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row without a request, and the column whose cell is missing or blank."""

    column: str
    lacks: Hashable | None = None
    """The label of the only column with a missing cell: filled, it would let the row be sent."""


@dataclass(frozen=True, slots=True)
class PromptFault(Failure):
    """A row whose prompt cannot be made because of what the call says: other rows may fail alike."""

    argument: str = "prompt"
    part: Hashable = None
    """What of the argument is at fault, such as a template's field."""


Rendered: TypeAlias = "bytes | Skipped | Failure"
"""A row's messages as canonical JSON, or the reason for having none."""


def is_messages(value: object) -> bool:
    """Return whether a cell is a message array: a list, tuple or array of mappings with a role."""
    if isinstance(value, np.ndarray) and value.ndim != 1:
        return False
    return (
        isinstance(value, list | tuple | np.ndarray)
        and len(value) > 0
        and all(isinstance(message, Mapping) and "role" in message for message in value)
    )


def listed(values: Any, expected: str) -> list[Any]:
    """Return values in their order as a list, those of Arrow and polars as Python's own.

    Raises
    ------
    TypeError
        For what has columns, no order, no values yet, or nothing to iterate over; it begins with `expected`.
    """
    found = f"{expected}; got a {type(values).__name__}"
    if isinstance(values, (str, *BYTES)):
        raise TypeError(found)
    if isinstance(values, set | frozenset):
        raise TypeError(f"{found}, which has no order: pass a list, such as sorted(…)")
    if hasattr(type(values), "__dask_graph__"):
        raise TypeError(f"{found}, which is not computed yet: pass one column's .compute().to_list()")
    if hasattr(type(values), "columns") or (isinstance(values, np.ndarray) and values.dtype.names):
        raise TypeError(
            f"{found}, which has columns: pass one of them, as a list (frame['name'].to_list()) or from a pandas DataFrame (frame.to_pandas())"
        )
    for method in ("to_pylist", "to_list"):
        if hasattr(type(values), method):
            return list(getattr(values, method)())
    if not hasattr(type(values), "__iter__") and not hasattr(type(values), "__len__"):
        raise TypeError(found)  # pandas' `col`: it has an item for every number, without end
    try:
        return list(iter(values))
    except TypeError as error:
        raise TypeError(found) from error


@dataclass(frozen=True)
class PromptSpec:
    """How each row's prompt is made, checked against the columns.

    Parameters
    ----------
    column
        The column with the prompts, or with the texts after the instruction.
    prompt
        An instruction, a template, a function of a row, or `None`.
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
    def parse(
        cls, column: Hashable | None, prompt: Prompt, system: str | None, columns: Mapping[str, Hashable]
    ) -> PromptSpec:
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
        system_template = parse(system, columns, "system") if system else None
        return cls(column, instruction or None, template, function, system_template, columns)

    @property
    def source(self) -> str:
        """The prompt's definition as text; equal calls have equal sources."""
        function = getattr(self.function, "__qualname__", "") if self.function is not None else ""
        return repr((self.column, self.instruction, self.template, function, self.system))

    @property
    def source_is_a_list(self) -> bool:
        """Whether the prompts are a list's, or a lone column's of that name: no template says more of them."""
        return self.column == "prompt" and list(self.columns) == ["prompt"]

    @cached_property
    def of_cells(self) -> PromptSpec:
        """The same prompts as the cells alone: a template's fields line by line; no instruction, no system message."""
        template = None if self.template is None else self.template.fields_alone
        return replace(self, instruction=None, template=template, system=None)

    @cached_property
    def reads(self) -> tuple[Hashable, ...]:
        """The columns that decide the prompts; a function may read all of them."""
        by_function = () if self.function is None else self.columns.values()
        return tuple(dict.fromkeys((*self.needs, *by_function)))

    @cached_property
    def needs(self) -> tuple[Hashable, ...]:
        """The columns in which a missing cell means that the row is not sent."""
        own_column = () if self.column is None else (self.column,)
        fields = [template.columns for template in (self.template, self.system) if template is not None]
        return tuple(dict.fromkeys((*own_column, *(column for columns in fields for column in columns))))

    @cached_property
    def joins_text(self) -> bool:
        """Whether a prompt consists only of cells and fixed text, if the cells are text."""
        templates = [template for template in (self.template, self.system) if template is not None]
        return self.function is None and all(template.joins_text for template in templates)

    def joined(self, values: Mapping[Hashable, list[str]], rows: int) -> Iterator[str]:
        """Join the user's messages for many rows of text at once."""
        if self.template is not None:
            return self.template.join(values, rows)
        texts = values[self.column]
        if self.instruction is None:
            return iter(texts)
        return map(f"{self.instruction}\n\n".__add__, texts)

    def reworded(self, messages: bytes, instruction: str | None) -> bytes:
        """Return a row's messages as they are with another instruction; a message array has none."""
        if instruction == self.instruction:
            return messages
        *before, last = orjson.loads(messages)
        text = last.get("content")
        if last["role"] != "user" or not isinstance(text, str):
            return messages
        text = text if self.instruction is None else text.removeprefix(f"{self.instruction}\n\n")
        text = text if instruction is None else f"{instruction}\n\n{text}"
        return orjson.dumps([*before, {**last, "content": text}])

    @cached_property
    def texts(self) -> tuple[Hashable, ...]:
        """The columns of which at least one must not be blank."""
        if self.column is not None:
            return (self.column,)
        return self.template.columns if self.template is not None else ()


def render(
    spec: PromptSpec, cells: Mapping[Hashable, pd.Series], positions: npt.NDArray[np.integer[Any]]
) -> Iterator[Rendered]:
    """Render the rows at these positions, in order."""
    part = {column: cells[column].iloc[positions] for column in spec.reads}
    missing = {column: part[column].isna().to_numpy() for column in spec.needs}
    any_missing = np.logical_or.reduce([np.zeros(len(positions), dtype=bool), *missing.values()])
    if not any_missing.any():
        yield from _render_complete(spec, part, positions)
        return
    complete = {column: series[~any_missing] for column, series in part.items()}
    rendered = _render_complete(spec, complete, positions[~any_missing])
    for offset, is_missing in enumerate(any_missing.tolist()):
        if is_missing:
            first, *others = (column for column in missing if missing[column][offset])
            yield Skipped(str(first), None if others else first)
        else:
            yield next(rendered)


def _render_complete(
    spec: PromptSpec, part: Mapping[Hashable, pd.Series], positions: npt.NDArray[np.integer[Any]]
) -> Iterator[Rendered]:
    """Render rows without missing cells."""
    values = {column: series.tolist() for column, series in part.items()}
    if spec.joins_text and all(set(map(type, cells)) <= {str} for cells in values.values()):
        yield from _render_texts(spec, values, len(positions))
        return
    columns = tuple(values)
    for position, row in zip(positions.tolist(), zip(*values.values(), strict=True), strict=True):
        yield _render_row(spec, dict(zip(columns, row, strict=True)), position)


def _render_texts(spec: PromptSpec, values: Mapping[Hashable, list[str]], rows: int) -> Iterator[Rendered]:
    """Render rows whose prompts contain only text: several times as fast as row by row."""
    systems = repeat(None, rows) if spec.system is None else spec.system.join(values, rows)
    stripped = (map(str.strip, values[column]) for column in spec.texts)
    words = map("".join, zip(*stripped, strict=True))
    for content, system, any_word in zip(spec.joined(values, rows), systems, words, strict=True):
        if not any_word:
            yield Skipped(str(spec.texts[0]))
            continue
        try:
            yield _in_user_message(content, system)
        except _UnusableError as error:
            yield _invalid(error)


def _render_row(spec: PromptSpec, row: Mapping[Hashable, Any], position: int) -> Rendered:
    if spec.texts and all(_is_blank(row[column]) for column in spec.texts):
        return Skipped(str(spec.texts[0]))
    try:
        content = _content(spec, row, position)
        if spec.function is not None and _is_nothing(content):
            return Skipped("prompt")
        system = _filled(spec.system, row) if spec.system is not None else None
        return _messages(content, system)
    except _UnusableError as error:
        return _invalid(error)


def _invalid(error: _UnusableError) -> Failure:
    return error.fault or Failure("invalid_prompt", str(error), attempts=0)


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()


def _is_nothing(value: Any) -> bool:
    missing = bool(pd.api.types.is_scalar(value) and pd.isna(value))
    return missing or _is_blank(value)


_PROMPTS = "expected text or a list of messages such as [{'role': 'user', 'content': '…'}]"


class _UnusableError(Exception):
    """The row's prompt cannot be made; the other rows continue."""

    fault: PromptFault | None = None


def _blamed(message: str, argument: str, part: Hashable) -> _UnusableError:
    """Return the error of a row whose prompt cannot be made because of a part of an argument."""
    error = _UnusableError(message)
    error.fault = PromptFault("invalid_prompt", message, 0, argument=argument, part=part)
    return error


def _filled(template: Template, row: Mapping[Hashable, Any]) -> str:
    try:
        return template.fill(row)
    except FormatError as error:
        if error.field is None:
            raise _UnusableError(str(error)) from error
        raise _blamed(str(error), template.argument, error.field) from error


def _content(spec: PromptSpec, row: Mapping[Hashable, Any], position: int) -> Any:
    if spec.function is not None:
        try:
            content = spec.function(MappingProxyType(row))
        except Exception as error:
            error.add_note(f"in the prompt function, at row {position}; nothing was sent")
            raise
        if isinstance(content, str) or is_messages(content) or _is_nothing(content):
            return content
        raise _blamed(f"the function returned {_found(content)}; {_PROMPTS}", "prompt", "function")
    if spec.template is not None:
        _refuse_messages(row, spec.template.columns, "prompt")
        return _filled(spec.template, row)
    value = row[spec.column]
    if spec.instruction is None:
        return value if isinstance(value, str | list | tuple | dict | np.ndarray) else _cell_text(value)
    _refuse_messages(row, (spec.column,), "prompt")
    return f"{spec.instruction}\n\n{_cell_text(value)}"


def _cell_text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, BYTES):
        raise _UnusableError("the cell holds bytes; decode them to text first")
    if pd.api.types.is_list_like(value) or not has_text(value):
        raise _UnusableError(f"the cell holds a {type(value).__name__}; make it text, or a list of messages")
    return str(value)


def _refuse_messages(row: Mapping[Hashable, Any], columns: Sequence[Hashable], argument: str) -> None:
    for column in columns:
        if is_messages(row[column]):
            raise ValueError(
                f"{argument}: column {plain_repr(column)} holds message arrays, which cannot be put into text; leave {argument}= out, or use system= for an instruction"
            )


def _messages(content: Any, system: str | None) -> bytes:
    if isinstance(content, str):
        return _in_user_message(content, system)
    if not is_messages(content):
        raise _UnusableError(f"{_PROMPTS}; found {_found(content)}")
    if system is not None and any(message["role"] in ("system", "developer") for message in content):
        raise ValueError(
            "system: a message array already has a system message; leave system= out, or take it from the arrays"
        )
    try:
        plain = canonical(content)
    except NotJSONError as error:
        raise _UnusableError(f"{error}; messages are JSON") from error
    raw = _json(plain)
    if b":null" in raw:
        raw = _json([_without_nulls(message) for message in plain])
    return _head(system) + raw[1:]


def _without_nulls(message: dict[str, Any]) -> dict[str, Any]:
    """Leave out the keys without a value, which Arrow gives every dict of a column; a null `content` has a meaning."""
    return {name: _dense(value) for name, value in message.items() if value is not None or name == "content"}


def _dense(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _dense(item) for name, item in value.items() if item is not None}
    return [_dense(item) for item in value] if isinstance(value, list) else value


def _found(content: Any) -> str:
    """Name what is no message array, and the first thing in it that is no message."""
    for item in content if isinstance(content, list) else ():
        if not is_messages([item]):
            return f"a list with a {type(item).__name__} in it that has no role"
    return f"a value of type {type(content).__name__}"


def user_text(messages: bytes) -> str:
    """Return the text of the user's messages (a JSON array), line by line.

    Examples
    --------
    >>> user_text(b'[{"content":"Be brief.","role":"system"},{"content":"Hello","role":"user"}]')
    'Hello'
    """
    contents = [message.get("content") for message in orjson.loads(messages) if message["role"] == "user"]
    parts = [part for content in contents for part in (content if isinstance(content, list) else [content])]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return "\n".join(text for text in texts if isinstance(text, str))


def _in_user_message(content: str, system: str | None) -> bytes:
    return _head(system) + b'{"content":' + _json(content) + b',"role":"user"}]'


def _head(system: str | None) -> bytes:
    return b"[" if system is None else b'[{"content":' + _json(system) + b',"role":"system"},'


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:  # half a surrogate pair, too long an integer, too deep a nesting
        raise _UnusableError(
            f"JSON cannot hold this prompt: {error}; take out what it cannot hold"
        ) from error


def renders_again(spec: PromptSpec, cells: Mapping[Hashable, pd.Series]) -> bool:
    """Return whether rows may be rendered a second time, when they are sent.

    A function may return another prompt then, and objects in cells may have changed: their messages are
    kept. Text and numbers are rendered twice, so that a column is never held twice.
    """
    if spec.function is not None:
        return False
    return all(_unchanging(cells[column]) for column in spec.reads)


def _unchanging(cells: pd.Series) -> bool:
    return cells.dtype != object or pd.api.types.infer_dtype(cells, skipna=True) in {"string", "empty"}
