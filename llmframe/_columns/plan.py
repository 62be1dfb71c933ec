"""From a column to requests: what is the same in every row, and each row's identity.

A plan never awaits and never sends. It holds 16 bytes of identity for each distinct request and
a number for each row; prompts are rendered again when they are sent.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import orjson

from llmframe._columns.prompts import CHUNK_ROWS, Asking, Skipped, canonical, render, renders_again
from llmframe._values import Failure, Key, Request

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping

    import numpy.typing as npt
    import pandas as pd

IDENTITY_VERSION = 1
"""Part of every identity; it changes only when the same request would get another hash."""

KEY_BYTES = 16

_NOT_IN_IDENTITY = frozenset({"service_tier", "metadata", "user", "safety_identifier", "store"})
SECRET_HEADERS = frozenset({"authorization", "api-key", "x-api-key", "cookie", "proxy-authorization"})


def normalise(base_url: str) -> str:
    """Give a server's address one spelling, without credentials."""
    parts = urlsplit(base_url)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}.get(parts.scheme.lower())
    port = "" if parts.port in {None, default} else f":{parts.port}"
    return urlunsplit((parts.scheme.lower(), host + port, parts.path.rstrip("/"), parts.query, ""))


@dataclass(frozen=True)
class Recipe:
    """What decides the answers and is the same in every row.

    Parameters
    ----------
    server
        The normalised address (Azure: with its API version), or the name that stands for it.
    params
        The API's parameters, merged with `extra_body`; JSON values.
    headers
        The call's `extra_headers`; those that carry a key are left out of the identity.
    version
        The user's own mark for new answers.
    """

    verb: str
    server: str
    endpoint: str
    model: str
    params: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    version: str | None = None

    @property
    def prefix(self) -> bytes:
        """The part of every identity that the rows share, as canonical JSON."""
        params = {
            name: canonical(value, sort=False)
            for name, value in sorted(self.params.items())
            if name not in _NOT_IN_IDENTITY and not name.startswith("prompt_cache_")
        }
        headers = sorted(
            (name.lower(), value)
            for name, value in self.headers.items()
            if name.lower() not in SECRET_HEADERS
        )
        return orjson.dumps(
            [IDENTITY_VERSION, self.server, self.endpoint, self.model, params, headers, self.version]
        )

    @property
    def body_head(self) -> bytes:
        """The start of every request body, up to the messages."""
        static = {
            "model": self.model,
            **{name: canonical(value, sort=False) for name, value in self.params.items()},
        }
        return orjson.dumps(static)[:-1] + b',"messages":'

    def describe(self) -> dict[str, Any]:
        """Say what the journal keeps of the recipe: no prompts, no headers, no nested values."""
        plain = {name: value for name, value in self.params.items() if isinstance(value, str | int | float)}
        return {
            "verb": self.verb,
            "server": self.server.partition("?")[0],
            "endpoint": self.endpoint,
            "model": self.model,
            "params": {
                name: value for name, value in plain.items() if name not in {"user", "safety_identifier"}
            },
            "version": self.version,
        }


def hashed(prefix: bytes) -> blake2b:
    """Hash what the rows share."""
    return blake2b(prefix + b"\n", digest_size=KEY_BYTES)


def identity(shared: blake2b, messages: bytes, draw: int = 0) -> Key:
    """Hash what decides an answer; `draw` tells the k-th of equal requests apart.

    Examples
    --------
    >>> identity(hashed(b"[]"), b"[]").hex()
    '1dc909498904db1477bbd3ce1d821d1f'
    """
    digest = shared.copy()
    digest.update(messages)
    if draw:
        digest.update(b"\n%d" % draw)
    return digest.digest()


