"""JSONL as a table: the lines are kept as they are and gain keys."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import pandas as pd

from llmframe._files.encodings import DecodedText
from llmframe._files.frame_columns import any_json, as_json
from llmframe._files.tables import Table
from llmframe._json import without_half_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy as np
    import numpy.typing as npt

    from llmframe._files.tables import ChunkSize, TextStyle

_WHITE_SPACE = " \t\r\n"
_PUNCTUATION = re.compile(r"[ \t\r\n]*[:,{][ \t\r\n]*")
_SHOWN_CHARACTERS = 60
_HELD = 4
"""A line is held as it is, and as Python's objects, which take some times its size."""

_decoder = json.JSONDecoder()


@dataclass(frozen=True)
class Lines:
    """The lines of a file, one object each."""

    texts: list[str]

    def only(self, chosen: npt.NDArray[np.bool_]) -> Lines:
        return Lines([text for text, wanted in zip(self.texts, chosen.tolist(), strict=True) if wanted])


def chunks_of_json_lines(file: IO[bytes], style: TextStyle, size: ChunkSize) -> Iterator[Table]:
    """Yield at least one chunk of a file of one object a line; blank lines are left out."""
    texts: list[str] = []
    objects: list[dict[str, Any]] = []
    start = characters = 0
    for number, line in DecodedText(file, style.encoding).lines():
        if not line.strip(_WHITE_SPACE):
            continue
        if len(texts) >= size.rows or characters >= size.size:
            yield _table(texts, objects, start, size)
            start, characters, texts, objects = start + len(texts), 0, [], []
        objects.append(_object(line, number))
        texts.append(line.removesuffix("\r"))
        characters += _HELD * len(line)
    yield _table(texts, objects, start, size)


def _table(texts: list[str], objects: list[dict[str, Any]], start: int, size: ChunkSize) -> Table:
    names = list(dict.fromkeys(name for members in objects for name in members))
    # As Python's own values: pandas would make floats of integers beside missing cells.
    rows = pd.RangeIndex(start, start + len(texts))
    wanted = [name for name in names if size.wants(name)]
    columns = {name: pd.Series([each.get(name) for each in objects], rows, dtype=object) for name in wanted}
    frame = pd.DataFrame(columns, index=rows, columns=pd.Index(wanted, dtype=object))
    return Table(frame, names, rows=Lines(texts))


def _object(line: str, number: int) -> dict[str, Any]:
    members: Any
    try:
        members = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        members = None
    except ValueError as error:  # an integer of thousands of digits
        raise ValueError(f"line {number} cannot be read: {error}") from None
    if not isinstance(members, dict):
        shown = line.strip(_WHITE_SPACE)[:_SHOWN_CHARACTERS]
        raise ValueError(  # noqa: TRY004 (the file is wrong, not the argument's type)
            f"line {number} is no JSON object: {shown!r}; in JSONL each line is one, such as {{'review': 'Good'}}"
        )
    if "\\ud" in line or "\\uD" in line:
        members = json.loads(without_half_pairs(json.dumps(members, ensure_ascii=False)))
    return dict(members)


@dataclass(frozen=True)
class JsonLinesWriter:
    """Writes one object a line, in UTF-8."""

    file: IO[bytes]
    style: TextStyle

    def add(self, table: Table) -> None:
        lines = _changed_lines(table) if isinstance(table.rows, Lines) else _new_lines(table.frame)
        encoding = self.style.encoding or "utf-8"
        self.file.writelines(line.encode(encoding, "replace") + b"\n" for line in lines)

    def close(self) -> None:
        """Do nothing: the last line is a line as the others."""


def _new_lines(frame: pd.DataFrame) -> Iterable[str]:
    names = [as_json(str(name)) for name in frame.columns]
    columns = [_values(frame.iloc[:, position]) for position in range(frame.shape[1])]
    for row in zip(*columns, strict=True):
        yield "{" + ",".join(f"{name}:{value}" for name, value in zip(names, row, strict=True)) + "}"


def _values(cells: pd.Series[Any]) -> Iterable[str]:
    """Yield each cell as JSON; a missing one is null."""
    for cell, is_missing in zip(cells.astype(object), cells.isna(), strict=True):
        yield "null" if is_missing else any_json(cell)


def _changed_lines(table: Table) -> Iterable[str]:
    lines = table.rows.texts if isinstance(table.rows, Lines) else []
    changed = [name for name in table.frame.columns if name in table.changed]
    columns = [_values(table.frame[name]) for name in changed]
    existing = set(changed) & set(table.names)
    for line, *values in zip(lines, *columns, strict=True):
        yield with_members(line, dict(zip(changed, values, strict=True)), existing)


def with_members(line: str, values: Mapping[str, str], existing: set[str] | frozenset[str]) -> str:
    """Return an object's text with these members, as JSON; those that it has already are changed where they stand.

    Parameters
    ----------
    existing
        The names that the object may have already.

    Examples
    --------
    >>> with_members('{"id": 1.50, "a": null}', {"a": '"x"', "b": "2"}, {"a"})
    '{"id": 1.50, "a": "x","b":2}'
    """
    new = dict(values)
    spans = _value_spans(line) if existing else {}
    for name, (start, end) in sorted(spans.items(), key=lambda item: item[1], reverse=True):
        if name in new:
            value, old = new.pop(name), line[start:end]
            if json.loads(value) != json.loads(old) and (value, old) != ("null", "NaN"):
                line = line[:start] + value + line[end:]
    if not new:
        return line
    members = ",".join(f"{as_json(name)}:{value}" for name, value in new.items())
    head, _, tail = line.rpartition("}")
    comma = "" if head.rstrip(_WHITE_SPACE).endswith("{") else ","
    return f"{head}{comma}{members}}}{tail}"


def _value_spans(line: str) -> dict[str, tuple[int, int]]:
    """Return where the values of an object stand in its text; of members of one name, the last counts."""
    spans = {}
    place = _after_punctuation(line, 0)
    while line[place] == '"':
        name, place = _decoder.raw_decode(line, place)
        start = _after_punctuation(line, place)
        place = _decoder.raw_decode(line, start)[1]
        spans[name] = (start, place)
        if (comma := _PUNCTUATION.match(line, place)) is None:
            break
        place = comma.end()
    return spans


def _after_punctuation(line: str, place: int) -> int:
    found = _PUNCTUATION.match(line, place)
    return place if found is None else found.end()
