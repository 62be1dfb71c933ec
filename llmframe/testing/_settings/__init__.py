"""The settings of a server: faults, replies, rate limits, batches, answers and latency.

They are values and import nothing from the other rooms.
"""

from llmframe.testing._settings.batches import Batches
from llmframe.testing._settings.faults import (
    ANSWER_FAULTS,
    ANSWER_PATHS,
    ERROR_FAULTS,
    FAULT_KINDS,
    TEXT_FAULTS,
    TRANSPORT_FAULTS,
    Fault,
)
from llmframe.testing._settings.limits import Limits
from llmframe.testing._settings.replies import Reply
from llmframe.testing._settings.service import ServiceSettings

__all__ = [
    "ANSWER_FAULTS",
    "ANSWER_PATHS",
    "ERROR_FAULTS",
    "FAULT_KINDS",
    "TEXT_FAULTS",
    "TRANSPORT_FAULTS",
    "Batches",
    "Fault",
    "Limits",
    "Reply",
    "ServiceSettings",
]
