"""The JSON Schema that is sent: the portable core of strict structured outputs.

The core and its limits: https://platform.openai.com/docs/guides/structured-outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from llmframe._columns.schema.shapes import (
    Alternatives,
    Choice,
    Field,
    Items,
    Record,
    Reference,
    Scalar,
    Shape,
)
from llmframe._json import without_half_pairs

_MOST_PROPERTIES = 5_000
_DEEPEST = 10
_MOST_VALUES = 1_000
_MOST_CHARACTERS = 120_000
_LONG_CHOICE = 250
_MOST_CHARACTERS_OF_LONG_CHOICE = 15_000
_WORDS = {
    "text": ("string", ""),
    "int": ("integer", ""),
    "float": ("number", ""),
    "bool": ("boolean", ""),
    "date": ("string", "a date, YYYY-MM-DD"),
    "datetime": ("string", "a date and time, YYYY-MM-DDTHH:MM:SS"),
    "time": ("string", "a time of day, HH:MM:SS"),
    "decimal": ("string", "a decimal number in digits"),
}
_TYPES_OF_VALUES = {str: "string", bool: "boolean", int: "integer"}
_AWARE = ", with its offset from UTC, such as Z or +02:00"


def response_format(root: Record, argument: str = "schema") -> dict[str, Any]:
    """Return the parameter `response_format` that asks for a record; errors name the argument.

    Raises
    ------
    ValueError
        For a schema over the API's sizes.
    """
    writer = _Writer()
    schema = writer.record(root, 1)
    if writer.definitions:
        schema["$defs"] = writer.definitions
    writer.check(argument)
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


@dataclass
class _Writer:
    definitions: dict[str, Any] = field(default_factory=dict)
    properties: int = 0
    depth: int = 0
    values: int = 0
    characters: int = 0
    of_long_choice: int = 0

    def record(self, record: Record, depth: int) -> dict[str, Any]:
        self.depth = max(self.depth, depth)
        self.properties += len(record.fields)
        self.characters += sum(len(each.name) for each in record.fields)
        return {
            "type": "object",
            "properties": {each.name: self.field(each, depth) for each in record.fields},
            "required": [each.name for each in record.fields],
            "additionalProperties": False,
        }

    def field(self, asked: Field, depth: int) -> dict[str, Any]:
        written = self.shape(asked.shape, depth)
        words = [word for word in (asked.description, written.pop("description", "")) if word]
        if asked.nullable:
            written = {"anyOf": [written, {"type": "null"}]}
        elif words and "$ref" in written:  # which has no other member beside it
            written = {"anyOf": [written]}
        return {**written, **({"description": without_half_pairs("; ".join(words))} if words else {})}

    def shape(self, shape: Shape, depth: int) -> dict[str, Any]:  # noqa: PLR0911 (a table)
        match shape:
            case Scalar(kind, aware):
                name, words = _WORDS[kind]
                return {"type": name, **({"description": words + _AWARE * aware} if words else {})}
            case Choice(values):
                self.values += len(values)
                characters = sum(len(value) for value in values if isinstance(value, str))
                self.characters += characters
                if len(values) > _LONG_CHOICE:
                    self.of_long_choice = max(self.of_long_choice, characters)
                return {"type": _TYPES_OF_VALUES[type(values[0])], "enum": list(values)}
            case Items(item):
                return {"type": "array", "items": self.field(item, depth)}
            case Alternatives(records):
                return {"anyOf": [self.shape(each, depth) for each in records]}
            case Reference(name):
                return {"$ref": f"#/$defs/{name}"}
            case Record(_, name) if name:
                if name not in self.definitions:
                    self.definitions[name] = {}
                    self.definitions[name] = self.record(shape, depth + 1)
                return {"$ref": f"#/$defs/{name}"}
        return self.record(shape, depth + 1)

    def check(self, argument: str) -> None:
        sizes = (
            (self.properties, _MOST_PROPERTIES, "fields"),
            (self.depth, _DEEPEST, "levels of objects"),
            (self.values, _MOST_VALUES, "values to choose from, in all"),
            (self.characters, _MOST_CHARACTERS, "characters in names and values"),
            (
                self.of_long_choice,
                _MOST_CHARACTERS_OF_LONG_CHOICE,
                f"characters in one choice of more than {_LONG_CHOICE} values",
            ),
        )
        for size, most, what in sizes:
            if size > most:
                raise ValueError(
                    f"{argument}: there are {size:,} {what}, and the API takes at most {most:,}; ask in several calls"
                )