@dataclass(eq=False)
class Plan:
    """The requests of one call, and which rows each one answers.

    Attributes
    ----------
    codes : int32 array of shape (rows,)
        For each row the number of its distinct request; negative where there is none: -1, or for a
        skipped row -2 and below, by the place of its column in `skipped`.
    keys : list of bytes
        The distinct requests' identities.
    skipped : Counter
        Rows that are not sent for want of a cell, by column.
    refused : dict
        Rows whose prompt cannot be made, by position.
    """

    recipe: Recipe
    asking: Asking
    cells: Mapping[Hashable, pd.Series]
    labels: pd.Index
    selected: npt.NDArray[np.bool_] | None
    dedupe: bool
    codes: npt.NDArray[np.int32]
    keys: list[Key]
    first: npt.NDArray[np.int32]
    """The position of the first row of each distinct request."""
    skipped: Counter[str]
    refused: dict[int, Failure]
    kept: list[bytes] | None
    """Messages of each distinct request, where they cannot be rendered again."""

    @property
    def rows(self) -> int:
        return len(self.codes)

    def requests(self, wanted: Iterable[int]) -> Iterator[Request]:
        """Build the requests with these numbers (ascending), each when it is asked for."""
        head = self.recipe.body_head
        for index, messages in self._messages(wanted):
            yield Request(self.keys[index], index, head + messages + b"}")

    def _messages(self, wanted: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        if self.kept is not None:
            yield from ((index, self.kept[index]) for index in wanted)
            return
        remaining = iter(wanted)
        while block := list(islice(remaining, CHUNK_ROWS)):
            for index, rendered in zip(
                block, render(self.asking, self.cells, self.first[block]), strict=True
            ):
                if not isinstance(rendered, bytes):
                    raise TypeError(f"row {self.first[index]} no longer gives a prompt")
                yield index, rendered

    def skipped_for(self, position: int) -> str | None:
        """Name the column for want of which a row is not sent."""
        place = -2 - int(self.codes[position])
        return list(self.skipped)[place] if place >= 0 else None

    def positions(self, index: int) -> npt.NDArray[np.intp]:
        """Return the rows that a distinct request answers."""
        return np.flatnonzero(self.codes == index)

    def same_inputs(self, cells: Mapping[Hashable, pd.Series]) -> bool:
        """Tell whether these columns would be asked exactly what this plan asks."""
        if any(len(series) != self.rows for series in cells.values()):
            return False
        if self.kept is None or self.asking.function is not None:
            same = all(cells[column].equals(series) for column, series in self.cells.items())
            if same or self.asking.function is not None:
                return same
        again = make(self.recipe, self.asking, cells, self.labels, self.selected, dedupe=self.dedupe)
        return again.keys == self.keys and np.array_equal(again.codes, self.codes)


def make(
    recipe: Recipe,
    asking: Asking,
    cells: Mapping[Hashable, pd.Series],
    labels: pd.Index,
    selected: npt.NDArray[np.bool_] | None,
    *,
    dedupe: bool = True,
) -> Plan:
    """Plan a call over columns of equal length.

    Parameters
    ----------
    cells
        The columns that are read, as they are now; they are not copied.
    labels
        The frame's index, for naming rows.
    selected
        The rows to ask, or all.
    dedupe
        Whether equal rows are one request; otherwise each duplicate is a draw of its own.
    """
    builder = _Builder(recipe.prefix, dedupe=dedupe, keep=not renders_again(asking, cells))
    rows = len(labels)
    codes = np.full(rows, -1, dtype=np.int32)
    wanted = np.arange(rows) if selected is None else np.flatnonzero(selected)
    for start in range(0, len(wanted), CHUNK_ROWS):
        positions = wanted[start : start + CHUNK_ROWS]
        rendered = render(asking, cells, positions)
        codes[positions] = list(map(builder.add, positions.tolist(), rendered))
    return Plan(
        recipe,
        asking,
        cells,
        labels,
        selected,
        dedupe,
        codes,
        list(builder.numbers),
        np.array(builder.first, dtype=np.int32),
        builder.skipped,
        builder.refused,
        builder.kept,
    )


class _Builder:
    """Collects rows into distinct requests."""

    def __init__(self, prefix: bytes, *, dedupe: bool, keep: bool) -> None:
        self.shared = hashed(prefix)
        self.numbers: dict[Key, int] = {}
        self.first = array("i")
        self.skipped: Counter[str] = Counter()
        self.refused: dict[int, Failure] = {}
        self.kept: list[bytes] | None = [] if keep else None
        self.draws: Counter[Key] | None = None if dedupe else Counter()

    def add(self, position: int, rendered: bytes | Skipped | Failure) -> int:
        """Give the row its request's number, or a negative one that says why it has none."""
        if isinstance(rendered, bytes):
            return self._number(position, rendered)
        if isinstance(rendered, Skipped):
            self.skipped[rendered.column] += 1
            return -2 - list(self.skipped).index(rendered.column)
        self.refused[position] = rendered
        return -1

    def _number(self, position: int, messages: bytes) -> int:
        key = identity(self.shared, messages)
        if self.draws is not None:
            self.draws[key] += 1
            key = identity(self.shared, messages, self.draws[key] - 1)
        number = self.numbers.setdefault(key, len(self.first))
        if number == len(self.first):
            self.first.append(position)
            if self.kept is not None:
                self.kept.append(messages)
        return number
