"""The state of a batch, in the forms of many servers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmframe._api.batch_states import read_state
from llmframe._values import BatchError

NAMES = [
    "status", "input_file_id", "output_file_id", "error_file_id", "model", "created_at", "completed_at",
    "in_progress_at", "request_counts", "errors", "metadata", "endpoint",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["data", "message", "code", "line", "total", "completed"]), inner)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(NAMES), JSON))
def test_any_state_is_read(data):
    """What makes no sense is unknown; the numbers are none that could hurt."""
    state = read_state("batch_1", data)
    assert min(state.total, state.completed, state.failed) >= 0
    assert 0 <= state.created < 10**12
    for name in (state.input_file, state.output_file, state.error_file, state.model, state.endpoint):
        assert name is None or name.strip()


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("COMPLETED", "completed"),
        ("Succeeded", "completed"),
        ("ended", "completed"),
        ("canceled", "cancelled"),
        ("In Progress", "in_progress"),
        ("in-progress", "in_progress"),
        ("timed_out", "expired"),
        ("error", "failed"),
        ("JOB_STATE_SUCCEEDED", "completed"),
        ("BATCH_STATE_RUNNING", "in_progress"),
        ("TIMEOUT_EXCEEDED", "expired"),
        ("on_hold", "on_hold"),
    ],
)
def test_states_have_openais_names(word, state):
    assert read_state("b", {"status": word}).status == state


@pytest.mark.parametrize(("end", "state"), [("completed_at", "completed"), ("failed_at", "failed")])
@pytest.mark.parametrize("word", ["all done", "", None, 7])
def test_an_unknown_word_with_a_time_of_the_end_is_final(word, end, state):
    """It would be polled for ever."""
    assert read_state("b", {"status": word, end: 1_790_000_000}).status == state
    assert not read_state("b", {"status": word, end: None}).final


@pytest.mark.parametrize(("failed", "final"), [(2, True), (1, False)])
def test_an_unknown_word_with_a_file_for_all_requests_is_final(failed, final):
    counts = {"total": 5, "completed": 3, "failed": failed}
    data = {"status": "fulfilled", "output_file_id": "file-1", "request_counts": counts}
    assert read_state("b", data).final == final
    assert not read_state("b", data | {"output_file_id": ""}).final


@pytest.mark.parametrize(
    "moment",
    [1_790_000_000, 1_790_000_000.0, 1_790_000_000_000, "1790000000", "1790000000000", "2026-09-21T14:13:20Z",
     "2026-09-21T14:13:20", "2026-09-21 16:13:20+02:00", 1_790_000_000_000_000],
)  # fmt: skip
def test_moments_are_read_in_any_unit(moment):
    assert read_state("b", {"created_at": moment}).created == 1_790_000_000


@pytest.mark.parametrize("nothing", [None, "", "  ", {}, [], True])
def test_an_id_that_is_empty_is_none(nothing):
    state = read_state("b", {"input_file_id": nothing, "output_file_id": nothing, "error_file_id": nothing})
    assert (state.input_file, state.output_file, state.error_file) == (None, None, None)


@pytest.mark.parametrize("metadata", [{"a": "b"}, '{"a": "b"}'])
def test_metadata_may_be_text(metadata):
    assert read_state("b", {"metadata": metadata}).metadata == {"a": "b"}
    assert read_state("b", {"metadata": None}).metadata == {}


@pytest.mark.parametrize(
    ("counts", "read"),
    [
        ({"total": 3, "completed": 2, "failed": 1}, (3, 2, 1, True)),
        ({"total": "3", "completed": "2", "failed": "1"}, (3, 2, 1, True)),
        ({"total": 3, "completed": None, "failed": -1}, (3, 0, 0, False)),
        (None, (0, 0, 0, False)),
    ],
)
def test_counts_may_be_text_or_absent(counts, read):
    state = read_state("b", {"request_counts": counts})
    assert (state.total, state.completed, state.failed, state.counted) == read


ERROR = {"code": "c", "message": "m", "line": 2}


@pytest.mark.parametrize(
    ("errors", "read"),
    [
        ({"data": [ERROR]}, [BatchError("c", "m", 2)]),
        ([ERROR], [BatchError("c", "m", 2)]),
        (ERROR, [BatchError("c", "m", 2)]),
        ({"data": ERROR}, [BatchError("c", "m", 2)]),
        ([ERROR | {"line": "2"}, None], [BatchError("c", "m", 2)]),
        ("no space", [BatchError("batch_failed", "no space")]),
        (["no space"], [BatchError("batch_failed", "no space")]),
        ({"data": None}, []),
        (None, []),
        ([], []),
    ],
)
def test_errors_are_read_in_any_form(errors, read):
    assert list(read_state("b", {"errors": errors}).errors) == read
