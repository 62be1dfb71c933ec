"""The journal: every paid answer, who is asking what right now, and the batches that are under way.

`open_journal` gives a store by its place; all of them implement the protocol `Journal`. A `Lease` keeps a run's
claims alive, a `Recorder` commits its answers in groups. No other room knows where or how anything is stored.
"""

from llmframe._journal.lease import Lease
from llmframe._journal.protocol import (
    BatchPart,
    BatchStore,
    ClaimResult,
    Journal,
    Judge,
    PartLabel,
    PricedAnswer,
    Session,
    StoredAnswer,
)
from llmframe._journal.recorder import Recorder
from llmframe._journal.registry import forgetful_machine, journal_path, open_journal

__all__ = [
    "BatchPart",
    "BatchStore",
    "ClaimResult",
    "Journal",
    "Judge",
    "Lease",
    "PartLabel",
    "PricedAnswer",
    "Recorder",
    "Session",
    "StoredAnswer",
    "forgetful_machine",
    "journal_path",
    "open_journal",
]
