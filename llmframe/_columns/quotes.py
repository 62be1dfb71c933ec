"""Whether a text has a quote, in any script, when the two may look different."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_QUOTE_MARKS = '"`´‘’‚‛“”„‟‹›«»′″ʼ＇＂「」『』〝〞〟'  # noqa: RUF001 (they look alike)
_WITHOUT_WIDTH = "\u00ad\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
_DOTLESS_I, _DOT_ABOVE = "\u0131", "\u0307"
_FOLDED = str.maketrans(
    {**dict.fromkeys(_QUOTE_MARKS, "'"), **dict.fromkeys(_WITHOUT_WIDTH), _DOTLESS_I: "i"}
)


def search(quotes: Sequence[str | None], text: str) -> list[bool | None]:
    r"""Return for each quote whether a text has it: exactly, or with case, white space and quote marks folded.

    Examples
    --------
    >>> search(["the  “hinge” BROKE", "the door broke", None], 'Sadly, the "hinge"\nbroke.')
    [True, False, None]
    """
    whole: str | None = None
    found: list[bool | None] = []
    for quote in quotes:
        if quote is None or quote in text:
            found.append(None if quote is None else True)
            continue
        whole = folded(text) if whole is None else whole
        words = folded(quote)
        found.append((words.strip("' ") or words) in whole)
    return found


def folded(text: str) -> str:
    """Return a text without its differences of case, width, white space and quote marks.

    The i's with and without a dot are one letter: what is `I` in one language is `İ` in another.
    """
    text = unicodedata.normalize("NFKC", text.translate(_FOLDED)).casefold()
    text = unicodedata.normalize("NFKC", text).translate(_FOLDED).replace(f"i{_DOT_ABOVE}", "i")
    return " ".join(text.split())
