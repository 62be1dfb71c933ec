"""A JSON Schema, a user's or pydantic's, read into shapes; what strict mode cannot say is refused with its path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

AWARE = "x-aware"
"""Our own word beside `format: date-time`: the datetime has a time zone."""

_FORMATS = {
    "date": Scalar("date"),
    "date-time": Scalar("datetime"),
    "time": Scalar("time"),
    "decimal": Scalar("decimal"),
}
_TYPES = {
    "string": Scalar("text"),
    "integer": Scalar("int"),
    "number": Scalar("float"),
    "boolean": Scalar("bool"),
}
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "matching the pattern {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
}
_UNSAYABLE = (
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "patternProperties",
    "prefixItems",
)


def record_of(schema: Mapping[str, Any]) -> Record:
    """Read a schema whose root is an object.

    Raises
    ------
    ValueError
        For what strict mode cannot say, with the path of the field.
    """
    shape = _Reader(schema).shape(schema, ())
    if not isinstance(shape, Record):
        raise _refused((), "its root must be an object with properties")
    return shape


def field_of(name: str, schema: Mapping[str, Any], description: str = "", *, nullable: bool) -> Field:
    """Read a schema of one field, whose own definitions it holds."""
    field = _Reader(schema).field(name, schema, (name,), nullable=nullable)
    words = [text for text in (description, field.description) if text]
    return Field(field.name, field.shape, field.nullable, "; ".join(words))


class _Reader:
    """Reads the parts of one document, and remembers which records it is within."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._within: list[str] = []
        self._recursive = set[str]()

    def field(self, name: str, node: Mapping[str, Any], path: Sequence[str], *, nullable: bool) -> Field:
        node, null = self._without_null(node)
        words = [str(node["description"])] if node.get("description") else []
        words += [text.format(node[bound]) for bound, text in _BOUNDS.items() if bound in node]
        if node.get("type") == "string" and node.get("format") not in {None, *_FORMATS}:
            words.append(f"format: {node['format']}")
        return Field(
            name, self.shape(node, path), nullable or null, "; ".join(words), defaults=nullable and not null
        )

    def shape(self, node: Any, path: Sequence[str]) -> Shape:
        if not isinstance(node, dict):
            raise _refused(path, "a field needs a type")
        if unsayable := next((word for word in _UNSAYABLE if word in node), None):
            raise _refused(
                path, f"strict mode has no {unsayable!r}; write the field as a list or an object of its own"
            )
        if "$ref" in node:
            return self._referred(node, path)
        if "const" in node or "enum" in node:
            return _choice([node["const"]] if "const" in node else node["enum"], path)
        if "allOf" in node:
            return self.shape(_merged(node, path), path)
        options = node.get("anyOf") or node.get("oneOf")
        if options:
            return self._one_of([self.shape(option, path) for option in options], path)
        return self._typed(node, path)

    def _typed(self, node: Mapping[str, Any], path: Sequence[str]) -> Shape:
        match node.get("type"):
            case "object":
                return self._record(node, path)
            case "array":
                if not node.get("items"):
                    raise _refused(path, "a list needs a type for its items, such as list[str]")
                return Items(self.field("", node["items"], (*path, "[]"), nullable=False))
            case "string" if node.get("format") in _FORMATS:
                scalar = _FORMATS[node["format"]]
                return Scalar("datetime", aware=True) if node.get(AWARE) else scalar
            case str(name) if name in _TYPES:
                return _TYPES[name]
            case list(names):
                return self._one_of([self.shape({**node, "type": name}, path) for name in names], path)
        raise _refused(path, "a field needs a type, such as str, float, a list or a model")

    def _record(self, node: Mapping[str, Any], path: Sequence[str]) -> Record:
        properties = node.get("properties")
        if not properties:
            raise _refused(
                path, "an object needs named fields: strict mode has no open maps such as dict[str, int]"
            )
        if isinstance(node.get("additionalProperties"), dict):
            raise _refused(
                path, "strict mode has no open maps: name the fields, or use a list of key and value"
            )
        required = node.get("required", ())
        return Record(
            tuple(
                self.field(name, inner, (*path, name), nullable=name not in required)
                for name, inner in properties.items()
            )
        )

    def _referred(self, node: Mapping[str, Any], path: Sequence[str]) -> Shape:
        target, name = self._resolved(node)
        if name in self._within:
            self._recursive.add(name)
            return Reference(name)
        self._within.append(name)
        shape = self.shape(target, path)
        self._within.pop()
        if name in self._recursive and isinstance(shape, Record):
            return Record(shape.fields, name)
        return shape

    def _resolved(self, node: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        reference = str(node["$ref"])
        found: Any = self._document
        for step in reference.removeprefix("#").strip("/").split("/"):
            key = step.replace("~1", "/").replace("~0", "~")
            found = found.get(key) if isinstance(found, dict) and key else found
        if not reference.startswith("#") or not isinstance(found, dict):
            raise ValueError(f"schema: there is no {reference!r} in it")
        beside = {word: value for word, value in node.items() if word != "$ref"}
        return {**found, **beside}, reference

    def _without_null(self, node: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        """Take null out of what a value may be; return whether it was there."""
        node = dict(node)
        for word in ("anyOf", "oneOf"):
            options = node.get(word)
            if isinstance(options, list) and {"type": "null"} in options:
                left = [option for option in options if option != {"type": "null"}]
                del node[word]
                return ({**node, **left[0]} if len(left) == 1 else {**node, word: left}), True
        if isinstance(node.get("type"), list) and "null" in node["type"]:
            left = [name for name in node["type"] if name != "null"]
            return {**node, "type": left[0] if len(left) == 1 else left}, True
        if isinstance(node.get("enum"), list) and None in node["enum"]:
            return {**node, "enum": [value for value in node["enum"] if value is not None]}, True
        return node, False

    def _one_of(self, shapes: list[Shape], path: Sequence[str]) -> Shape:
        if all(shape == shapes[0] for shape in shapes):
            return shapes[0]
        if all(isinstance(shape, Choice) for shape in shapes):
            return _choice([value for shape in shapes for value in shape.values], path)  # type: ignore[union-attr]
        if set(shapes) == {Scalar("int"), Scalar("float")}:
            return Scalar("float")
        if all(isinstance(shape, Record | Reference) for shape in shapes):
            return Alternatives(tuple(shapes))  # type: ignore[arg-type]
        raise _refused(
            path, "a column has one type: this is a union of unlike ones; choose one, or two fields"
        )


def _merged(node: Mapping[str, Any], path: Sequence[str]) -> dict[str, Any]:
    parts = node["allOf"]
    if len(parts) != 1:
        raise _refused(path, "strict mode has no 'allOf'; write one object with all fields")
    return {**{word: value for word, value in node.items() if word != "allOf"}, **parts[0]}


def _choice(values: Sequence[Any], path: Sequence[str]) -> Choice:
    kinds = {type(value) for value in values}
    if len(kinds) != 1 or not kinds <= {str, int, bool}:
        raise _refused(path, "the values of one field must be all text, all whole numbers or all True/False")
    return Choice(tuple(dict.fromkeys(values)))


def _refused(path: Sequence[str], why: str) -> ValueError:
    where = f"{'.'.join(path).replace('.[]', '[]')}: " if path else ""
    return ValueError(f"schema: {where}{why}")
