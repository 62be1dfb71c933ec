"""Positive or negative by a word list, for demonstrations."""

from __future__ import annotations

import hashlib
import re
from itertools import pairwise


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_GOOD = _words(
    "admirable amazing awesome beautiful best brilliant charming comfortable delicious delightful easy enjoyable "
    "enjoyed excellent fantastic fast favourite favorite fine flawless friendly fun glad gem good gorgeous great "
    "happy helpful impressed impressive incredible lovely love loved loves nice outstanding perfect perfectly "
    "pleasant pleased quick recommend recommended reliable satisfied smooth solid splendid sturdy stunning superb "
    "terrific thrilled wonderful works worth",
)
_BAD = _words(
    "annoying appalling avoid awful bad boring broke broken cheap complaint crash crashed crashes defective dirty "
    "disappointed disappointing disappointment disaster dreadful dull expensive fail failed failure faulty flimsy "
    "frustrating garbage hate hated horrible junk late leaked mediocre mess missing noisy overpriced poor poorly "
    "refund regret returned rude scam slow stale stopped terrible ugly unacceptable unhappy unhelpful unpleasant "
    "unreliable unusable useless waste wasted weak worse worst wrong",
)
_PRAISING = _GOOD | _words("positive praise compliment calm")
_COMPLAINING = _BAD | _words("negative criticism angry")
_NEGATIONS = frozenset(
    {"not", "no", "never", "hardly", "isn't", "wasn't", "don't", "didn't", "doesn't", "won't"}
)
_WORD = re.compile(r"[a-z]+(?:['\u2019]t)?")
_LABEL = re.compile(r"\b(positive|negative|neutral)\b", re.IGNORECASE)
_LARGEST_GAP = 60


def sentiment(texts: list[str], last: str) -> str | None:
    """Return the label that fits the last text, spelt as in the prompt; None if the prompt asks for no sentiment."""
    labels = _labels(texts)
    if labels is None:
        return None
    found = balance(last)
    if found == 0 and "neutral" in labels:
        return labels["neutral"]
    if found == 0:
        found = 1 if hashlib.blake2b(last.encode(), digest_size=1).digest()[0] % 2 else -1
    return labels["positive" if found > 0 else "negative"]


def _labels(texts: list[str]) -> dict[str, str] | None:
    for text in texts:
        found = list(_LABEL.finditer(text))
        for one, other in pairwise(found):
            if other.start() - one.end() <= _LARGEST_GAP and one[0].lower() != other[0].lower():
                labels = {match[0].lower(): match[0] for match in reversed(found)}
                if {"positive", "negative"} <= labels.keys():
                    return labels
        if not found and "sentiment" in text.lower():
            return {"positive": "positive", "negative": "negative"}
    return None


def polarity(words: str) -> int:
    """Return 1 for a label or a name that praises, -1 for one that complains, and 0 for any other."""
    found = set(_WORD.findall(words.lower()))
    found |= {word.removesuffix("s") for word in found}
    return bool(found & _PRAISING) - bool(found & _COMPLAINING)


def balance(text: str) -> int:
    """Return the number of good words minus that of bad words; a negated word counts for the other side."""
    found, sign = 0, 1
    negated_words = 0
    for word in _WORD.findall(text.lower().replace("\u2019", "'")):
        if word in _NEGATIONS:
            sign, negated_words = -1, 3
            continue
        found += sign * ((word in _GOOD) - (word in _BAD))
        negated_words -= 1
        if negated_words <= 0:
            sign = 1
    return found
