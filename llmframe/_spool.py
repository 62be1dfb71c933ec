"""A part of a batch on its way to the API: on disk, for it may have 200 MB."""

from __future__ import annotations

import tempfile
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class Spool:
    """Lines in a temporary file, which is gone when it is closed."""

    def __init__(self) -> None:
        self.size = 0
        """Bytes."""
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)

    def add(self, line: bytes) -> None:
        self._file.write(line)
        self.size += len(line)

    def reading(self) -> IO[bytes]:
        """Give the file, at its start."""
        self._file.flush()
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
