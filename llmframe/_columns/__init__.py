"""From columns to requests, and from answers back to columns. This room does not wait or send.

A `PromptSpec` defines how a row's prompt is made (instruction, template, function, message array); `make_plan` turns
the rows into distinct requests with an identity each; a kind of answer (`TEXT`) decides what a stored body means
for a verb; `TargetColumns` are the columns that a verb may write, checked before anything is sent.
"""

from llmframe._columns.list_items import explode
from llmframe._columns.plan import Plan, make_plan
from llmframe._columns.prompts import Prompt, PromptSpec, is_messages, listed
from llmframe._columns.raw_answers import RawAnswers
from llmframe._columns.recipe import Recipe
from llmframe._columns.schema import Schema, TypedAnswers, read_schema, response_format
from llmframe._columns.templates import label_text
from llmframe._columns.text_answers import TEXT, text_series
from llmframe._columns.write_back import (
    Overwrite,
    TargetColumns,
    full_label,
    occurrences,
    put_columns,
    row_mask,
)

__all__ = [
    "TEXT",
    "Overwrite",
    "Plan",
    "Prompt",
    "PromptSpec",
    "RawAnswers",
    "Recipe",
    "Schema",
    "TargetColumns",
    "TypedAnswers",
    "explode",
    "full_label",
    "is_messages",
    "label_text",
    "listed",
    "make_plan",
    "occurrences",
    "put_columns",
    "read_schema",
    "response_format",
    "row_mask",
    "text_series",
]
