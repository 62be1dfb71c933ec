"""From columns to requests, and from answers back to columns. This room does not wait or send.

A `PromptSpec` defines how a row's prompt is made (instruction, template, function, message array); `make_plan` turns
the rows into distinct requests with an identity each; `Examples` become messages before them; a kind of answer (`TEXT`) decides what a stored body means
for a verb; `TargetColumns` are the columns that a verb may write, checked before anything is sent.
"""

from llmframe._columns.companions import USAGE_COLUMNS, RawAnswers, RequestUsage, UsageAnswers
from llmframe._columns.context import NO_CONTEXT, Context
from llmframe._columns.endings import CUT_OFF
from llmframe._columns.examples import Examples, text_digest
from llmframe._columns.list_items import explode
from llmframe._columns.plan import Plan, Together, make_plan
from llmframe._columns.prompt_cache import takes_breakpoints
from llmframe._columns.prompts import Prompt, PromptSpec, is_messages, listed
from llmframe._columns.questions import (
    MOST_CHOICES,
    MOST_QUESTIONS,
    ChatQuestionAnswers,
    DecisionAnswers,
    Levels,
    Part,
    Question,
    QuestionAnswers,
    Shown,
    decision_questions,
    judge_any,
    question_record,
    questions_as_json,
    questions_from_json,
    read_labels,
    read_questions,
)
from llmframe._columns.recipe import OUTPUT_BOUNDS, Recipe
from llmframe._columns.schema import (
    Record,
    Schema,
    TypedAnswers,
    read_schema,
    response_format,
    schema_as_json,
)
from llmframe._columns.templates import label_text
from llmframe._columns.text_answers import TEXT, text_series
from llmframe._columns.write_back import (
    Overwrite,
    RecordedCall,
    TargetColumns,
    call_of,
    comparable,
    full_label,
    occurrences,
    put_columns,
    recorded,
    recorded_elsewhere,
    row_digest,
    row_mask,
)

__all__ = [
    "CUT_OFF",
    "MOST_CHOICES",
    "MOST_QUESTIONS",
    "NO_CONTEXT",
    "OUTPUT_BOUNDS",
    "TEXT",
    "USAGE_COLUMNS",
    "ChatQuestionAnswers",
    "Context",
    "DecisionAnswers",
    "Examples",
    "Levels",
    "Overwrite",
    "Part",
    "Plan",
    "Prompt",
    "PromptSpec",
    "Question",
    "QuestionAnswers",
    "RawAnswers",
    "Recipe",
    "Record",
    "RecordedCall",
    "RequestUsage",
    "Schema",
    "Shown",
    "TargetColumns",
    "Together",
    "TypedAnswers",
    "UsageAnswers",
    "call_of",
    "comparable",
    "decision_questions",
    "explode",
    "full_label",
    "is_messages",
    "judge_any",
    "label_text",
    "listed",
    "make_plan",
    "occurrences",
    "put_columns",
    "question_record",
    "questions_as_json",
    "questions_from_json",
    "read_labels",
    "read_questions",
    "read_schema",
    "recorded",
    "recorded_elsewhere",
    "response_format",
    "row_digest",
    "row_mask",
    "schema_as_json",
    "takes_breakpoints",
    "text_digest",
    "text_series",
]
