"""A JSON Schema, a user's or pydantic's, read into shapes; what strict mode cannot say is refused with its path."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import chain, count
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from llmframe._columns.schema.fitting import BOUNDS, FORMATS, LARGEST_INT
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
SCALARS: dict[str, dict[str, Any]] = {
    **{scalar.type: {"type": name} for name, scalar in _TYPES.items()},
    **{scalar.type: {"type": "string", "format": name} for name, scalar in _FORMATS.items()},
}
"""How each scalar type is written."""
_COMBINING = ("anyOf", "oneOf", "allOf")
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


def record_of(schema: Mapping[str, Any], *, checked_here: bool = False) -> Record:
    """Read a schema whose root is an object.

    Parameters
    ----------
    checked_here
        Whether no class of the user's checks its bounds, patterns and formats.

    Raises
    ------
    ValueError
        For what strict mode cannot say, with the path of the field.
    """
    shape = _Reader(schema, {}, checked_here=checked_here).shape(schema, ())
    if not isinstance(shape, Record):
        raise _refused((), "its root must be an object with properties")
    return shape


def field_of(
    name: str, schema: Mapping[str, Any], description: str, names: dict[str, Any], *, nullable: bool
) -> Field:
    """Read a schema of one field, whose own definitions it holds.

    Parameters
    ----------
    names
        The names of definitions so far, of all fields; new ones are added.
    """
    field = _Reader(schema, names).field(name, schema, (name,), nullable=nullable)
    words = [text for text in (description, field.description) if text]
    return replace(field, description="; ".join(words))


class _Reader:
    """Reads the parts of one document, and remembers which records it is within."""

    def __init__(
        self, document: Mapping[str, Any], names: dict[str, Any], *, checked_here: bool = False
    ) -> None:
        self._document = document
        self._names = names
        self._checked_here = checked_here
        self._within: list[str] = []
        self._recursive = set[str]()
        self._inlined: list[tuple[str, int]] = []
        """The references that were replaced by what they mean, each with the number of records around it."""

    def field(self, name: str, node: Any, path: Sequence[str], *, nullable: bool) -> Field:
        references: list[str] = []
        node, null = self._plain(node, path, references)
        words = [str(node["description"])] if node.get("description") else []
        words += [bound.words.format(node[word]) for word, bound in BOUNDS.items() if word in node]
        if node.get("type") == "string" and node.get("format") not in {None, *_FORMATS}:
            words.append(f"format: {node['format']}")
        inlined = [(reference, len(self._within)) for reference in references]
        if any(each in self._inlined for each in inlined):
            raise _refused(
                path, "a list or a union that contains itself needs an object of its own in between"
            )
        self._inlined += inlined
        shape = self.shape(node, path)
        del self._inlined[len(self._inlined) - len(inlined) :]
        bounds = _bounds(node, path) if self._checked_here else ()
        return Field(
            name, shape, nullable or null, "; ".join(words), defaults=nullable and not null, bounds=bounds
        )

    def shape(self, node: Any, path: Sequence[str]) -> Shape:
        if unsayable := next((word for word in _UNSAYABLE if word in node), None):
            raise _refused(
                path, f"strict mode has no {unsayable!r}; write the field as a list or an object of its own"
            )
        if beside := next((word for word in _COMBINING if node.get(word) and node.get("properties")), None):
            raise _refused(
                path, f"strict mode has no {beside!r} beside 'properties'; write one object with all fields"
            )
        if "$ref" in node:
            return self._referred(node, path)
        if "const" in node or "enum" in node:
            return _choice([node["const"]] if "const" in node else node["enum"], path)
        options = node.get("anyOf") or node.get("oneOf")
        if options:
            return self._one_of([self.shape(option, path) for option in options], path)
        return self._typed(node, path)

    def _typed(self, node: Mapping[str, Any], path: Sequence[str]) -> Shape:
        match node.get("type"):
            case "object" | None if "properties" in node or "type" in node:
                return self._record(node, path)
            case "array":
                if not isinstance(node.get("items"), dict) or not node["items"]:
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
        if not isinstance(properties, dict) or not properties:
            raise _refused(
                path, "an object needs named fields: strict mode has no open maps such as dict[str, int]"
            )
        if isinstance(node.get("additionalProperties"), dict):
            raise _refused(
                path, "strict mode has no open maps: name the fields, or use a list of key and value"
            )
        required = node.get("required") or ()
        return Record(
            tuple(
                self.field(checked_name(name, path), inner, (*path, name), nullable=name not in required)
                for name, inner in properties.items()
            )
        )

    def _referred(self, node: Mapping[str, Any], path: Sequence[str]) -> Shape:
        target, reference = self._resolved(node)
        if reference in self._within:
            self._recursive.add(reference)
            return Reference(self._name_of(reference))
        self._within.append(reference)
        shape = self.shape(target, path)
        self._within.pop()
        if reference in self._recursive and isinstance(shape, Record):
            return Record(shape.fields, self._name_of(reference))
        return shape

    def _name_of(self, reference: str) -> str:
        """Return the name of a definition, which only equal ones have in common."""
        last = re.sub(r"[^A-Za-z0-9_.-]", "_", unquote(reference).rpartition("/")[2].lstrip("#")) or "answer"
        means = (reference, self._document.get("$defs"), self._document.get("definitions"))
        names = chain([last], (f"{last}_{number}" for number in count(2)))
        return next(name for name in names if self._names.setdefault(name, means) == means)

    def _resolved(self, node: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        reference = str(node["$ref"])
        found: Any = self._document
        for step in unquote(reference).removeprefix("#").strip("/").split("/"):
            key = step.replace("~1", "/").replace("~0", "~")
            found = found.get(key) if isinstance(found, dict) and key else found
        if not reference.startswith("#") or not isinstance(found, dict):
            raise ValueError(f"schema: there is no {reference!r} in it")
        beside = {word: value for word, value in node.items() if word != "$ref"}
        return {**found, **beside}, reference

    def _plain(self, node: Any, path: Sequence[str], references: list[str]) -> tuple[dict[str, Any], bool]:
        """Return what a value may be, apart from null, and whether it may be null.

        References to what is no object are replaced by what they mean, and added to `references`; unions in unions are
        one union.
        """
        null = False
        while True:
            before = tuple(references)
            node = self._meant(node, path, references, before)
            node, was_null = _without_null(node)
            null = null or was_null
            word = next((word for word in ("anyOf", "oneOf") if isinstance(node.get(word), list)), None)
            if word is None:
                return node, null
            parts = [_without_null(self._meant(option, path, references, before)) for option in node[word]]
            null = null or any(was_null for _, was_null in parts)
            left = [part for part, _ in parts if part]
            flat = [inner for part in left for inner in part.get("anyOf") or part.get("oneOf") or [part]]
            if len(flat) != 1:
                node = {**node, word: flat}
                if flat == left:
                    return node, null
                continue
            described = {"description": node["description"]} if node.get("description") else {}
            del node[word]
            node = {**node, **flat[0], **described}

    def _meant(
        self, node: Any, path: Sequence[str], references: list[str], before: Sequence[str]
    ) -> dict[str, Any]:
        """Return what a node means: of one in `allOf`, or by a reference to what is no object, unless that was followed before."""
        followed = list(before)
        while True:
            if not isinstance(node, dict):
                raise _refused(path, "a field needs a type, such as str, float, a list or a model")
            if "allOf" in node:
                node = _merged(node, path)
                continue
            if "$ref" not in node:
                return dict(node)
            target, reference = self._resolved(node)
            if target.get("type") == "object" or "properties" in target:
                return dict(node)
            if reference in followed:
                raise _refused(path, f"{reference} refers to itself alone")
            followed.append(reference)
            references.append(reference)
            node = target

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


def _without_null(node: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Take null out of a node's own words; return whether it was there. Of what is only null, nothing is left."""
    null = node.pop("nullable", False) is True
    if node.get("type") == "null":
        return {}, True
    values = node.get("enum")
    if isinstance(node.get("type"), list) and "null" in node["type"]:
        left = [name for name in node["type"] if name != "null"]
        node = {**node, "type": left[0] if len(left) == 1 else left}
        null = null or not isinstance(values, list)
    if isinstance(values, list) and None in values:
        node, null = {**node, "enum": [value for value in values if value is not None]}, True
    return node, null


