"""The labels of a choice: what users write for them, and what cannot be meant."""

from __future__ import annotations

import typing
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from typing import Any, Literal

NONE_FITS = "none of the others fits"
_FEWEST = 2


@dataclass(frozen=True, slots=True)
class Labels:
    """The values of a choice, in the order given.

    Parameters
    ----------
    texts
        The labels, each once.
    descriptions
        What each means; `""`: nothing more than it says.
    """

    texts: tuple[str, ...]
    descriptions: tuple[str, ...]

    def in_order_of(self, draw: int) -> Labels:
        """Return them in the order of a draw, a function of the labels and its number alone; draw 0 has the order given."""
        if not draw:
            return self
        order = sorted(range(len(self.texts)), key=lambda at: _rank(f"{draw}\n{self.texts[at]}"))
        return Labels(
            tuple(self.texts[at] for at in order),
            tuple(self.descriptions[at] for at in order),
        )

    def with_other(self, other: str | None) -> Labels:
        """Add a label for what fits no other, unless it is one of them."""
        if other is None or other in self.texts:
            return self
        return Labels((*self.texts, other), (*self.descriptions, NONE_FITS))


def _rank(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=8).digest()


def read_labels(
    given: Any, argument: str = "labels", *, other: str | None = None, fewest: int = _FEWEST
) -> Labels:
    """Read labels: a list, a dict of descriptions, an Enum or a Literal of texts.

    Parameters
    ----------
    argument
        The argument or the question that the errors name.
    other
        A label for what fits no other, which is added unless it is one of them.
    fewest
        How many there must be at least.

    Raises
    ------
    TypeError, ValueError
        For labels that are no texts, blank, equal or too few; they are named.
    """
    labels = _listed(given, argument)
    for label in labels:
        if not isinstance(label, str):
            raise TypeError(f"{argument}: a label must be text; got {label!r}")
        if not label.strip():
            raise ValueError(f"{argument}: a label must not be blank; got {label!r}")
    if other is not None and not (isinstance(other, str) and other.strip()):
        raise ValueError(f"other must be a label for what fits no other, such as 'other'; got {other!r}")
    _refuse_equal([*labels, *([] if other is None or other in labels else [other])], argument)
    if len(labels) < fewest:
        found = f"got {', '.join(map(repr, labels))}" if labels else "got none"
        more = "; write another one, or other='other'" if fewest > 1 and labels else ""
        raise ValueError(f"{argument} must be at least {fewest}; {found}{more}")
    descriptions = [""] * len(labels)
    if isinstance(given, Mapping):
        for label, description in given.items():
            if not isinstance(description, str):
                raise TypeError(f"{argument}: the description of {label!r} must be text; got {description!r}")
        descriptions = list(given.values())
    return Labels(tuple(labels), tuple(descriptions)).with_other(other)


def _listed(given: Any, argument: str) -> list[Any]:
    if isinstance(given, type) and issubclass(given, Enum):
        return [member.value for member in given]
    if typing.get_origin(given) is Literal:
        return list(typing.get_args(given))
    if isinstance(given, Sequence | Mapping) and not isinstance(given, str | bytes):
        return list(given)
    if isinstance(given, str):
        raise TypeError(f"{argument} must be a list of labels; write [{given!r}, …]")
    raise TypeError(
        f"{argument} must be a list of texts, a dict of label to description, or an Enum; got {type(given).__name__}"
    )


def _refuse_equal(labels: Sequence[str], argument: str) -> None:
    """Refuse labels that a reader cannot tell from each other."""
    seen: dict[str, str] = {}
    for label in labels:
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", label).casefold()).strip()
        if folded in seen:
            raise ValueError(
                f"{argument}: {seen[folded]!r} and {label!r} are the same label; leave one of them out"
            )
        seen[folded] = label
