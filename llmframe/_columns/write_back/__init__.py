"""From values back to columns of a frame, by position: which columns may be written, what stays in them, and their records."""

from llmframe._columns.write_back.cell_equality import comparable, row_digest
from llmframe._columns.write_back.records import (
    RecordedCall,
    call_of,
    fingerprint,
    put_columns,
    recorded,
    recorded_elsewhere,
)
from llmframe._columns.write_back.targets import (
    Overwrite,
    TargetColumn,
    TargetColumns,
    full_label,
    occurrences,
    row_mask,
)

__all__ = [
    "Overwrite",
    "RecordedCall",
    "TargetColumn",
    "TargetColumns",
    "call_of",
    "comparable",
    "fingerprint",
    "full_label",
    "occurrences",
    "put_columns",
    "recorded",
    "recorded_elsewhere",
    "row_digest",
    "row_mask",
]
