"""The store of each place: a file, a database, or memory."""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from llmframe._addresses import DatabaseAddress, is_database
from llmframe._errors import JournalError
from llmframe._journal.memory import MemoryJournal
from llmframe._journal.sqlite import open_file
from llmframe._loop import through
from llmframe._options import Tuning

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from llmframe._journal.protocol import Journal
    from llmframe._keywords import JournalPlace

Place: TypeAlias = "bool | Path | DatabaseAddress"
"""Where a journal is; `True`: in the default file; `False`: nowhere."""

_DEFAULTS = Tuning()


def default_path() -> Path:
    """Return the default place of the journal."""
    from platformdirs import user_data_path  # noqa: PLC0415 (kept out of `import llmframe`)

    return user_data_path("llmframe", appauthor=False) / "journal.sqlite"


def journal_place(place: JournalPlace) -> Place:
    """Return the place that an argument, an option or a variable names."""
    if isinstance(place, bool | DatabaseAddress):
        return place
    return DatabaseAddress.of(place) if isinstance(place, str) and is_database(place) else Path(place)


def journal_path(place: bool | Path) -> Path:
    """Return the file of a place; `True` is the default one."""
    return (place if isinstance(place, Path) else default_path()).expanduser()


def journal_exists(place: Place) -> bool:
    """Return whether there is a file; a database may always have a journal."""
    return isinstance(place, DatabaseAddress) or journal_path(place).exists()


@asynccontextmanager
async def open_journal(place: Place, tuning: Tuning = _DEFAULTS) -> AsyncIterator[Journal]:
    """Open a journal for a block, from any loop.

    Parameters
    ----------
    place
        A file; `True` for the default one; a database; `False` for one that keeps no answers and ends with the block.

    Raises
    ------
    JournalError
        When the file or the database cannot be used.
    """
    if place is False:
        journal = MemoryJournal(tuning)
        try:
            yield journal
        finally:
            await through(journal.close())
    elif isinstance(place, DatabaseAddress):
        async with _open_database(place, tuning) as database_journal:
            yield database_journal
    else:
        async with open_file(journal_path(place), tuning) as file_journal:
            yield file_journal


def _open_database(address: DatabaseAddress, tuning: Tuning) -> AbstractAsyncContextManager[Journal]:
    try:
        from llmframe._journal.postgres import open_database  # noqa: PLC0415 (an extra, and slow to import)
    except ImportError as error:
        raise JournalError(
            f"a journal in PostgreSQL needs psycopg ({error}): pip install 'llmframe[postgres]'"
        ) from error
    return open_database(address, tuning)


def database_grants() -> str:
    """Return what a role needs that uses a journal in a database which another role has made."""
    from llmframe._journal.postgres import GRANTS  # noqa: PLC0415 (as above)

    return GRANTS


def forgetful_machine() -> str | None:
    """Return the name of the hosted notebook service that deletes its disk, if this is one."""
    if "google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ:
        return "Colab"
    if "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
        return "Kaggle"
    return "Binder" if "BINDER_SERVICE_HOST" in os.environ else None
