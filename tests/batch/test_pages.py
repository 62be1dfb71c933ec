"""Lists of batches and files, whatever their pages look like."""

from __future__ import annotations

from contextlib import suppress

import pytest
from batch.calls import DAY, complete, right, use_empty_journal
from helpers import asked
from hypothesis import given
from hypothesis import strategies as st

import llmframe
from llmframe._api.batch_pages import Pages, UnreadablePagesError
from llmframe.testing import Batches, Fault


def _small(edit):
    """Return a server's list of 10 entries in pages of 3, changed by a function of page, query and entry numbers."""
    entries = [{"id": f"batch_{number}"} for number in range(10)]

    def page(after):
        start = 0 if after is None else [entry["id"] for entry in entries].index(after) + 1
        shown = entries[start : start + 3]
        whole = {"data": shown, "has_more": start + 3 < 10, "last_id": shown[-1]["id"] if shown else None}
        return edit(whole)

    return page


def _follow(page, limit=3, most=200):
    """Return the ids of all entries, and how many pages were asked for."""
    pages, found = Pages(limit), []
    for requests in range(1, most):
        found += [entry.get("id") for entry in pages.add(page(pages.after))]
        if pages.complete:
            return found, requests
    raise AssertionError("the pages do not end")


def _without(*names):
    return lambda page: {name: value for name, value in page.items() if name not in names}


WHOLE = {
    "as OpenAI": lambda page: page,
    "no has_more": _without("has_more"),
    "has_more null": lambda page: page | {"has_more": None},
    "has_more as text": lambda page: page | {"has_more": str(page["has_more"])},
    "no last_id": _without("last_id"),
    "a last_id that never changes": lambda page: page | {"last_id": "batch_2"},
    "empty last_id": lambda page: page | {"last_id": "", "first_id": ""},
    "a null among the entries": lambda page: page | {"data": [None, *page["data"]]},
    "null at the end": lambda page: page | {"data": page["data"] or None, "has_more": None},
    "bare lists": lambda page: page["data"],
}


@pytest.mark.parametrize("form", WHOLE)
def test_pages_are_followed_to_the_end_in_any_form(form):
    found, _ = _follow(_small(WHOLE[form]))
    assert found == [f"batch_{number}" for number in range(10)]


def test_a_list_that_is_sent_whole_is_read_although_it_ignores_after():
    """Only a page that is exactly as long as was asked may be one of several."""
    assert _follow(lambda _: {"data": [{"id": "a"}, {"id": "b"}]})[0] == ["a", "b"]
    with pytest.raises(UnreadablePagesError):
        _follow(lambda _: {"data": [{"id": "a"}, {"id": "b"}, {"id": "c"}]})


def test_cursors_of_a_servers_own_are_followed():
    """`after` with an id is ignored there, and `last_id` is no entry's id."""
    chain = {"one": ("c", "two"), "two": ("d", None)}

    def page(after):
        name, cursor = chain.get(after, ("b", "one"))
        return {"data": [{"id": name}], "last_id": cursor, "has_more": cursor is not None}

    assert _follow(page)[0] == ["b", "c", "d"]


def test_an_empty_page_with_a_cursor_is_followed():
    """As servers send that filter their pages."""
    pages = {
        None: {"data": [], "has_more": True, "last_id": "x"},
        "x": {"data": None, "has_more": True, "last_id": "y"},
        "y": {"data": [{"id": "a"}], "has_more": False},
    }
    assert _follow(pages.__getitem__) == (["a"], 3)


ENDLESS = {
    "the same page": {"data": [{"id": "batch_1"}], "has_more": True, "last_id": "batch_1"},
    "empty pages": {"data": [], "has_more": True},
    "null pages": {"data": None, "has_more": True, "last_id": "x"},
    "entries without ids": {"data": [{}], "has_more": True},
    "no page": {"batches": []},
    "text": {"data": "batch_1"},
    "names": {"data": ["batch_1"]},
}


@pytest.mark.parametrize("form", ENDLESS)
def test_pages_that_do_not_come_to_an_end_cannot_be_read(form):
    """They are given up after a few requests."""
    with pytest.raises(UnreadablePagesError):
        _follow(lambda _: ENDLESS[form], most=12)


def test_new_cursors_without_entries_end_as_well():
    cursors = iter(range(1_000))
    with pytest.raises(UnreadablePagesError):
        _follow(lambda _: {"data": [], "has_more": True, "last_id": f"c{next(cursors)}"}, most=12)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "data", "x"]), inner),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional={"data": JSON, "has_more": JSON, "last_id": JSON}) | JSON)
def test_any_page_ends_or_cannot_be_read(page):
    with suppress(UnreadablePagesError):
        _follow(lambda _: page, most=20)


def _never(page, query):
    return page | {"data": [], "has_more": True, "last_id": None}


def _stuck(page, query):
    first = page["data"][:1]
    return {"data": first, "has_more": True, "last_id": first[0]["id"] if first else None}


def _empty_once():
    shown = []

    def write(page, query):
        shown.append(query)
        return page | {"data": [], "has_more": True, "last_id": None} if len(shown) == 1 else page

    return write


BEHIND = {
    "an empty page": _empty_once(),
    "no has_more": lambda page, _: {"data": page["data"]},
    "a bare list": lambda page, _: page["data"],
    "null": lambda page, _: page | {"has_more": None, "first_id": None, "last_id": None},
}


@pytest.mark.parametrize("form", BEHIND)
def test_a_batch_is_found_behind_an_odd_page(form, submitted, tmp_path):
    """On a new machine nothing is paid twice."""
    server, frame = submitted
    server.batches = Batches(write_page=BEHIND[form])
    server.advance(DAY)
    use_empty_journal(tmp_path)
    complete(frame)
    assert right(frame)
    assert server.ledger.billed == 10


@pytest.mark.parametrize(
    ("write", "code"),
    [
        (_stuck, "batches_unreadable"),
        (_never, "batches_unreadable"),
        (lambda *_: {"data": None, "has_more": True}, "batches_unreadable"),
        (lambda *_: {}, "unexpected_endpoint"),
    ],
)
def test_nothing_is_submitted_where_the_list_cannot_be_read_to_its_end(
    write, code, submitted, tmp_path, monkeypatch
):
    """A page that repeats is no reason to ask for ever."""
    monkeypatch.setattr("llmframe._api.batch_api._STALLED_SECONDS", 0.001)
    server, frame = submitted
    server.batches = Batches(write_page=write)
    use_empty_journal(tmp_path)
    with pytest.raises(llmframe.StoppedError) as error:
        complete(frame)
    assert error.value.code == code
    with pytest.raises(llmframe.StoppedError):
        llmframe.collect()
    assert server.ledger.batches_created == 1


def test_an_upload_is_not_looked_for_without_end(llm, monkeypatch):
    """Its answer is lost, and the list of files never ends: it goes up once more, and nothing is paid twice."""
    monkeypatch.setattr("llmframe._api.batch_api._STALLED_SECONDS", 0.001)
    llm.batches = Batches(write_page=lambda page, query: _never(page, query) if "purpose" in query else page)
    llm.faults = [Fault("reset", path="/v1/files", method="POST", first=1)]
    frame = asked(3)
    complete(frame)
    assert right(frame)
    assert (llm.ledger.billed, llm.ledger.uploads) == (3, 2)
