"""The labels of a choice: what users write for them, and what cannot be meant."""

from __future__ import annotations

import typing
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from typing import Any, Literal

from llmframe._columns.prompts import listed

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

    @property
    def as_json(self) -> list[str] | dict[str, str]:
        """JSON that is read as these labels."""
        if not any(self.descriptions):
            return list(self.texts)
        return dict(zip(self.texts, self.descriptions, strict=True))

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
    """Read labels: a list or another sequence of texts, a dict of descriptions, an Enum or a Literal.

    Parameters
    ----------
    argument
        The argument or the question that the errors name.
    other
        A label for what fits no other, which is added unless it is one of them.
    fewest
        How many there must be at least, with `other`.

    Raises
    ------
    TypeError, ValueError
        For labels that are no texts, blank, equal or too few; they are named.
    """
    if other is not None and not (isinstance(other, str) and other.strip()):
        raise ValueError(f"other must be a label for what fits no other, such as 'other'; got {other!r}")
    texts = tuple(_label(label, argument) for label in _listed(given, argument))
    descriptions = _descriptions(given, argument) if isinstance(given, Mapping) else ("",) * len(texts)
    labels = Labels(texts, descriptions).with_other(None if other is None else _label(other, "other"))
    _refuse_equal(labels.texts, argument)
    if not texts:
        raise ValueError(f"{argument}: there must be at least {fewest}; got none")
    if len(labels.texts) < fewest:
        or_other = ", or other='other'" if argument == "labels" and other is None else ""
        raise ValueError(
            f"{argument}: there must be at least {fewest}; got {texts[0]!r}; write another one{or_other}"
        )
    return labels


def _listed(given: Any, argument: str) -> list[Any]:
    if isinstance(given, type) and issubclass(given, Enum):
        return list(given)
    if typing.get_origin(given) is Literal:
        return list(typing.get_args(given))
    if isinstance(given, Mapping):
        return list(given)
    if isinstance(given, str):
        raise TypeError(f"{argument} must be a list of labels; write [{given!r}, …]")
    return listed(given, f"{argument} must be a list of texts, a dict of label to description, or an Enum")


def _label(given: Any, argument: str) -> str:
    """Return a label as plain text, which an Enum's member and numpy's text are not."""
    label = given.value if isinstance(given, Enum) else given
    if not isinstance(label, str):
        raise TypeError(f"{argument}: a label must be text; got {label!r}")
    if not label.strip():
        raise ValueError(f"{argument}: a label must not be blank; got {label!r}")
    return sendable(str.__str__(label), argument)


def _descriptions(given: Mapping[Any, Any], argument: str) -> tuple[str, ...]:
    for label, description in given.items():
        if not isinstance(description, str):
            raise TypeError(f"{argument}: the description of {label!r} must be text; got {description!r}")
    return tuple(sendable(description, argument) for description in given.values())


def sendable(text: str, argument: str) -> str:
    """Return a text that JSON can hold; half a surrogate pair is none."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{argument}: {text!r} cannot be sent: {error}") from error
    return text


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
