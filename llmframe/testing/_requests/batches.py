"""Checks of the requests to files and batches, as strict as the API's."""

from __future__ import annotations

import re

from pydantic_core.core_schema import (
    any_schema,
    int_schema,
    literal_schema,
    str_schema,
    typed_dict_field,
    typed_dict_schema,
)

from llmframe.testing._requests.openapi import COMPONENTS, component, record
from llmframe.testing._requests.validation import checker

ENDPOINTS = COMPONENTS["CreateBatchRequest"]["properties"]["endpoint"]["enum"]

check_file = checker(component("CreateFileRequest"))
check_files_query = checker(
    record(
        {},
        {
            "limit": int_schema(ge=1, le=10_000),
            "after": str_schema(),
            "purpose": str_schema(),
            "order": literal_schema(["asc", "desc"]),
        },
    )
)
check_batch = checker(component("CreateBatchRequest"))
check_batches_query = checker(record({}, {"limit": int_schema(ge=1, le=100), "after": str_schema()}))
check_line = checker(
    record(
        {
            "custom_id": str_schema(min_length=1, max_length=64),
            "method": any_schema(),
            "url": any_schema(),
            "body": any_schema(),
        },
        {},
    )
)
check_line_body = checker(
    record({"body": typed_dict_schema({"model": typed_dict_field(str_schema())}, extra_behavior="allow")}, {})
)


def integer(text: str) -> int | str:
    """Return the integer in a form or a query, or the text itself if it is not an integer."""
    return int(text) if re.fullmatch("-?[0-9]{1,18}", text) else text
