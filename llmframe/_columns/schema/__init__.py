"""Typed answers: what users write for a schema, what is sent, how answers are read, and the columns that they become."""

from llmframe._columns.schema.shapes import Choice, Field, Record, Scalar
from llmframe._columns.schema.typed_answers import TypedAnswers
from llmframe._columns.schema.user_schemas import Schema, read_schema, schema_as_json
from llmframe._columns.schema.wire import response_format

__all__ = [
    "Choice",
    "Field",
    "Record",
    "Scalar",
    "Schema",
    "TypedAnswers",
    "read_schema",
    "response_format",
    "schema_as_json",
]
