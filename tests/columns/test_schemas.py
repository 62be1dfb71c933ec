"""What users write for a schema, what of it is sent, and what is refused before anything is."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, Literal, NotRequired, Optional, TypedDict

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AliasPath, AwareDatetime, BaseModel, Field, create_model
from typing_extensions import TypeAliasType

from llmframe._columns.schema import TypedAnswers, read_schema, response_format, schema_as_json
from llmframe._columns.schema.shapes import Choice, Items, Record, Reference, Scalar
from llmframe.testing._chat.instances import instance
from llmframe.testing._requests import check_completion


class Part(BaseModel):
    name: str
    broken: bool | None = None


class Tone(enum.Enum):
    ANGRY = "angry"
    CALM = "calm"


class Review(BaseModel):
    product: str = Field(description="The product's name.")
    stars: int = Field(ge=1, le=5)
    tone: Tone
    bought: date | None
    seen: AwareDatetime | None = None
    price: Decimal
    parts: list[Part]
    main: Part
    tag: Literal["a", "b"] | None


class Node(BaseModel):
    name: str
    children: list[Node]


class Total(TypedDict, total=False):
    a: str
    b: Optional[int]  # noqa: UP045 (as people write it)


@dataclasses.dataclass
class Data:
    a: str
    b: float = 2.0


SCHEMAS = [
    ["a", "b"],
    {"hours": float, "tone": "How does the customer sound?", "stars": (int, "Of five.")},
    {"when": datetime, "day": date, "at": time, "price": Decimal, "parts": list[Part], "main": Part},
    {
        "level": Literal[1, 2],
        "sure": bool,
        "tone": Tone,
        "tags": list[Literal["x", "y"]],
        "seen": AwareDatetime,
    },
    {"two words": str, "class": str, "a.b": str, "  x": int, "müde": str, 'quo"te': str},
    Review,
    Node,
    Total,
    Data,
    {
        "type": "object",
        "properties": {"x": {"type": ["integer", "null"]}, "y": {"$ref": "#/$defs/Y"}},
        "required": ["x"],
        "$defs": {"Y": {"type": "string", "enum": ["p", "q"]}},
    },
]


def fields(schema):
    return {field.name: field for field in read_schema(schema).root.fields}


def test_names_questions_and_types_become_nullable_fields():
    found = fields(["a", "b"])
    assert [(field.name, field.shape, field.nullable) for field in found.values()] == [
        ("a", Scalar("text"), True),
        ("b", Scalar("text"), True),
    ]
    found = fields({"hours": float, "tone": "How?", "stars": (int, "Of five.")})
    assert [(field.shape, field.description) for field in found.values()] == [
        (Scalar("float"), ""),
        (Scalar("text"), "How?"),
        (Scalar("int"), "Of five."),
    ]
    assert not read_schema({"hours": float}).may_be_invented


def test_a_class_says_itself_what_may_be_null_and_its_bounds_go_into_the_description():
    found = fields(Review)
    assert [name for name, field in found.items() if field.nullable] == ["bought", "seen", "tag"]
    assert read_schema(Review).may_be_invented == ["product", "stars", "tone", "price", "parts", "main"]
    assert found["stars"].description == "at least 1; at most 5"
    assert found["product"].description == "The product's name."
    assert found["tone"].shape == Choice(("angry", "calm"))
    assert found["seen"].shape == Scalar("datetime", aware=True)
    assert found["price"].shape == Scalar("decimal")


class Piece(BaseModel):
    name: str
    size: Decimal | None


class Frozen(BaseModel, frozen=True, extra="forbid", title="A review"):
    piece: Piece
    day: date | None


class Simple(TypedDict):
    a: str
    pieces: list[Piece]


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    tone: Tone


class Stripped(BaseModel, str_strip_whitespace=True):
    a: str


class Begun(BaseModel):
    a: str

    def __init__(self, **values):
        super().__init__(**values)


class Ended(BaseModel):
    a: str

    def model_post_init(self, context):
        """Whatever runs here may refuse the values."""


@dataclasses.dataclass
class Late:
    a: str

    def __post_init__(self):
        """And here."""


@pytest.mark.parametrize(
    ("schema", "checked"),
    [
        (Simple, False),
        (Total, True),
        (Review, True),
        (Stripped, True),
        (Begun, True),
        (Ended, True),
        (Late, True),
        (Point, False),
        (Frozen, False),
        ({"a": list[Point], "b": date}, False),
        ({"a": list[Late]}, True),
    ],
    ids=str,
)
def test_a_class_that_only_names_and_types_its_fields_is_not_asked_once_more(schema, checked):
    assert bool(read_schema(schema).checks) == checked


def test_what_contains_itself_is_sent_once_and_referred_to():
    (_, children) = read_schema(Node).root.fields
    assert isinstance(children.shape, Items)
    assert isinstance(children.shape.item.shape, Record)
    inner = children.shape.item.shape.fields[1].shape
    assert inner.item.shape == Reference(children.shape.item.shape.name)
    sent = response_format(read_schema(Node).root)["json_schema"]["schema"]
    assert list(sent["$defs"]) == ["Node"]


PORTABLE = {"type", "enum", "anyOf", "$defs", "$ref", "required", "additionalProperties", "description"}


def _words(node):
    if isinstance(node, dict):
        for word, inner in node.items():
            yield word
            if word in {"properties", "$defs"}:
                for each in inner.values():
                    yield from _words(each)
            else:
                yield from _words(inner)
    elif isinstance(node, list):
        for each in node:
            yield from _words(each)


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_what_is_sent_is_the_portable_core_which_the_api_takes(schema):
    form = response_format(read_schema(schema).root)
    assert set(_words(form["json_schema"]["schema"])) <= {*PORTABLE, "properties", "items"}
    messages = [{"role": "user", "content": "x"}]
    assert check_completion({"model": "gpt-6-luna", "messages": messages, "response_format": form}) is None


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
@given(seed=st.text(max_size=8))
def test_what_a_server_makes_up_for_a_schema_fits_it(schema, seed):
    read = read_schema(schema)
    form = response_format(read.root)["json_schema"]["schema"]
    answer = instance(form, seed)
    if schema is Review:
        answer["stars"] = 1 + answer["stars"] % 5
    kind = TypedAnswers(read)
    body = {"choices": [{"message": {"content": orjson.dumps(answer).decode()}, "finish_reason": "stop"}]}
    verdict = kind.judge(body)
    assert verdict.problem is None, verdict.detail
    assert len(verdict.value) == len(kind.names)


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_a_schema_as_json_is_the_same_schema_or_none_where_json_cannot_say_it(schema):
    kept = schema_as_json(schema)
    checks_further = read_schema(schema).checks or schema is Node
    assert (kept is None) == bool(checks_further)
    if kept is not None:
        again = orjson.loads(orjson.dumps(kept))
        assert read_schema(again).root == read_schema(schema).root
        assert response_format(read_schema(again).root) == response_format(read_schema(schema).root)


def fields_of_json(properties, **more):
    return fields({"type": "object", "properties": properties, "required": list(properties), **more})


@pytest.mark.parametrize(
    "maybe",
    [
        {"type": ["string", "null"]},
        {"type": "string", "nullable": True},
        {"type": ["string", "null"], "enum": ["a", None]},
        {"enum": ["a", None]},
        {"anyOf": [{"type": "string"}, {"type": "null", "description": "none"}]},
        {"oneOf": [{"anyOf": [{"type": "null"}, {"type": "string"}]}, {"type": "string"}]},
        {"anyOf": [{"type": ["string", "null"]}, {"type": "string"}]},
        {"allOf": [{"$ref": "#/$defs/maybe"}]},
        {"$ref": "#/$defs/maybe"},
        {"$ref": "#/$defs/may%20be"},
        {"anyOf": [{"$ref": "#/$defs/maybe"}, {"$ref": "#/$defs/maybe"}]},
    ],
    ids=str,
)
def test_null_may_be_said_in_every_way_that_json_schema_has(maybe):
    nullable = {"type": ["string", "null"]}
    found = fields_of_json(
        {"a": maybe, "b": {"type": "array", "items": maybe}},
        **{"$defs": {"maybe": nullable, "may be": nullable}},
    )
    assert found["a"].nullable
    assert found["b"].shape.item.nullable
    assert not found["b"].nullable
    assert found["a"].shape in {Scalar("text"), Choice(("a",))}


@pytest.mark.parametrize("words", [{}, {"x-aware": False}, {"x-aware": True}], ids=str)
def test_a_json_schema_says_whether_a_datetime_has_a_zone(words):
    """JSON Schema has no word for it; ours is not sent."""
    field = {"type": "string", "format": "date-time", **words}
    root = read_schema({"type": "object", "properties": {"seen": field}}).root
    assert root.fields[0].shape == Scalar("datetime", aware=words == {"x-aware": True})
    assert b"x-aware" not in orjson.dumps(response_format(root))


def test_a_type_beside_a_list_of_values_does_not_make_them_nullable():
    assert not fields_of_json({"a": {"type": ["string", "null"], "enum": ["x"]}})["a"].nullable


def test_a_fields_own_description_comes_before_that_of_what_it_refers_to():
    found = fields_of_json(
        {"a": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}], "description": "Which?"}},
        **{"$defs": {"A": {"type": "string", "description": "An A."}}},
    )
    assert found["a"].description == "Which?"


MaybeText = TypeAliasType("MaybeText", str | None)
Expression = TypeAliasType("Expression", "Number | Sum")


class Number(BaseModel):
    value: float


class Sum(BaseModel):
    left: Expression
    right: Expression


class Said(BaseModel):
    words: MaybeText
    sum: Expression


def test_a_type_alias_is_what_it_stands_for():
    assert fields(Said)["words"].nullable
    sent = response_format(read_schema(Said).root)["json_schema"]["schema"]
    assert list(sent["$defs"]) == ["Sum"]


def nodes(kind):
    class Node(BaseModel):
        value: kind
        next: Node | None

    Node.model_rebuild(_types_namespace={"Node": Node, "kind": kind})
    return Node


@pytest.mark.parametrize(
    ("schema", "names"),
    [
        ({"a": nodes(int), "b": nodes(str)}, ["Node", "Node_2"]),
        ({"a": Node, "b": list[Node]}, ["Node"]),
        (
            {
                "type": "object",
                "properties": {"name": {"type": "string"}, "more": {"type": "array", "items": {"$ref": "#"}}},
            },
            ["answer"],
        ),
        (
            {
                "type": "object",
                "properties": {"a": {"$ref": "#/$defs/x~1y%20z"}},
                "$defs": {
                    "x/y z": {"type": "object", "properties": {"next": {"$ref": "#/$defs/x~1y%20z"}}},
                },
            },
            ["x_1y_z"],
        ),
    ],
    ids=["two of one name", "one twice", "the root", "a name with a slash"],
)
def test_each_definition_has_a_plain_name_of_its_own(schema, names):
    form = response_format(read_schema(schema).root)
    assert list(form["json_schema"]["schema"]["$defs"]) == names
    messages = [{"role": "user", "content": "x"}]
    assert check_completion({"model": "gpt-6-luna", "messages": messages, "response_format": form}) is None
    kind = TypedAnswers(read_schema(schema))
    for seed in "abc":
        text = orjson.dumps(instance(form["json_schema"]["schema"], seed)).decode()
        body = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
        assert kind.judge(body).problem is None


@dataclasses.dataclass
class Counted:
    a: str
    count: int = dataclasses.field(default=0, init=False)


def test_what_a_dataclass_fills_in_itself_is_not_asked_for():
    assert list(fields(Counted)) == ["a"]


class HalfOpen(TypedDict, total=False):
    a: str


class Inherited(HalfOpen):
    b: int
    c: NotRequired[float]
    inner: Simple | None


def test_what_a_typed_dict_inherits_is_as_required_as_it_was():
    found = fields(Inherited)
    assert [name for name, field in found.items() if not field.nullable] == ["b"]
    assert [each.name for each in found["inner"].shape.fields] == ["a", "pieces"]
    assert fields({"x": list[HalfOpen]})["x"].shape.item.shape.fields[0].nullable


class Broken:
    pass


class Pathed(BaseModel):
    a: int = Field(validation_alias=AliasPath("b", 0))


class Holder(BaseModel, arbitrary_types_allowed=True):
    broken: Broken


@dataclasses.dataclass
class Initial:
    a: dataclasses.InitVar[str]


Endless = TypeAliasType("Endless", "list[Endless]")
OBJECT = {"type": "object", "properties": {"z": {"type": "string"}}}


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"a": dict[str, int]}, "a: an object needs named fields"),
        ({"a": Any}, "a: a field needs a type"),
        ({"a": int | str}, "a: a column has one type"),
        ({"a": tuple[int, str]}, "a: strict mode has no 'prefixItems'"),
        ({"a": list}, "a: a list needs a type for its items"),
        ({"a": list[dict[str, int]]}, r"a\[\]: an object needs named fields"),
        ({"a": Broken}, "a: .* is no type of a column"),
        ({"a": Holder}, "a.broken: a field needs a type"),
        ({"a": Callable[[], int]}, "a: a field needs a type"),
        ({"a": Endless}, r"a\[\]: a list or a union that contains itself"),
        ({"a": Literal[2**63]}, "a: 9223372036854775808 is beyond 64 bits"),
        (Initial, "a: an InitVar has no value afterwards"),
        (Pathed, "a: its alias is a path into another field"),
        (["a", ["b"]], r"a list has the fields' names alone; got \['b'\]"),
        ({"a\ud800": str}, "a field's name must be text"),
        (create_model("Blank", a=(str, Field(alias=" "))), "a field's name must be text that is not blank"),
        ({"type": "object", "properties": {1: {"type": "string"}}}, "a field's name must be text"),
        ({"type": "object", "properties": {"a": True}}, "a: a field needs a type"),
        ({"type": "object", "properties": {"a": {"type": "array", "items": True}}}, "a: a list needs a type"),
        ({"type": "object", "properties": {"a": {"$ref": "#/properties/a"}}}, "a: .* refers to itself alone"),
        ({**OBJECT, "anyOf": [OBJECT]}, "strict mode has no 'anyOf' beside 'properties'"),
        (
            {"type": "object", "properties": {"a": {**OBJECT, "allOf": [OBJECT]}}},
            "a: strict mode has no 'allOf'",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}},
            "a: its 'pattern' cannot be",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "integer", "minimum": "x"}}},
            "a: its 'minimum' cannot",
        ),
        ({"a": {"b": int}}, "a: write a nested object as a class"),
        ({"a": (1, 2)}, r"a: a pair must be \(type, 'question'\)"),
        ({" ": str}, "a field's name must be text that is not blank"),
        ({1: str}, "a field's name must be text that is not blank"),
        (["a", "a"], "'a' is there twice"),
        (["a", ""], "a field's name must be text that is not blank"),
        ("a", r"write \['a'\]"),
        ([], "it names no fields"),
        ({}, "it names no fields"),
        (None, "must be a list of fields, a dict"),
        (int, "must be a list of fields, a dict"),
        ({"a.name": str, "a": Part}, "two fields would be the column 'a.name'"),
        ({"a": Literal["x", 1]}, "a: the values of one field must be all text"),
        (
            {
                "type": "object",
                "properties": {"a": {"type": "object", "additionalProperties": {"type": "string"}}},
            },
            "a: ",
        ),
        (
            {"type": "object", "properties": {"a": {"allOf": [{"type": "string"}, {"type": "string"}]}}},
            "a: strict mode has no 'allOf'",
        ),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/B"}}}, "there is no '#/\\$defs/B' in it"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_for_is_refused_with_the_path_of_the_field(schema, said):
    with pytest.raises((TypeError, ValueError), match=rf"^schema.*{said}"):
        read_schema(schema)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({f"field {number}": str for number in range(5_001)}, "5,001 fields"),
        ({"a": Literal[tuple(f"v{number}" for number in range(1_001))]}, "1,001 values"),
        (["x" * 120_001], "120,001 characters"),
        ({"a": Literal[tuple(f"{number:060}" for number in range(251))]}, "15,060 characters in one choice"),
    ],
    ids=["fields", "values", "characters", "choice"],
)
def test_a_schema_over_the_apis_sizes_is_refused(schema, said):
    with pytest.raises(ValueError, match=rf"there are {said}"):
        response_format(read_schema(schema).root)


@pytest.mark.parametrize(
    "kind", [Annotated[str, Field(description="Where?")], Annotated[int, Field(gt=3)]], ids=str
)
def test_what_is_annotated_goes_along(kind):
    (field,) = read_schema({"a": (kind, "What?")}).root.fields
    assert field.description.startswith("What?; ")
