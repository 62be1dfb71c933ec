"""Text of a file whose encoding is found by its first bytes, where it can be."""

from __future__ import annotations

import codecs
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK_BYTES = 1 << 18
_SHOWN_CHARACTERS = 60

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # it begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def check_encoding(name: str) -> None:
    """Refuse what is no encoding of text."""
    try:
        "".encode(name)
    except (LookupError, ValueError):
        raise ValueError(
            f"encoding: {name!r} is none that Python knows; write one such as 'utf-8', 'utf-16', 'cp1252' or 'shift_jis'"
        ) from None


def found_encoding(head: bytes) -> str:
    """Return the encoding that a file's first bytes show; UTF-8 where they show nothing else.

    Examples
    --------
    >>> [found_encoding(text) for text in (b"a,b", "a,b".encode("utf-16"), "a,b".encode("utf-16-be"))]
    ['utf-8', 'utf-16', 'utf-16-be']
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return encoding
    # In the wider encodings, ASCII characters, of which every file has some, are beside zeros.
    zeros = [head[place::4].count(0) * 4 / max(len(head), 1) for place in range(4)]
    even, odd, lines = zeros[0] + zeros[2], zeros[1] + zeros[3], head.count(b"\n")
    if min(zeros[2], zeros[3]) > 0.9 > zeros[0]:
        return "utf-32-le"
    if min(zeros[0], zeros[1]) > 0.9 > zeros[3] and len(head) >= 4:
        return "utf-32-be"
    if odd > max(0.2, 4 * even) and 2 * head.count(b"\n\0") >= lines:
        return "utf-16-le"
    if even > max(0.2, 4 * odd) and 2 * head.count(b"\0\n") >= lines:
        return "utf-16-be"
    return "utf-8"


class DecodedText:
    """The text of a file of bytes, decoded as it is read.

    Attributes
    ----------
    head : str
        The first characters, which `read` returns too.
    """

    def __init__(self, file: IO[bytes], encoding: str | None) -> None:
        self._file = file
        raw = file.read(_BLOCK_BYTES)
        self._encoding = encoding or found_encoding(raw)
        self._decoder = codecs.getincrementaldecoder(self._encoding)()
        self._lines = 1
        self._line = ""
        self._ended = not raw
        self.head = self._decoded(raw).removeprefix("\ufeff")
        self._held = self.head

    def read(self, size: int) -> str:
        """Return the next characters, about as many; none at the end."""
        text, self._held = self._held, ""
        while not text and not self._ended:
            raw = self._file.read(size)
            self._ended = not raw
            text = self._decoded(raw)
        return text

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield each line, without its line feed, and its number in the file."""
        number, held = 0, ""
        while text := self.read(_BLOCK_BYTES):
            *lines, held = (held + text).split("\n")
            for line in lines:
                number += 1
                yield number, line
        if held:
            yield number + 1, held

    def _decoded(self, raw: bytes) -> str:
        try:
            text = self._decoder.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            raise ValueError(self._fault(error)) from error
        self._lines += text.count("\n")
        self._line = text.rpartition("\n")[2] if "\n" in text else self._line + text
        return text

    def _fault(self, error: UnicodeDecodeError) -> str:
        before = self._line + error.object[: error.start].decode(self._encoding, "replace")
        number = self._lines + before.count("\n")
        begun = before.rpartition("\n")[2][-_SHOWN_CHARACTERS:]
        rest = error.object[error.start : error.start + _SHOWN_CHARACTERS].split(b"\n")[0].rstrip(b"\r")
        shown = begun + rest.decode("ascii", "backslashreplace")
        message = f"the file is not in {self._encoding}; its line {number} has {shown!r}"
        if self._encoding.startswith("utf-8"):
            as_windows = begun + rest.decode("cp1252", "replace")
            return f'{message}. Name its encoding: with encoding="cp1252", of old Windows programs, that is {as_windows!r}; others are "shift_jis", "gb18030", "koi8-r"'
        return f"{message}. Name another with encoding="
