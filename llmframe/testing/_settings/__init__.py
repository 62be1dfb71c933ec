"""What a test sets on a server: faults, rate limits, how batches are treated, what is answered and how fast.

These are values; they import nothing of the other rooms.
"""

from llmframe.testing._settings.batches import Batches
from llmframe.testing._settings.faults import (
    ANSWER_FAULTS,
    ERROR_FAULTS,
    FAULT_KINDS,
    TRANSPORT_FAULTS,
    Fault,
)
from llmframe.testing._settings.limits import Limits
from llmframe.testing._settings.service import ServiceSettings

__all__ = [
    "ANSWER_FAULTS",
    "ERROR_FAULTS",
    "FAULT_KINDS",
    "TRANSPORT_FAULTS",
    "Batches",
    "Fault",
    "Limits",
    "ServiceSettings",
]
