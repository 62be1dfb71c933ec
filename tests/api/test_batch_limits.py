"""What the API's words mean for a batch that was too much."""

from __future__ import annotations

import pytest

from llmframe._api import BatchRefusal, BatchSize, batch_refusal
from llmframe._values import BatchError

ENQUEUED = "Enqueued token limit reached for gpt-6-luna in organization org-x. Limit: 90,000 enqueued tokens."


@pytest.mark.parametrize(
    ("code", "message", "requests", "limit", "never"),
    [
        ("token_limit_exceeded", ENQUEUED, False, 90_000, False),
        ("token_limit_exceeded", "Too much is enqueued.", False, None, False),
        ("request_limit_exceeded", "Enqueued request limit reached. Limit: 100 requests", True, 100, False),
        ("other", "You have too many enqueued tokens; the limit of 5,000 was reached", False, 5_000, False),
        ("too_many_tasks", "A batch may have 50,000 requests: limit 50,000", True, None, True),
        ("file_too_large", "The file is too large", False, None, True),
    ],
)
def test_a_refusal_says_what_it_is_about_and_the_limit_that_it_states(code, message, requests, limit, never):
    """Where the limit is one of the API and not of the account, no waiting helps."""
    expected = BatchRefusal(code, message, requests, limit, never)
    assert batch_refusal([BatchError("invalid_line", "odd", line=3), BatchError(code, message)]) == expected


@pytest.mark.parametrize(
    "errors",
    [
        [],
        [BatchError("model_not_found", "no such model")],
        [BatchError("token_limit_exceeded", ENQUEUED, line=1)],
    ],
)
def test_other_errors_are_no_refusal(errors):
    """An error that names a line is about this line."""
    assert batch_refusal(errors) is None


def test_a_batch_above_the_stated_limit_can_never_pass():
    refusal = batch_refusal([BatchError("token_limit_exceeded", ENQUEUED)])
    assert not refusal.too_large(BatchSize(requests=10**6, tokens=90_000))
    assert refusal.too_large(BatchSize(requests=1, tokens=90_001))
    silent = batch_refusal([BatchError("token_limit_exceeded", "Too much is enqueued.")])
    assert not silent.too_large(BatchSize(requests=1, tokens=10**9))
    never = batch_refusal([BatchError("file_too_large", "The file is too large")])
    assert never.too_large(BatchSize(requests=1, tokens=1))