def checked_name(name: Any, path: Sequence[str] = ()) -> str:
    """Return a field's name, which an answer can have."""
    if isinstance(name, str) and name.strip() and without_half_pairs(name) == name:
        return name
    raise _refused(path, f"a field's name must be text that is not blank; got {name!r}")


def _bounds(node: Mapping[str, Any], path: Sequence[str]) -> tuple[tuple[str, Any], ...]:
    """Return what a value is checked for here.

    Raises
    ------
    ValueError
        For a bound that is none.
    """
    found = [(word, bound) for word, bound in node.items() if word in BOUNDS]
    for word, bound in found:
        if not BOUNDS[word].may_be(bound):
            raise _refused(path, f"its {word!r} cannot be {bound!r}")
    if node.get("type") == "string" and node.get("format") in FORMATS:
        found.append(("format", node["format"]))
    return tuple(found)


def _merged(node: Mapping[str, Any], path: Sequence[str]) -> dict[str, Any]:
    parts = node["allOf"]
    if not isinstance(parts, list) or len(parts) != 1 or node.get("properties"):
        raise _refused(path, "strict mode has no 'allOf'; write one object with all fields")
    return {**{word: value for word, value in node.items() if word != "allOf"}, **parts[0]}


def _choice(values: Sequence[Any], path: Sequence[str]) -> Choice:
    kinds = {type(value) for value in values}
    if len(kinds) != 1 or not kinds <= {str, int, bool}:
        raise _refused(path, "the values of one field must be all text, all whole numbers or all True/False")
    if beyond := next(
        (value for value in values if kinds == {int} and not -LARGEST_INT <= value < LARGEST_INT), None
    ):
        raise _refused(path, f"{beyond} is beyond 64 bits, which a column has")
    return Choice(tuple(dict.fromkeys(values)))


def _refused(path: Sequence[str], why: str) -> ValueError:
    where = f"{'.'.join(path).replace('.[]', '[]')}: " if path else ""
    return ValueError(f"schema: {where}{why}")
