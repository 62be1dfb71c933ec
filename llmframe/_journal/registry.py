"""The store of each place: a file, or memory."""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from llmframe._journal.memory import MemoryJournal
from llmframe._journal.sqlite import open_file
from llmframe._loop import through
from llmframe._options import Tuning

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from llmframe._journal.protocol import Journal

_DEFAULTS = Tuning()


def default_path() -> Path:
    """Return the default place of the journal."""
    from platformdirs import user_data_path  # noqa: PLC0415 (kept out of `import llmframe`)

    return user_data_path("llmframe", appauthor=False) / "journal.sqlite"


def journal_path(place: bool | Path) -> Path:
    """Return the file of a place; `True` is the default one."""
    return (place if isinstance(place, Path) else default_path()).expanduser()


@asynccontextmanager
async def open_journal(place: bool | Path, tuning: Tuning = _DEFAULTS) -> AsyncIterator[Journal]:
    """Open a journal for a block, from any loop.

    Parameters
    ----------
    place
        A file; `True` for the default one; `False` for one that keeps no answers and ends with the block.

    Raises
    ------
    JournalError
        When the file cannot be used.
    """
    if place is False:
        journal = MemoryJournal(tuning)
        try:
            yield journal
        finally:
            await through(journal.close())
    else:
        async with open_file(journal_path(place), tuning) as file_journal:
            yield file_journal


def forgetful_machine() -> str | None:
    """Return the name of the hosted notebook service that deletes its disk, if this is one."""
    if "google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ:
        return "Colab"
    if "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
        return "Kaggle"
    return "Binder" if "BINDER_SERVICE_HOST" in os.environ else None
