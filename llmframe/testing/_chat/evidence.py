"""What a text says about a question: a label, a number, a date, a sentence, or nothing."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING

from llmframe.testing._chat.sentiment import balance, polarity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WORD = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"(?<![\w.,:/-])[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w:/]|[.,-]\d)")
_ISO_DATE = re.compile(r"\b(\d{4})-(\d\d)-(\d\d)(?!\d)")
_DAY_MONTH = re.compile(r"\b(\d{1,2})(?:st|nd|rd|th)?\.? ([A-Za-z]{3,9})\.?,? (\d{4})\b")
_MONTH_DAY = re.compile(r"\b([A-Za-z]{3,9})\.? (\d{1,2})(?:st|nd|rd|th)?,? (\d{4})\b")
_CLOCK = re.compile(r"(?<![\d:])([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?(?![\d:])")
_SENTENCE_END = re.compile(r"(?<=[.!?。\uff01\uff1f])\s+|\s*\n\s*")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_AROUND = 3
_LONGEST = 160
_COMMON = frozenset(
    [
        "about",
        "answer",
        "apply",
        "category",
        "choose",
        "customer",
        "date",
        "describe",
        "described",
        "does",
        "fit",
        "fits",
        "following",
        "from",
        "have",
        "how",
        "input",
        "into",
        "is",
        "it",
        "its",
        "label",
        "message",
        "mention",
        "mentioned",
        "no",
        "not",
        "of",
        "one",
        "quote",
        "review",
        "say",
        "says",
        "sentence",
        "statement",
        "take",
        "text",
        "that",
        "the",
        "their",
        "them",
        "this",
        "true",
        "value",
        "verbatim",
        "what",
        "when",
        "where",
        "whether",
        "which",
        "with",
        "word",
        "words",
        "yyyy",
    ]
)
"""Words of questions that say nothing about what is asked for."""


def stems(words: str) -> frozenset[str]:
    """Return the telling words of a name, a question or a description, without case and plural."""
    found = (word.lower() for word in _WORD.findall(words))
    return frozenset(_stem(word) for word in found if len(word) > 2 and word not in _COMMON)


def _stem(word: str) -> str:
    return word.removesuffix("s") if len(word) > 3 else word


def fitting_label(
    labels: Sequence[str], descriptions: Sequence[str], text: str
) -> tuple[int | None, list[int]]:
    """Return the position of the label that the text supports, or None, and the positions that it does not exclude.

    A label that the text names comes first, then praise or complaint by the text's words, then a description.
    """
    poles = [polarity(label) for label in labels]
    named = [i for i, label in enumerate(labels) if _names(label, text)]
    plain = [i for i in named if not poles[i]]
    if plain and len(named) < len(labels):
        return max(plain, key=lambda i: len(labels[i])), plain
    tone = balance(text) if any(poles) else 0
    agreeing = [i for i, pole in enumerate(poles) if tone and pole == (1 if tone > 0 else -1)]
    if agreeing:
        return agreeing[0], agreeing
    if len(named) == 1 and len(labels) > 1:
        return named[0], named
    if any(poles) and not tone and "neutral" in labels:
        return labels.index("neutral"), []
    left = [i for i, pole in enumerate(poles) if not (tone and pole)] or list(range(len(labels)))
    words = stems(text)
    shared = {i: len(stems(descriptions[i]) & words) for i in left}
    best = max(left, key=lambda i: shared[i])
    return (best if shared[best] else None), left


def _names(label: str, text: str) -> bool:
    return bool(label.strip()) and bool(
        re.search(rf"(?<!\w){re.escape(label.strip())}(?!\w)", text, re.IGNORECASE)
    )


def holds(statement: str, text: str) -> bool | None:
    """Return whether the text supports a statement; None if it does not say."""
    pole, tone = polarity(statement), balance(text)
    if pole and tone:
        return pole * tone > 0
    return True if stems(statement) & stems(text) else None


def contradicts(statement: str, text: str) -> bool:
    """Return whether the text praises where a complaint is asked for, or complains where praise is."""
    return polarity(statement) * balance(text) < 0


def numbers(text: str, about: str) -> Iterator[str]:
    """Yield the numbers of a text without those of its dates, those nearest to words of the question first."""
    rest = text
    for pattern in (_ISO_DATE, _DAY_MONTH, _MONTH_DAY):
        rest = pattern.sub(lambda match: " " * len(match[0]), rest)
    asked = stems(about)
    found = list(_NUMBER.finditer(rest))

    def distance(match: re.Match[str]) -> int:
        before = _WORD.findall(rest[: match.start()])[: -_AROUND - 1 : -1]
        after = _WORD.findall(rest[match.end() :][:80])[:_AROUND]
        near = [i for words in (before, after) for i, word in enumerate(words) if asked & stems(word)]
        return min(near, default=_AROUND)

    for match in sorted(found, key=distance):
        yield match[0].replace(",", "").removeprefix("+")


def date(text: str) -> str | None:
    """Return the first date that is written in the text, as YYYY-MM-DD."""
    found = [
        *((match.start(), match[1], match[2], match[3]) for match in _ISO_DATE.finditer(text)),
        *((match.start(), match[3], _month(match[2]), match[1]) for match in _DAY_MONTH.finditer(text)),
        *((match.start(), match[3], _month(match[1]), match[2]) for match in _MONTH_DAY.finditer(text)),
    ]
    for _, year, month, day in sorted(found):
        try:
            return dt.date(int(year), int(month), int(day)).isoformat()
        except ValueError:  # no day of the calendar
            continue
    return None


def _month(word: str) -> str:
    name = word[:3].lower()
    return str(_MONTHS.index(name) + 1) if name in _MONTHS else "0"


def clock(text: str) -> str | None:
    """Return the first time of day that is written in the text, as HH:MM:SS."""
    match = _CLOCK.search(text)
    return f"{int(match[1]):02}:{match[2]}:{match[3] or '00'}" if match else None


def sentences(text: str) -> list[str]:
    return [piece.strip() for piece in _SENTENCE_END.split(text) if piece.strip()]


def sentence(text: str, about: str) -> tuple[str | None, bool]:
    """Return a verbatim piece of the text, and whether it is about the words of a question."""
    pieces = sentences(text)
    if not pieces:
        return None, False
    asked, pole = stems(about), polarity(about)
    scores = [2 * len(asked & stems(piece)) + max(0, pole * balance(piece)) for piece in pieces]
    best = max(range(len(pieces)), key=scores.__getitem__)
    return _short(pieces[best]), scores[best] > 0


def _short(piece: str) -> str:
    """Return the beginning of a long piece, cut between words where it has any."""
    if len(piece) <= _LONGEST:
        return piece
    return piece[: piece.rfind(" ", 1, _LONGEST) if " " in piece[1:_LONGEST] else _LONGEST].strip()
