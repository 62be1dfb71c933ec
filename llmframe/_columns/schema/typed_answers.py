"""The typed kind of answer: one JSON object that fits a schema, written as one column for each of its fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
from pydantic import ValidationError

from llmframe._columns.schema.fitting import MisfitError, conform, fit, read_scalar, supplied
from llmframe._columns.schema.reading import NotJSONError, read_object
from llmframe._columns.schema.typed_columns import column_for, flat, leaves
from llmframe._columns.schema.validator import validator_of
from llmframe._columns.text_answers import TEXT
from llmframe._values import Verdict

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from llmframe._columns.schema.shapes import Shape
    from llmframe._columns.schema.typed_columns import Column
    from llmframe._columns.schema.user_schemas import Check, Schema

_NUL = "\\u0000"
_AGAIN = "Answer again with one JSON object that fits the schema, and with nothing else."


class TypedAnswers:
    """Reads one object per row from a completion's body; each of its fields is a column.

    Attributes
    ----------
    names : list of str
        The columns' names, in order.
    """

    shows_raw: ClassVar = True
    remedies: ClassVar = {
        **TEXT.remedies,
        "not_json": "ask another model=",
        "schema": "say in the field's question what is wanted, or give it another type",
        "truncated": "raise max_completion_tokens",
    }

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._validator = validator_of(schema.root, read_scalar)
        self._shapes = {field.name: field.shape for field in schema.root.fields}
        self._leaves = list(leaves(schema.root.fields))
        self._nested = len(self._leaves) != len(self._shapes) or any(
            name not in self._shapes for name, _ in self._leaves
        )
        self.names = [name for name, _ in self._leaves]

    def judge(self, body: Mapping[str, Any]) -> Verdict:
        text = TEXT.judge(body)
        if text.value is None:
            return text
        cut_off = text.problem is not None
        try:
            values = self._read(text.value)
            return Verdict(list(flat(values, self._schema.root.fields) if self._nested else values.values()))
        except NotJSONError as error:
            if cut_off:
                return Verdict(None, "truncated", f"the answer was cut off at the token limit: {error}")
            return _wrong("not_json", f"the answer is not one JSON object: {error}", text.value)
        except MisfitError as misfit:
            detail = f"the answer does not fit the schema: {misfit}"
            wrong = _wrong("schema", detail, text.value)
            return wrong._replace(fits_as_sent=None if cut_off else not misfit.as_sent)

    def _read(self, text: str) -> dict[str, Any]:
        root, checks = self._schema.root, self._schema.checks
        answer = read_object(text)
        try:
            values = self._validator.validate_python(answer) if _NUL not in text else fit(answer, root)
        except ValidationError:  # which tells less, and does not loosen
            values = fit(answer, root)
        if "" in checks:
            checked: dict[str, Any] = _checked(checks[""], values, root, "")
            return checked
        for name in checks:
            if values[name] is not None:
                values[name] = _checked(checks[name], values[name], self._shapes[name], name)
        return values

    def storage(self, requests: int) -> _Storage:
        return _Storage(self._leaves, requests)

    def columns(
        self, stored: _Storage, codes: npt.NDArray[np.int32], index: pd.Index, names: Sequence[Hashable]
    ) -> list[pd.Series]:
        return [column.series(codes, index, name) for column, name in zip(stored.columns, names, strict=True)]

    def rows(self, stored: _Storage, codes: npt.NDArray[np.int32], index: pd.Index) -> pd.DataFrame:
        return pd.concat(self.columns(stored, codes, index, self.names), axis="columns")

    def continues(self, existing: pd.Series) -> bool:  # noqa: ARG002 (a column has one dtype)
        return True


class _Storage:
    """The values of all requests, by column."""

    def __init__(self, leaves: Sequence[tuple[str, Shape]], requests: int) -> None:
        self.columns: list[Column] = [column_for(shape, requests) for _, shape in leaves]

    def __setitem__(self, number: int, values: Sequence[Any]) -> None:
        for column, value in zip(self.columns, values, strict=True):
            column.put(number, value)


def _wrong(problem: str, detail: str, raw: str) -> Verdict:
    correction = f"{detail[0].upper()}{detail[1:]}. {_AGAIN}"
    return Verdict(None, problem, detail, raw=raw, fits_as_sent=False, correction=correction)


def _checked(check: Check, value: Any, shape: Shape, path: str) -> Any:
    """Return what the user's own type makes of a value."""
    try:
        made = check.type.validate_python(supplied(value, shape) if check.changes else value)
        if not check.changes:
            return value
        dumped = check.type.dump_python(made, by_alias=True, warnings=False)
    except ValidationError as error:
        raise _misfit(error, path) from error
    except Exception as error:  # a validator of the user's may raise anything: it costs its row alone
        raise MisfitError(path, f"its own check raised {type(error).__name__}", as_sent=False) from error
    return conform(dumped, shape, path)


_WORDS = {
    "greater_than": "it must be more than {gt}",
    "greater_than_equal": "it must be at least {ge}",
    "less_than": "it must be less than {lt}",
    "less_than_equal": "it must be at most {le}",
    "multiple_of": "it must be a multiple of {multiple_of}",
    "string_too_short": "it must have at least {min_length} characters",
    "string_too_long": "it must have at most {max_length} characters",
    "string_pattern_mismatch": "it must match the pattern {pattern}",
    "too_short": "it must have at least {min_length} items",
    "too_long": "it must have at most {max_length} items",
    "value_error": "{error}",
    "assertion_error": "{error}",
}
"""Our own words for pydantic's errors: they are part of what the model is asked again, and so of an identity."""


def _misfit(error: ValidationError, path: str) -> MisfitError:
    first = error.errors(include_url=False)[0]
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
    words = _WORDS.get(first["type"], "it is not what the schema's own check takes")
    reason = words.format(**first.get("ctx", {}))
    return MisfitError(f"{path}{steps}".lstrip("."), reason, as_sent=False)
