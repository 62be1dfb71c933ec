"""The journal: every paid answer, the requests that runs have claimed, and the batches that are under way.

`open_journal` opens the store of a place; every store implements the protocol `Journal`. A `Lease` renews a run's
claims, and a `Recorder` commits its answers in groups. No other room depends on where or how anything is stored.
"""

from llmframe._journal.lease import Lease
from llmframe._journal.protocol import (
    BatchPart,
    BatchStore,
    ClaimResult,
    Journal,
    PartLabel,
    PastAnswer,
    Session,
    Spend,
    StoredAnswer,
)
from llmframe._journal.recorder import Recorder
from llmframe._journal.registry import (
    Place,
    database_grants,
    forgetful_machine,
    journal_exists,
    journal_path,
    journal_place,
    open_journal,
)

__all__ = [
    "BatchPart",
    "BatchStore",
    "ClaimResult",
    "Journal",
    "Lease",
    "PartLabel",
    "PastAnswer",
    "Place",
    "Recorder",
    "Session",
    "Spend",
    "StoredAnswer",
    "database_grants",
    "forgetful_machine",
    "journal_exists",
    "journal_path",
    "journal_place",
    "open_journal",
]
