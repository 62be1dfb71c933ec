"""From columns to requests, and from answers back to columns. This room does not wait or send.

A `PromptSpec` defines how a row's prompt is made (instruction, template, function, message array); `make_plan` turns
the rows into distinct requests with an identity each; a kind of answer (`TEXT`) decides what a stored body means
for a verb; a `TargetColumn` is the column that a verb may write, checked before anything is sent.
"""

from llmframe._columns.plan import Plan, make_plan
from llmframe._columns.prompts import Prompt, PromptSpec, is_messages, listed
from llmframe._columns.recipe import Recipe
from llmframe._columns.templates import label_text
from llmframe._columns.text_answers import TEXT, text_series
from llmframe._columns.write_back import (
    Overwrite,
    TargetColumn,
    full_label,
    occurrences,
    put_column,
    row_mask,
    spread,
)

__all__ = [
    "TEXT",
    "Overwrite",
    "Plan",
    "Prompt",
    "PromptSpec",
    "Recipe",
    "TargetColumn",
    "full_label",
    "is_messages",
    "label_text",
    "listed",
    "make_plan",
    "occurrences",
    "put_column",
    "row_mask",
    "spread",
    "text_series",
]
