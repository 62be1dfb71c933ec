"""From values back to columns of a frame, by position: which columns may be written, what stays in them, and their records."""

from llmframe._columns.write_back.records import fingerprint, put_columns, recorded
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
    "TargetColumn",
    "TargetColumns",
    "fingerprint",
    "full_label",
    "occurrences",
    "put_columns",
    "recorded",
    "row_mask",
]
